"""advise: whether to use SEND_ZC for a size here, and what to change first."""

import json
from dataclasses import replace
from typing import Annotated, Any

import typer

from zclab.cli import doctor, nic
from zclab.cli.app import Batch, OfFamily, OnPath, OverProtocol, With, app
from zclab.cli.terminal import bar, say
from zclab.errors import CapabilityError, InputError

SECONDS = 30.0
PRECISION = 0.5
SLICE_NS = 5_000_000
LARGE_BATCH, SMALL_BATCH = 64, 8
MODES = "send,send_zc,send_zc_fixed"


@app.command(epilog="Example: zclab advise --protocol udp --size 8000")
def advise(  # noqa: PLR0917 - typer calls it by keyword
    protocol: OverProtocol = "",
    size: Annotated[str, typer.Option("--size", help="Bytes per send.")] = "8000",
    path: OnPath = "",
    family: OfFamily = "",
    batch: Batch = "",
    situation: With = "",
    run: Annotated[
        str,
        typer.Option(
            help="Answer from this run, by its id, folder or `latest`, wherever it was "
            "taken; measure nothing.",
            metavar="RUN",
        ),
    ] = "",
    dev: nic.Dev = "",
    dst: nic.Dst = "",
    peer: nic.Peer = "",
    token_file: nic.TokenFile = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON for scripts.")
    ] = False,
) -> None:
    """Answer whether SEND_ZC pays here, with or without registered buffers, and why.

    From the newest run of this host that has the size, or two near ones that agree,
    if all that bears on it is as it was (kernel, code, device ...); else by a
    measurement of 30 seconds, which is kept as a run. It says yes, no, or undecided;
    from what size on each mode pays; and what to change first: what makes the kernel
    copy, the buffers, the batch, the size. By default udp over IPv4 on the sink, which
    shows what the stack costs, batch 8 (tcp: over lo, 1). --dev answers for a device,
    and needs --dst to measure. Exit 77 where there is no run and none can be taken.
    """
    from zclab import store
    from zclab.cli.measure import points_of, typed_of
    from zclab.explain import advice

    grid = {
        "path": path or ("nic" if dev else ""),
        "protocol": protocol,
        "family": family or ("6" if ":" in dst else ""),
        "sizes": size,
        "modes": MODES,
        "batch": batch,
        "with": situation,
    }
    points = points_of(typed_of(grid))
    if len(points) > 1:
        raise InputError(
            f"--size {size}: one size, please; zclab measure takes several"
        )
    question = points[0]
    if run:
        found = advice.of(store.load(store.find(run)), question)
    else:
        target = nic.target_of({"dev": dev, "dst": dst, "peer": peer}, token_file)
        found = _here(question, target)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=2))
        return
    for line in advice.lines(found):
        typer.echo(line)


def _here(question: Any, target: Any) -> Any:
    """Return the advice of a run of this host as it is now; take one where none is."""
    from zclab import store
    from zclab.explain import advice
    from zclab.measure import site, sweep

    doctor.put_back()
    try:
        plan = _plan(question, target)
        today = site.facts(plan, target)
    except CapabilityError as error:
        raise CapabilityError(
            f"nothing can be measured here ({error}); name a run to answer from: "
            "zclab advise --run RUN"
        ) from None
    found, passed = advice.fitting(question, today)
    for text in passed:
        say(f"zclab: {text}")
    if found is None:
        say(
            f"measuring {', '.join(point.name for point in plan.points)}: about "
            f"{SECONDS:g} s ..."
        )
        with bar() as show:
            folder = sweep.take(plan, progress=show, target=target)
        say(f"zclab: kept as {folder}")
        found = store.load(folder)
    return advice.of(found, question, today=today)


def _plan(question: Any, target: Any) -> Any:
    """Return what is measured: the size, others around it, and another batch."""
    from zclab.measure import profile
    from zclab.params import TCP_MAX_BYTES, UDP_MAX_BYTES, Plan, Protocol, Stop
    from zclab.planfile import MOST_BLOCKS

    udp = question.protocol is Protocol.UDP
    most = UDP_MAX_BYTES if udp else TCP_MAX_BYTES
    size = question.io_size_bytes
    sizes = {max(1, size // 4), max(1, size // 2), min(2 * size, most)}
    points = [question]
    points += [replace(question, io_size_bytes=one) for one in sorted(sizes - {size})]
    if udp:
        other = LARGE_BATCH if question.batch < LARGE_BATCH else SMALL_BATCH
        points.append(replace(question, batch=other))
    plan = Plan(
        profile="advise",
        points=tuple(points),
        seed=profile.drawn_seed(),
        blocks=MOST_BLOCKS,
        slice_ns=SLICE_NS,
        stop=Stop(precision=PRECISION, budget_s=SECONDS),
    )
    if target is not None:  # the size must fit, the others may
        profile.fitted(replace(plan, points=(question,)), target, strict=True)
    return profile.fitted(plan, target)
