"""Stacks of perf fall into buckets; their sum is what the clock measured."""

import json
import shutil

import pytest
from matplotlib.text import Text

from tests.live import needs_uring
from zclab import store
from zclab.cli.breakdown import _find, _tell
from zclab.errors import CapabilityError, DataError, InputError
from zclab.explain import breakdown, figures, readable
from zclab.measure import perf
from zclab.params import CONTROL, Mode, Path, Point, Protocol
from zclab.store import breakdowns

VETH_ZC = "skb_copy_ubufs;ip6_input_finish;process_backlog;net_rx_action;io_send_zc"


@pytest.mark.parametrize(
    ("stack", "bucket"),
    [
        ("_copy_from_iter;ip_generic_getfrag;__ip_append_data;udp_sendmsg", "copy"),
        (f"__pi_memcpy;{VETH_ZC}", "copy"),
        (VETH_ZC, "copy"),
        ("get_page_from_freelist;skb_copy_ubufs;process_backlog", "allocation"),
        ("gup_fast_fallback;iov_iter_extract_pages;__zerocopy_sg_from_iter", "pinning"),
        ("io_sg_from_iter;__ip_append_data;udp_sendmsg;io_send_zc", "pinning"),
        ("io_tx_ubuf_complete;skb_release_data;ifb_xmit", "notification"),
        ("__io_req_task_work_add;io_tx_ubuf_complete;skb_release_data", "io_uring"),
        ("read_tsc;ktime_get_mono_fast_ns;bpf_ktime_get_ns;io_send", "tracing"),
        ("_raw_spin_lock;enqueue_to_backlog;veth_xmit", "delivery"),
        ("ifb_xmit;dev_hard_start_xmit;__dev_queue_xmit", "device"),
        ("udp_sendmsg;sock_sendmsg;io_send", "protocol"),
        ("do_syscall_64;entry_SYSCALL_64_after_hwframe", "syscall"),
        ("user:_shim.abi3.so;user:_shim.abi3.so", "user"),
        ("user:_shim.abi3.so;asm_exc", "user"),
        ("memcpy", "other"),
        ("nobody_knows_this", "other"),
    ],
)
def test_bucket(stack, bucket):
    """The innermost function that a bucket knows decides; what all call does not."""
    assert breakdown.bucket(stack) == bucket


def test_every_bucket_is_explained():
    """Each bucket has a meaning, and each pattern a bucket."""
    assert set(breakdown.MEANINGS) == set(breakdown.BUCKETS)


def made(**stacks):
    """Return a breakdown of one arm with so many samples of 1000 ns."""
    counts = {name.replace("__", ";"): n for name, n in stacks.items()}
    samples = sum(counts.values())
    return {
        "host": {"alias": "host-0000"},
        "name": "sink-udp4-8000B-n8",
        "arms": [
            {
                "arm": "send",
                "requests": 100,
                "ns_per_request": 10.0 * samples,
                "cpu_ns_per_request": 10.0 * samples,
                "samples": samples,
                "sampled_ns": 1000 * samples,
                "stacks": counts,
            }
        ],
    }


def test_frame():
    """Ns per request of the buckets add up to the samples' time."""
    found = made(_copy_from_iter=30, ifb_xmit=10, udp_sendmsg=60)

    ns = breakdown.frame(found).set_index("bucket")["ns"]

    assert ns["copy"] == pytest.approx(300)
    assert ns["device"] == pytest.approx(100)
    assert ns.sum() == pytest.approx(1000)
    assert breakdown.closure(found)["ratio"].tolist() == [pytest.approx(1.0)]


def test_stored(tmp_path):
    """A breakdown is read back as it was; one that was changed is refused."""
    path = breakdowns.write(made(ifb_xmit=3), out=tmp_path)

    assert breakdowns.load(path)["arms"][0]["stacks"] == {"ifb_xmit": 3}
    assert breakdowns.listing(tmp_path) == [path]

    values = json.loads(path.read_text())
    values["arms"][0]["requests"] += 1
    path.write_text(json.dumps(values))
    with pytest.raises(DataError, match="is not what was sealed"):
        breakdowns.load(path)


def test_what_is_not_there_is_not_shown(tmp_path, monkeypatch):
    """A breakdown that is missing is no incomplete run; where they lie is told."""
    monkeypatch.setenv("ZCLAB_HOME", str(tmp_path))

    with pytest.raises(InputError, match=r"no breakdown .*missing\.json; .*breakdowns"):
        _find(str(tmp_path / "missing.json"))
    with pytest.raises(InputError, match="make one: zclab breakdown"):
        _find("latest")
    path = breakdowns.write(made(ifb_xmit=3))
    assert _find("latest") == _find(str(path)) == path


