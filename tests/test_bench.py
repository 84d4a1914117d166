"""The bench: the peer is understood, the ratio is paired, the page can be checked."""

import math
import os
import re
import shutil
import socket
from pathlib import Path

import pytest

from tests.live import needs_uring
from zclab import options as opts
from zclab import store
from zclab.bench import arena, cell, event, page, record, sources
from zclab.bench import peer as peers
from zclab.bench.peer import Flags, Peer
from zclab.errors import CapabilityError, InputError, MeasureError
from zclab.options import Options
from zclab.params import Mode, Point, Protocol
from zclab.params import Path as Way

NEW = Peer(path=Path("/x/new"), letters=frozenset("dCTl"), version="2.15", sha256="0")
MIDDLE = Peer(path=Path("/x/mid"), letters=frozenset("dCl"), version="", sha256="1")
OLD = Peer(path=Path("/x/old"), letters=frozenset(), version="2.3-3", sha256="2")

FIXED = Flags(zerocopy=True, fixed=True, defer=True)
UNFIXED = Flags(zerocopy=True, fixed=False, defer=False)
PLAIN = Flags(zerocopy=False, fixed=False, defer=True)

LINES = """\
# deb http://old.example/debian stretch main
deb [arch=amd64 signed-by=/usr/share/keyrings/x.gpg] http://a.example/debian sid main
deb-src http://a.example/debian sid main
  deb http://a.example/debian sid main
deb cdrom:[Disc 1]/ sid main
"""

STANZAS = """\
# the usual one
Types: deb deb-src
URIs: http://a.example/debian
# a comment between fields
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/a.gpg

types: deb
URIs: http://b.example/debian
Suites: ./
Enabled: no
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF
 -----END PGP PUBLIC KEY BLOCK-----

URIs: http://nothing.example/debian
"""


@pytest.fixture(scope="module")
def peer(checkout):
    """Return the peer that $PEER names, or that `zclab bench` has built here."""
    named = os.environ.get("PEER")
    built = checkout / "build" / "bench" / "peer" / "liburing" / sources.EXAMPLE
    binary = Path(named) if named else built
    if not binary.is_file():
        pytest.skip("no examples/send-zerocopy of liburing: set PEER, or zclab bench")
    return peers.ask(binary)


# The distribution's source


def test_one_line_sources_become_source_sources():
    """Options and keys stay; comments and discs go, and so does what stands twice."""
    assert sources.from_lines(LINES).splitlines() == [
        "deb-src [arch=amd64 signed-by=/usr/share/keyrings/x.gpg] "
        "http://a.example/debian sid main",
        "deb-src http://a.example/debian sid main",
    ]


def test_deb822_sources_become_source_sources():
    """Only the types change: keys and what is switched off stay as they are."""
    first, second = sources.from_stanzas(STANZAS).split("\n\n")

    assert first.splitlines() == [
        "Types: deb-src",
        "URIs: http://a.example/debian",
        "Suites: bookworm bookworm-updates",
        "Components: main",
        "Signed-By: /usr/share/keyrings/a.gpg",
    ]
    assert second.splitlines()[0] == "Types: deb-src"
    assert "Enabled: no" in second
    assert " mQINBF" in second


def test_sources_of_a_host(tmp_path):
    """All files of both forms are read, whatever their number; none is no error."""
    assert sources.host_sources(tmp_path) == {".list": "", ".sources": ""}
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (tmp_path / "sources.list").write_text("deb http://a.example/debian sid main\n")
    (parts / "b.list").write_text("deb http://b.example/debian sid main\n")
    (parts / "c.sources").write_text(STANZAS)
    (parts / "d.sources").write_text("Types: deb\nURIs: http://d.example/\n")
    (parts / "e.list.bak").write_text("deb http://e.example/debian sid main\n")

    found = sources.host_sources(tmp_path)

    assert found[".list"].splitlines() == [
        "deb-src http://a.example/debian sid main",
        "deb-src http://b.example/debian sid main",
    ]
    assert found[".sources"].count("Types: deb-src") == 3
    assert "Types: deb\n" not in found[".sources"]


