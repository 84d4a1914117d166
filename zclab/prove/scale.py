"""Whether a million samples load, pair and become a table quickly, in little memory."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path as Folder
from typing import Any

import numpy as np
import pyarrow as pa

from zclab import schema, store, synthetic
from zclab.errors import MeasureError
from zclab.params import Path, Plan, Point, Protocol, grid
from zclab.prove.proof import MODEL, Finding, Proof, Watch
from zclab.truth import Truth

SAMPLES = 1_000_000
POINTS = 40
SECONDS = 3.0  # at most, to load, pair and tabulate
GIB = 1.0  # at most, resident

CHUNK_BLOCKS = 100  # blocks of every point that are in memory at once

# What a sender counts once per request, or once per so many; the rest does not grow.
_BY_REQUEST = frozenset(
    {
        "bytes",
        "zc_requests",
        "notifications",
        "copied",
        "datagrams",
        "submits",
        "received_bytes",
        "received",
        "sent_total_bytes",
    }
)
_BY_TIME = frozenset({"cpu_user_ns", "cpu_sys_ns", "receiver_cpu_sys_ns"})

# Memory is the process's own high-water mark: what getrusage(2) tells begins with
# that of the parent. Imports are timed apart, as every command has them.
_CHILD = """
import json, re, sys, time
from pathlib import Path
begun = time.perf_counter()
from zclab import store
from zclab.explain import table
imported = time.perf_counter()
run = store.load(Path(sys.argv[1]))
loaded = time.perf_counter()
rows = table.pairs(run)
paired = time.perf_counter()
frame = table.summary(run)
done = time.perf_counter()
peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())
print(json.dumps({
    "import_s": imported - begun, "load_s": loaded - imported,
    "pair_s": paired - loaded, "table_s": done - paired,
    "peak_kib": int(peak[1]), "samples": len(run.samples), "rows": len(frame),
}))
"""

NOTES = (
    "The run is synthetic, written and sealed as every run is; its hashes are checked "
    "before it is read. Tabulate is the whole table, its own pairing included. The "
    "file was just written, so it is read from memory. Peak is of the whole process, "
    "its libraries included.",
)


def run(*, samples: int = SAMPLES, times: int = 3) -> Proof:
    """Return how long a run of so many samples takes to become a table.

    Args:
        samples: about as many; whole blocks of all points.
        times: how often it is read, each time by a new process; the slowest counts.

    Raises:
        MeasureError: a reader died.

    """
    watch = Watch()
    plan = plan_of(samples)
    with tempfile.TemporaryDirectory(prefix="zclab-scale-") as parent:
        made = Watch()
        folder = make(plan, Folder(parent))
        made_s = made.seconds
        size = (folder / store.SAMPLES).stat().st_size
        found = [_read(folder) for _ in range(times)]
    n = f"{plan.samples:,} samples, slowest of {times}"
    return Proof(
        part="scale",
        command="zclab prove scale",
        findings=tuple(_findings(found, n, made_s=made_s, size=size)),
        kernel=MODEL,
        seconds=watch.seconds,
        notes=NOTES,
    )


def _findings(
    found: list[dict[str, Any]], n: str, *, made_s: float, size: int
) -> Iterator[Finding]:
    def slowest(*names: str) -> float:
        return max(float(sum(one[name] for name in names)) for one in found)

    whole = slowest("load_s", "pair_s", "table_s")
    peak = slowest("peak_kib") / (1 << 20)
    yield Finding(
        claim="load, pair and tabulate",
        wanted=f"at most {SECONDS:g} s",
        figure=f"{whole:.2f} s",
        n=n,
        holds=whole <= SECONDS,
    )
    yield Finding(
        claim="peak memory",
        wanted=f"at most {GIB:g} GiB",
        figure=f"{peak:.2f} GiB",
        n=n,
        holds=peak <= GIB,
    )
    for claim, name in (
        ("load and verify", "load_s"),
        ("pair", "pair_s"),
        ("tabulate", "table_s"),
        ("imports, besides", "import_s"),
    ):
        yield Finding(claim=claim, figure=f"{slowest(name):.2f} s", n=n)
    yield Finding(claim="make and seal", figure=f"{made_s:.1f} s", n=n)
    yield Finding(claim="size of the samples", figure=f"{size / 1e6:.0f} MB", n=n)


def _read(folder: Folder) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-P", "-c", _CHILD, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.splitlines() or ["no message"])[-1]
        raise MeasureError(f"the reader of {folder.name} died: {last}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def plan_of(samples: int) -> Plan:
    """Return the plan of a synthetic run of about so many samples."""
    points = grid(
        path=Path.SINK,
        protocol=Protocol.UDP,
        family=4,
        sizes=[200 * (1 + i) for i in range(POINTS // 2)],
        modes=("send", "send_zc", "send_zc_fixed", "mixed"),
        batch=8,
    )
    points += grid(
        path=Path.VETH,
        protocol=Protocol.UDP,
        family=6,
        sizes=[3000 * (1 + i) for i in range(POINTS // 2)],
        modes=("send", "send_zc", "send_zc_fixed", "mixed"),
        batch=64,
    )
    per_round = sum(len(point.arms) for point in points)
    return Plan(
        profile="scale",
        points=points,
        seed=1,
        blocks=max(1, samples // per_round),
        synthetic=Truth(gains=(("send_zc", 1.0), ("send_zc_fixed", 20.0))),
    )


def make(plan: Plan, parent: Folder) -> Folder:
    """Write the synthetic run of a plan, sealed, and return its folder."""
    host = synthetic.host()
    return store.deposit(
        plan,
        host,
        tables(plan),
        alias=host["alias"],
        out=parent,
        warnings=[synthetic.WARNING],
    )


def tables(plan: Plan) -> Iterator[Any]:
    """Yield the samples of a synthetic plan as Arrow tables, in the order of time.

    They are what the synthetic lab would give, but for the moment of each sample, and
    many times as fast: of each arm one sample is made, and its counters are scaled.
    """
    truth = plan.synthetic or Truth()
    ns = [
        synthetic.costs(
            truth,
            point.arms,
            plan.blocks,
            1,
            plan.seed + number,
            io_size_bytes=point.io_size_bytes,
            path=point.place,
        )[0]
        for number, point in enumerate(plan.points)
    ]
    random = np.random.default_rng(plan.seed)
    for first in range(0, plan.blocks, CHUNK_BLOCKS):
        numbers = np.arange(first, min(first + CHUNK_BLOCKS, plan.blocks))
        parts = [
            _columns(plan, point, numbers, mine[numbers], random)
            for point, mine in zip(plan.points, ns, strict=True)
        ]
        table = pa.concat_tables(parts).unify_dictionaries()
        yield table.sort_by([("block", "ascending"), ("started_ns", "ascending")])


def _columns(
    plan: Plan, point: Point, numbers: Any, ns: Any, random: np.random.Generator
) -> Any:
    """Return some blocks of a point as a table, one arm under the other.

    Args:
        plan: of the run.
        point: of the plan.
        numbers: of the blocks, shape (blocks,).
        ns: per request, shape (blocks, arms).
        random: what the order of the arms is drawn from.

    """
    slots = np.tile(np.arange(len(point.arms)), (len(numbers), 1))
    order = random.permuted(slots, axis=1)
    likes = [_like(plan, point, arm) for arm in point.arms]
    requests = np.maximum(1, (plan.slice_ns / ns).astype(np.int64))
    elapsed = np.rint(requests * ns).astype(np.int64)
    block_ns = (elapsed + plan.warmup_ns + synthetic.DRAIN_NS).sum(axis=1)
    own = {
        "block": np.repeat(numbers[:, np.newaxis], len(point.arms), 1),
        "position": order,
        "requests": requests,
        "elapsed_ns": elapsed,
        "block_ns": np.repeat(block_ns[:, np.newaxis], len(point.arms), 1),
        "started_ns": order + np.array([like["started_ns"] for like in likes]),
    }
    return pa.table(
        {
            name: _column(name, own, likes, requests, elapsed)
            for name in store.arrow_schema().names
        },
        schema=store.arrow_schema(),
    )


def _like(plan: Plan, point: Point, arm: str) -> dict[str, Any]:
    return synthetic.sample(
        plan, point, arm, block=0, position=0, slice_ns=plan.slice_ns, ns=1000.0
    )


def _column(
    name: str,
    own: dict[str, Any],
    likes: list[dict[str, Any]],
    requests: Any,
    elapsed: Any,
) -> Any:
    """Return one column, one arm under the other."""
    kind = store.arrow_schema().field(name).type
    if name in own:
        return pa.array(own[name].T.ravel(), kind)
    parts = []
    for arm, like in enumerate(likes):
        value = like[name]
        if value is None:
            parts.append(pa.nulls(len(requests), kind))
        elif name in _BY_REQUEST:
            scaled = value * requests[:, arm] // like["requests"]
            parts.append(pa.array(scaled, kind))
        elif name in _BY_TIME:
            scaled = np.rint(value / like["elapsed_ns"] * elapsed[:, arm])
            parts.append(pa.array(scaled.astype(np.int64), kind))
        elif schema.STORED[name].kind == "str":
            codes = pa.array(np.zeros(len(requests), np.int32))
            parts.append(pa.DictionaryArray.from_arrays(codes, [value]))
        else:
            parts.append(pa.array(np.full(len(requests), value), kind))
    return pa.chunked_array(parts, kind)