def test_what_is_in_no_bucket_is_warned_of(tmp_path, capsys):
    """Buckets that miss a tenth of the time measured or more are no whole picture."""
    whole, part = made(ifb_xmit=10), made(ifb_xmit=10)
    part["arms"][0]["ns_per_request"] *= 2

    _tell(breakdowns.write(whole, out=tmp_path / "whole"))
    assert "warning" not in "".join(capsys.readouterr())
    _tell(breakdowns.write(part, out=tmp_path / "part"))
    assert "warning: send: 50% of its time is in no bucket" in capsys.readouterr().err


def test_without_perf(monkeypatch):
    """Without perf one line says how to get it."""
    monkeypatch.setattr(shutil, "which", lambda _: None)

    with pytest.raises(CapabilityError, match="apt-get install linux-perf"):
        perf.needed()


@pytest.mark.parametrize(("paranoid", "kptr"), [(2, 0), (1, 1)])
def test_without_rights(monkeypatch, tmp_path, paranoid, kptr):
    """Who may not see the kernel is told the two sysctls."""
    for name, value in (("PARANOID", paranoid), ("KPTR", kptr)):
        (tmp_path / name).write_text(str(value))
        monkeypatch.setattr(perf, name, tmp_path / name)
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/perf")
    monkeypatch.setattr("os.geteuid", lambda: 1000)

    with pytest.raises(CapabilityError, match=f"perf_event_paranoid = {paranoid}"):
        perf.needed()


@pytest.fixture(scope="module")
def recorded():
    """Return a real breakdown of the sink, or skip where perf cannot look."""
    try:
        perf.needed()
    except CapabilityError as error:
        pytest.skip(str(error))
    point = Point(
        path=Path.SINK,
        protocol=Protocol.UDP,
        family=4,
        io_size_bytes=65507,
        batch=8,
        modes=(Mode.SEND, Mode.SEND_ZC),
    )
    return perf.record(point, seconds=0.5)


@needs_uring
def test_recorded(recorded, tmp_path):
    """Plain send copies and pins nothing; zerocopy pins and copies nothing."""
    assert [arm["arm"] for arm in recorded["arms"]] == ["send", "send_zc"]
    assert CONTROL not in {arm["arm"] for arm in recorded["arms"]}

    frame = breakdown.frame(recorded)
    share = frame.pivot_table(index="bucket", columns="arm", values="share")

    assert share.loc["copy", "send"] > 0.2
    assert share.loc["copy", "send_zc"] < 0.05
    assert share.loc["pinning", "send_zc"] > 0.05
    assert share.loc["pinning", "send"] < 0.01
    assert share.loc["other"].max() < 0.1
    assert store.breakdowns.load(breakdowns.write(recorded, out=tmp_path))


@needs_uring
def test_recorded_adds_up(recorded):
    """The sum of the buckets is about the CPU time that the kernel charged."""
    ratios = breakdown.closure(recorded)["cpu_ratio"]

    assert (ratios > 0.8).all()
    assert (ratios < 1.2).all()


def test_texts():
    """Buckets that saw nothing are left out; below stand the sum and the clock's."""
    found = breakdown.texts(made(_copy_from_iter=30, udp_sendmsg=70))

    assert found[""].tolist() == ["copy", "protocol", *breakdown.SUMS]
    assert found["send"].tolist() == ["300", "700", "1000", "1000", "1.000"]


def test_drawn():
    """The bars of an arm end at the sum of its buckets, the mark is the clock's."""
    found = made(_copy_from_iter=30, udp_sendmsg=70)

    figure = figures.breakdown([found, found])

    left, right = figure.axes
    tops = [patch.get_y() + patch.get_height() for patch in left.patches]
    assert max(tops) == pytest.approx(1000)
    assert left.lines[0].get_ydata() == pytest.approx([1000])
    assert right.get_title() == found["name"]
    nothing = figures.breakdown([]).findobj(Text)
    assert any("make one: zclab breakdown" in text.get_text() for text in nothing)


def test_buckets_that_were_seen_are_explained():
    """The table says what each bucket with a sample holds, and no other."""
    found = made(_copy_from_iter=3, nobody_knows_this=1)
    told = readable.bucket_meanings([found])

    assert list(told["bucket"]) == ["copy", "other"]
    assert told["what it holds"][0] == breakdown.MEANINGS["copy"]
    assert readable.bucket_meanings([]).empty