def test_without_apt_the_cure_is_told(tmp_path, monkeypatch):
    """A system without apt is told to build the example and to name it."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(CapabilityError, match="PEER=PATH"):
        sources.example(tmp_path / "cache")


def test_version_is_read_from_the_tree(tmp_path):
    """The distribution's version comes first, the source's own after it."""
    binary = tmp_path / "examples" / "send-zerocopy"
    assert sources.version(binary) == ""
    (tmp_path / "liburing.spec").write_text("Name: liburing\nVersion: 2.15\n")
    assert sources.version(binary) == "2.15"
    (tmp_path / sources.VERSION).write_text("2.15-1\n")
    assert sources.version(binary) == "2.15-1"


# The peer


def test_what_a_timed_peer_prints():
    """Its time follows from its rate; half a millisecond less a look is taken off."""
    printed = "packets=136192 (MB=77), rps=680960 (MB/s=385)\n"

    requests, ns = NEW.read(printed, batch=8, seconds=0)

    assert requests == 136192
    look_ms = 16 * 8 * 200 / 136192
    assert ns == pytest.approx((200 - (1 - look_ms) / 2) * 1e6)


def test_a_slow_peer_is_not_corrected():
    """Between two looks a millisecond and more passes: nothing is rounded off."""
    printed = "packets=20480 (MB=1278), rps=101386 (MB/s=6326)"

    assert NEW.read(printed, batch=64, seconds=0) == (20480, 202e6)


def test_what_an_untimed_peer_prints():
    """Its time is nominal, and -t 0, by which it would divide, is not asked of it."""
    printed = "tx=1024000 (MB=585), tx/s=1024000 (MB/s=585)\n"

    requests, ns = OLD.read(printed, batch=8, seconds=0)

    assert requests == 1024000
    assert 1199.5e6 <= ns < 1199.6e6
    assert [p.whole_seconds(0) for p in (OLD, MIDDLE, NEW)] == [1, 1, 0]


@pytest.mark.parametrize(
    "printed",
    [
        "",
        "The run is too short, can't gather stats\n",
        "packets=0 (MB=0), rps=0 (MB/s=0)",
        "Connection failure -111\npackets=1 (MB=0), rps=1000 (MB/s=0)",
        "send failed: Unknown error -12",
    ],
)
def test_a_peer_without_a_result(printed):
    """What is no result is an error that repeats what the peer said."""
    with pytest.raises(MeasureError) as caught:
        NEW.read(printed, batch=8, seconds=0)
    assert (printed.split("\n")[0] or "nothing") in str(caught.value)


def test_only_flags_that_it_knows_are_used():
    """-C only where it works, -t as it bears it, the protocol last."""
    where = {"address": "192.0.2.2", "port": 8000, "cpu": 3, "seconds": 0}
    what = {"protocol": Protocol.UDP, "io_size_bytes": 600, "batch": 8}

    new, middle, old = (
        " ".join(p.argv(flags, **where, **what))
        for p, flags in ((NEW, FIXED), (MIDDLE, UNFIXED), (OLD, UNFIXED))
    )

    assert new == (
        "/x/new -4 -D 192.0.2.2 -p 8000 -s 600 -n 8 -t 0 -C 3 -z1 -b1 -d udp"
    )
    assert "-C" not in middle
    assert old.endswith("-t 1 -z1 -b0 udp")
    assert not any(flags.defer for c in cell.all_cells(OLD) for flags in _flags(c))
    assert any(flags.defer for c in cell.all_cells(MIDDLE) for flags in _flags(c))


def _flags(found):
    return [c.flags for c in found.contenders if c.flags]


def test_flags_in_zclab_s_words():
    """Each flag of the peer is an option of ours, with the value that it has there."""
    plain, fixed = (
        Options.of(opts.parse(NEW.options(flags, 8))) for flags in (PLAIN, FIXED)
    )

    assert [f.mode for f in (PLAIN, UNFIXED, FIXED)] == [
        Mode.SEND,
        Mode.SEND_ZC,
        Mode.SEND_ZC_FIXED,
    ]
    assert (plain.taskrun, plain.lag, plain.waitall) == ("defer", 128, False)
    assert (fixed.clock, fixed.waitall, fixed.submit_all) == (128, True, False)
    assert (fixed.cq, fixed.sndbuf, fixed.report_usage) == (1024, 0, False)
    old = Options.of(opts.parse(OLD.options(UNFIXED, 8)))
    assert (old.taskrun, old.lag, old.clock, old.sndbuf) == ("coop", 1024, 8, 1 << 21)


def test_what_is_not_the_example_is_refused(tmp_path):
    """Another program, or none, is bad input."""
    for path in (Path(shutil.which("true")), tmp_path / "none"):
        with pytest.raises(InputError, match="send-zerocopy"):
            peers.ask(path)


def test_the_peer_is_asked(peer):
    """A real one tells its letters and is told apart by its hash."""
    assert peer.letters <= set("dCTl")
    assert re.fullmatch(r"[0-9a-f]{64}", peer.sha256)
    assert "/" not in str(peer.to_json())


# Cells


@pytest.mark.parametrize("peer_of", [NEW, OLD])
def test_every_arm_can_be_measured(peer_of):
    """Each of our contenders is an arm that a run would take as well."""
    cells = cell.all_cells(peer_of)

    assert len({c.name for c in cells}) == len(cells)
    assert {c.table for c in cells} == set(cell.Table)
    for found in cells:
        assert len({c.name for c in found.contenders}) == len(found.contenders)
        for contender in found.contenders:
            assert contender.io_size_bytes == (
                found.io_size_bytes * contender.datagrams
            )
            if contender.kind is cell.Kind.ZCLAB:
                Point(
                    path=found.path,
                    protocol=found.protocol,
                    family=4,
                    io_size_bytes=contender.io_size_bytes,
                    batch=found.batch,
                    modes=("send", contender.name)
                    if contender.name != "send"
                    else ("send",),
                )


def test_cells_are_named_by_patterns():
    """Wildcards choose cells, in the order of the page; a miss says what there is."""
    cells = cell.all_cells(NEW)

    chosen = cell.named(cells, "tcp-1024-*, udp-600-z0")

    assert [c.name for c in chosen] == [
        "udp-600-z0",
        "tcp-1024-z0",
        "tcp-1024-z1b0",
        "tcp-1024-z1b1",
    ]
    assert cell.named(cells, event.EVERY) == cells
    with pytest.raises(InputError, match="tuned-8000"):
        cell.named(cells, "udp-601-*")


# Ratios


def _cell(*columns, datagrams=1):
    """Return a cell of a record: each column is one contender's ns per request."""
    kinds = [cell.Kind.PEER, *[cell.Kind.ZCLAB] * (len(columns) - 1)]
    return {
        "contenders": [
            {
                "kind": kind,
                "name": f"c{i}",
                "datagrams": datagrams if kind == cell.Kind.ZCLAB else 1,
            }
            for i, kind in enumerate(kinds)
        ],
        "rounds": [
            [
                None if ns is None else {"requests": 1, "ns": ns, "cpu_ns": ns / 2}
                for ns in row
            ]
            for row in zip(*columns, strict=True)
        ],
    }


def test_the_ratio_is_paired():
    """What slows a whole round down cancels."""
    theirs = [1000, 2000, 4000, 1000, 8000, 1000, 3000, 5000]
    found = record.score(_cell(theirs, [ns / 1.25 for ns in theirs]), [1], [0])

    assert found.ratio.n == len(theirs)
    assert found.ratio.center == pytest.approx(1.25)
    assert found.ratio.low == pytest.approx(found.ratio.high)
    assert found.ours.cpus == pytest.approx(0.5)


def test_datagrams_are_counted_not_requests():
    """A request of many datagrams counts as many."""
    found = record.score(_cell([1000] * 8, [2000] * 8, datagrams=10), [1], [0])

    assert found.ratio.center == pytest.approx(5)
    assert found.ours.rate == pytest.approx(5e6)


def test_the_best_is_chosen_by_other_rounds():
    """An arm that shines by luck in the rounds of the choice is judged by the rest."""
    lucky = [500, 2000] * 8
    steady = [800, 800] * 8

    found = record.score(_cell([1000] * 16, lucky, steady), [1, 2], [0], chosen=True)

    assert found.ours.name == "c1"
    assert found.ratio.center == pytest.approx(0.5)
    assert found.ratio.n == 8


def test_rounds_without_one_side_are_left_out():
    """A contender that was given up counts as far as it came."""
    found = record.score(_cell([1000] * 3, [500, None, 500]), [1], [0])

    assert found.ratio.n == 2
    assert record.score(_cell([1000], [None]), [1], [0]) is None


# The whole


def _tables(text):
    """Yield each table of a page as a list of rows; a row is a list of cells."""
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        yield [
            [part.strip() for part in line.strip("|").split("|")]
            for line in block.splitlines()
        ]


def _check_page(text):
    """Check that every table is one, and that each ratio lies in its interval."""
    assert re.search(r"Made by `zclab bench[^`]*`", text.split("\n## ")[0])
    tables = list(_tables(text))
    assert tables
    ratios = 0
    for head, rule, *rows in tables:
        assert set("".join(rule)) <= set("-:")
        for row in rows:
            assert len(row) == len(head) == len(rule)
            center, *ends = map(float, re.findall(r"\d+\.\d{3}", row[-2]))
            low, high = ends or (center, center)
            assert low <= center <= high
            ratios += 1
    return ratios


def test_the_page_in_docs_is_whole(checkout):
    """docs/bench.md names its command and the machine, and its tables can be read."""
    text = (checkout / "docs" / page.NAME).read_text(encoding="utf-8")

    assert _check_page(text) > len(cell.UDP_SIZES)
    for fact in ("Linux ", "commit ", "liburing ", "SHA-256 ", "rounds"):
        assert fact in text.split("\n## ")[0]


def test_what_differs_over_tcp_is_told():
    """Longer samples and the congestion control are on the page; old ones had none."""
    tcp = [found for found in cell.all_cells(NEW) if found.protocol is Protocol.TCP]
    paths = {"veth": {"congestion_control": arena.CONGESTION}}

    said = page._over_tcp(
        {"seconds": 0, "paths": paths}, [found.to_json() for found in tcp]
    )

    assert {found.seconds for found in tcp} == {cell.TCP_SECONDS}
    assert "1200 ms" in said
    assert "reno" in said
    assert page._over_tcp({"seconds": 0, "paths": {"veth": {}}}, [{}]) == ""


def test_the_command_names_no_place():
    """Of the peer's path only the name is told; defaults are left out."""
    asked = event.Asked(peer=Path("/x/y/send-zerocopy"), pairs=7, cells="udp-600-*")

    assert event.Asked().command == "zclab bench"
    assert asked.command == (
        "zclab bench --peer send-zerocopy --pairs 7 --cells 'udp-600-*'"
    )
    with pytest.raises(InputError, match="1 to"):
        event.Asked(pairs=0)
    with pytest.raises(InputError, match="0 to"):
        event.Asked(seconds=-1)


@needs_uring
def test_a_small_bench(peer, tmp_path, monkeypatch):
    """Three real pairs become a record and a page, and the host has no new device."""
    monkeypatch.setenv("ZCLAB_HOME", str(tmp_path))
    before = socket.if_nameindex()
    during, seen = [], []

    def progress(done, total):
        seen.append((done, total))
        during.append(socket.if_nameindex())

    asked = event.Asked(peer=peer.path, pairs=3, cells="udp-600-z0")
    try:
        done = event.hold(asked, progress=progress)
    except CapabilityError as error:
        pytest.skip(str(error))

    found = record.read(done.record)
    (measured,) = found["cells"]
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert all(names == before for names in during)
    assert measured["failed"] == {}
    assert len(measured["rounds"]) == 3
    assert all(sample["requests"] > 0 for row in measured["rounds"] for sample in row)
    assert done.page == done.record.with_suffix(".md")
    assert _check_page(done.page.read_text(encoding="utf-8")) == 1
    assert str(peer.path.parent) not in done.page.read_text(encoding="utf-8")
    assert str(peer.path.parent) not in done.record.read_text(encoding="utf-8")
    assert not (store.home() / "docs").exists()
    score = record.score(measured, [1], [0])
    assert math.isfinite(score.ratio.center)


@needs_uring
def test_the_arena_has_a_network_of_its_own():
    """What the arena builds is in no network of ours."""
    try:
        with arena.Arena(Way.SINK, (0, 0)) as ground:
            device = ground.facts["device"]
            assert device not in {name for _, name in socket.if_nameindex()}
            answer = ground.run(
                {
                    "kind": "zclab",
                    "arm": "send:sndbuf=0",
                    "io_size_bytes": 600,
                    "batch": 8,
                    "budget_ns": 2_000_000,
                }
            )
            assert answer["requests"] > 0
            with pytest.raises(MeasureError, match="status"):
                ground.run({"argv": ["false"], "kind": "peer", "budget_ns": 1})
    except CapabilityError as error:
        pytest.skip(str(error))


@needs_uring
def test_tcp_is_not_paced_in_the_arena():
    """The arena's own network has the control it names, and the host keeps its own."""
    before = arena.CONGESTION_CONTROL.read_text()
    try:
        with arena.Arena(Way.VETH, (0, 0)) as ground:
            assert ground.facts["congestion_control"] == arena.CONGESTION
            assert arena.CONGESTION_CONTROL.read_text() == before
            answer = ground.run(
                {
                    "kind": "zclab",
                    "arm": "send:sndbuf=0",
                    "io_size_bytes": 1024,
                    "batch": 1,
                    "budget_ns": 2_000_000,
                }
            )
            assert answer["requests"] > 0
    except CapabilityError as error:
        pytest.skip(str(error))
