"""The mail: its form, its facts, and that nothing in it depends on the clock."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path as Folder

import pandas as pd
import pytest
import samples

from zclab import store
from zclab.errors import InputError
from zclab.explain import claims, facts, table
from zclab.options import parse
from zclab.params import Mode, Path, Point, Protocol, Stop, grid
from zclab.publish import mail

REPORT = "20261122T120000Z-host-0000-synthetic"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> store.Run:
    return samples.make(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def text(run: store.Run) -> str:
    return mail.render(run, REPORT)


def paragraph(text: str, start: str) -> list[str]:
    """Return the lines of the paragraph that begins with `start`."""
    for part in text.split("\n\n"):
        if part.startswith(start):
            return part.rstrip("\n").split("\n")
    raise AssertionError(f"no paragraph begins with {start!r}")


def test_a_rendered_mail_has_no_problems(text: str) -> None:
    """Render and lint agree."""
    assert mail.lint(text) == []


def test_the_mail_is_the_same_each_time(run: store.Run, text: str) -> None:
    """Loaded again and rendered again it is byte for byte the same."""
    assert mail.render(store.load(run.folder), REPORT) == text


def test_no_paragraph_is_empty(tmp_path: Folder) -> None:
    """A run with nothing to say of a matter leaves no gap where it would have been."""
    run = samples.make(tmp_path, plan_points=samples.points()[:1], planned=1)

    assert "\n\n\n" not in mail.render(run, REPORT)


def test_the_headers_answer_the_thread(text: str) -> None:
    """Subject first, then the lists, then what it replies to."""
    headers = text.split("\n\n", maxsplit=1)[0].split("\n")

    assert headers[0].startswith("Subject: Re: ")
    assert "io-uring@vger.kernel.org" in headers[1]
    assert headers[3].startswith("In-Reply-To: <408e230c-")


def said_first(text: str) -> list[str]:
    """Return the sentences of the paragraph after the headers."""
    return text.split("\n\n")[1].replace("\n  ", " ").split("\n")


def test_the_summary_is_copies_and_gains_by_size(text: str) -> None:
    """A sentence for each place: its copied share, and what sizes gain or lose."""
    sink, veth, lo = said_first(text)

    assert re.fullmatch(
        r"sink, UDP: 0% copied; send_zc_fixed \+\d+% at 600 B, \+\d+% at 65507 B; "
        r"\+39% at 65435 B, IPv6, batch 64",
        sink,
    )
    assert veth == "veth, UDP: 100% copied; send_zc_fixed -25% at 65435 B"
    assert lo == ("lo, TCP: 100% copied; send_zc_fixed -10% at 1200 B, -10% at 4096 B")


def test_the_summary_has_both_sides_of_a_change_of_sign(tmp_path: Folder) -> None:
    """Of many sizes the ends are told, and those between which the gain turns."""
    gains = {600: -9.0, 1200: -8.0, 4000: -6.0, 8000: 12.0, 16000: 50.0, 65507: 90.0}
    points = tuple(
        replace(samples.points()[0], io_size_bytes=size, modes=("send", "send_zc"))
        for size in gains
    )
    run = samples.make(
        tmp_path,
        plan_points=points,
        gain=lambda point, arm: gains[point.io_size_bytes] * (arm == "send_zc"),
        noise=1e-6,
    )

    assert said_first(mail.render(run, REPORT)) == [
        "sink, UDP: 0% copied; send_zc -9% at 600 B, -6% at 4000 B, +12% at 8000 B, "
        "+90% at 65507 B"
    ]


def test_what_is_no_finding_is_not_told_as_one(tmp_path: Folder) -> None:
    """A gain that may be none says so; a copied share that is unknown as well."""
    run = samples.make(
        tmp_path,
        plan_points=samples.points()[5:6],
        gain=lambda point, arm: 0.0,
        copied={"veth": None},
    )
    (said,) = said_first(mail.render(run, REPORT))

    assert said.startswith("veth, UDP: copied unknown; send_zc_fixed ")
    assert said.endswith("% (no finding) at 65435 B")


def test_losses_are_stated(text: str) -> None:
    """The mail says where zerocopy loses, with the numbers."""
    assert re.search(r"ZC_FIXED \| 6294 \| 0\.751 \| +\d+ \| +0\.7\d\d \[", text)


def test_the_tables_show_v5s_percent_beside_ours(text: str) -> None:
    """Each dummy row is there in the mail's shape."""
    lines = text.split("\n")
    row = next(i for i, line in enumerate(lines) if re.match(r" +8000 \| +v5 \|", line))

    assert lines[row].rstrip().endswith("(+71%)")
    assert re.match(r" +\| here \| +\d+k \| .*\d+k \+\d", lines[row + 1])
    verdict = next(line for line in lines if line.startswith("- 8000 B: "))
    assert re.fullmatch(
        r"- 8000 B: direction only; ns saved \+\d+ \[\+\d+, \+\d+\], \+320 then\.",
        verdict,
    )


def test_no_number_of_a_published_table_stands_in_another(text: str) -> None:
    """The gains of a shape are in no list and in no table of all sizes."""
    shape = next(part for part in text.split("\n\n") if "zc + flush, 95%" in part)
    gains = re.findall(r"[-+][\d.]+% (\[.*?\])", shape)

    assert len(gains) == 4
    assert [gain for gain in gains if text.count(gain) > 1] == []
    assert "Every size" not in text
    assert "Shape: " not in text


def test_unregistered_buffers_are_told_beneath(text: str) -> None:
    """What a shape has no column for is beneath it, and what is in no shape at last."""
    flat = " ".join(text.split())
    rest = " ".join(paragraph(text, "In no table:"))

    assert re.search(r"- send_zc there, in percent: 600 B \+\d\.\d \[\+", flat)
    assert re.search(r"- 65507 B on sink, UDP/IPv4, batch 8: send_zc_fixed \+4", rest)
    assert "65435 B on sink, UDP/IPv6, batch 64: send_zc_fixed +39" in " ".join(
        rest.split()
    )
    assert "0% copied, n=40." in rest
    assert "on veth" not in rest


def test_the_mail_opens_with_five_sentences(text: str) -> None:
    """After the lines of the places: why, host, February, v5's rows, what to do."""
    said = text.split("\n\n")[2].split("\n")
    starts = [line for line in said if line.startswith("- ")]

    assert len(starts) == 5
    assert starts[0].startswith("- Why: 65435 B send_zc_fixed over UDP/IPv6, batch 64")
    assert starts[1].startswith("- Linux 6.18.0-synthetic")
    assert starts[2].startswith("- The February 2025 selftest's sends")
    assert starts[3].startswith("- v5's dummy rows")
    assert starts[4].startswith("- What to do: ")


def test_every_table_says_what_it_is(text: str) -> None:
    """Path, protocol, family, batch and n precede each, and its copied share."""
    parts = [" ".join(part.split()) for part in text.split("\n\n")]
    captions = [part for part in parts if " Path " in part]
    tables = [part for part in text.split("\n\n") if " | " in part.split("\n")[0]]

    assert len(tables) == 3
    assert len([c for c in captions if "n=40" in c]) == 3
    assert len([c for c in captions if "Copied: " in c]) == 1
    assert len([part for part in tables if "| copied" in part]) == 2


@pytest.mark.parametrize(
    "words",
    [
        "Gain: requests/s over send",
        "registered file and pinned CPUs",
        "not to be compared across hosts",
        "found 9 times in 10",
    ],
)
def test_what_holds_for_all_tables_is_said_once(text: str, words: str) -> None:
    """No caption repeats what another one told."""
    assert " ".join(text.split()).count(words) == 1


def test_the_words_of_the_verdicts_are_defined(run: store.Run, text: str) -> None:
    """What each verdict that was given means is said, with the rule's tolerances."""
    lines = paragraph(text, "send_zc_fixed: ")
    told = " ".join(lines)
    found = claims.compare(run)
    given = {*found["verdict"], *found["verdict_ns"]}

    assert len(lines) <= 12
    assert {claims.REPRODUCED, claims.DIRECTION_ONLY} <= given
    for word in (claims.REPRODUCED, claims.DIRECTION_ONLY, claims.CONTRADICTED):
        assert (f"{word.capitalize()}: " in told) == (word in given)
    assert f"{claims.TOLERANCE_POINTS:g} points" in told
    assert f"({claims.TOLERANCE_NS:g} ns)" in told


def test_findings_are_counted_only_where_some_do_not_hold(text: str) -> None:
    """That all of them hold for the run as a whole adds nothing."""
    frame = pd.DataFrame(
        {
            "finding": ["faster", "slower"],
            "p_holm": [0.001, 0.001],
            "arm": ["send_zc", "send_zc"],
            "point": ["a", "b"],
            "mode": ["send_zc", "send_zc"],
        }
    )

    assert "comparisons with send" not in text
    assert mail._not_all_hold(frame) == []
    (told,) = mail._not_all_hold(frame.assign(p_holm=[0.001, 0.2]))
    assert "these hold but for send_zc at b" in told


def test_a_caption_covers_every_path_of_its_table(tmp_path: Folder) -> None:
    """Where the TCP table has lo beside the sink, n and what they find are of both."""
    points = tuple(
        replace(point, path=path)
        for path in (Path.SINK, Path.LO)
        for point in samples.points(udp=False)
    )
    run = samples.make(tmp_path, plan_points=points, planned=30, copied={"sink": 0.0})
    late = run.samples["path"].astype(str).eq("lo") & (run.samples["block"] >= 20)
    run = replace(run, samples=run.samples[~late])
    frame = table.summary(run)
    shown = frame[frame["arm"] == "send_zc_fixed"]
    ends = sorted(shown["mde_percent"])
    caption = " ".join(paragraph(mail.render(run, REPORT), "v5, TCP"))

    assert "Path sink+answered, lo, TCP/IPv4, batch 1. n=20 to 30, MDE" in caption
    span = " to ".join(dict.fromkeys(map(table.mde_text, (ends[0], ends[-1]))))
    assert f"MDE {span} points" in caption
    assert "Copied: " not in caption  # it has a column


def test_a_long_summary_is_wrapped_not_cut(tmp_path: Folder) -> None:
    """Every place is in it, on as many lines as that takes."""
    points = tuple(
        replace(point, situation=situation)
        for situation in ("", "mtu=1500", "tap", "sg=off", "mtu=9000")
        for point in samples.points(tcp=False)[:1]
    )
    run = samples.make(tmp_path, plan_points=points, planned=8)
    text = mail.render(run, REPORT)
    said = text.split("\n\n")[1]

    assert "..." not in said
    for place in run.plan.places:
        assert f"\n{place}, UDP: " in f"\n{said}"
    assert mail.lint(text) == []


def test_the_flags_of_the_requests_are_told(text: str, tmp_path: Folder) -> None:
    """REPORT_USAGE is in the block whole, and only where it was asked for."""
    host = {**samples.HOST, "sender": {**samples.HOST["sender"], "report_usage": False}}
    without = mail.render(samples.make(tmp_path, planned=6, host=host), REPORT)
    flags = "  sqe     IORING_SEND_ZC_REPORT_USAGE, IOSQE_FIXED_FILE"

    assert flags in paragraph(text, mail.SYSTEM)
    assert "  sqe     IOSQE_FIXED_FILE" in paragraph(without, mail.SYSTEM)


def test_losses_at_the_receiver_are_told(tmp_path: Folder) -> None:
    """What reached a live receiver stands in its caption, a sink has none."""
    run = samples.make(tmp_path, planned=6, plan_points=samples.points()[5:7])
    run.samples["received_bytes"] = run.samples["received_bytes"] // 2
    text = mail.render(run, REPORT)
    caption = " ".join(paragraph(text, "February 2025, selftest"))

    assert "Delivered: 50.0% of the bytes." in caption
    assert text.count("Delivered") == 1


def test_what_is_not_shown_is_said(text: str) -> None:
    """The NIC with the command that would, the older tables, and a sink's limits."""
    missing = " ".join(" ".join(paragraph(text, mail.NOT_SHOWN)).split())

    card = "(v5's notification at 600 B: 130 ns on its NIC, 36 on dummy)"
    for words in ("v5, NIC, and its", "--path nic --dev DEV", "RFC v2", card):
        assert words in missing
    assert "neither percent nor ns saved carry over" in missing
    told = "Cold data (one buffer is sent over and over), latency, more than one flow, "
    assert told in missing
    assert "not in this run" not in missing


def test_absent_paths_are_said(tmp_path: Folder) -> None:
    """What was not measured is told from the run, not from a fixed list."""
    only = tuple(point for point in samples.points() if point.path is Path.VETH)
    text = mail.render(samples.make(tmp_path, plan_points=only, planned=8), REPORT)
    missing = " ".join(" ".join(paragraph(text, mail.NOT_SHOWN)).split())

    assert "The paths sink, lo: not in this run." in missing
    assert "--path sink --protocol udp --family 4 --sizes 8000,4000,1200" in missing
    assert "carry over" not in missing
    assert mail.lint(text) == []


def test_the_commands_name_commit_seed_and_report(text: str) -> None:
    """Three commands that a stranger can copy."""
    commands = [line.strip() for line in paragraph(text, mail.REPRODUCE)[-4:]]

    assert commands == [
        "git checkout 0123456789ab",
        "zclab measure --plan synthetic.yaml --blocks 40 --seed 1",
        "With the run's data:",
        f"make verify RUN={REPORT}",
    ]


def test_who_can_clone_is_told_from_where(run: store.Run) -> None:
    """The address that the host's checkout came from comes before all else."""
    url = "https://example.org/a/zclab.git"
    host = {**run.host, "software": {**run.host["software"], "remote": url}}
    text = mail.render(replace(run, host=host), REPORT)
    lines = [line.strip() for line in paragraph(text, mail.REPRODUCE)]

    at = lines.index(f"git clone {url} zclab && cd zclab")
    assert lines[at + 1] == "git checkout 0123456789ab"
    assert mail.lint(text) == []


@pytest.mark.parametrize(
    ("profile", "stop", "command"),
    [
        ("quick", None, "zclab measure --profile quick --blocks 40 --seed 1"),
        (
            "quick",
            Stop(precision=0.5, budget_s=180),
            'make report PROFILE=quick ARGS="--precision 0.5 --budget 180 --seed 1"',
        ),
        (
            "mine",
            Stop(precision=0.5),
            "zclab measure --plan mine.yaml --precision 0.5 --seed 1",
        ),
    ],
)
def test_the_stop_rule_is_in_the_command(
    run: store.Run, profile: str, stop: Stop | None, command: str
) -> None:
    """A profile is taken again by its name, a plan of one's own by its file."""
    plan = replace(run.plan, profile=profile, stop=stop)
    text = mail.render(replace(run, plan=plan), REPORT)
    said = " ".join(" ".join(paragraph(text, mail.REPRODUCE)).split())
    said = said.replace(" \\ ", " ")  # a continued line

    assert command in said
    assert ("blocks until +-0.5 points" in said) == (stop is not None)
    assert mail.lint(text) == []


def test_a_synthetic_run_has_no_mail(tmp_path: Folder) -> None:
    """It is refused in one line that says what to do."""
    run = samples.make(
        tmp_path, planned=8, plan_points=samples.points()[:1], marked=True
    )
    with pytest.raises(InputError, match=r"no mail about it; measure a kernel: zclab"):
        mail.render(run, REPORT)


def test_captions_say_what_would_have_been_found(text: str) -> None:
    """Each table tells which gains its blocks find nine times in ten."""
    parts = [" ".join(part.split()) for part in text.split("\n\n")]
    captions = [part for part in parts if " Path " in part]

    found = r"n=40, MDE [\d.]+( to [\d.]+)? points\."
    assert all(re.search(found, caption) for caption in captions)


def test_what_is_equivalent_is_told(tmp_path: Folder) -> None:
    """A planted 0 % is in the mail as a finding, not left out."""
    run = samples.make(tmp_path, planned=60, gain=lambda point, arm: 0.0)
    text = mail.render(run, REPORT)

    assert "- Differs from send by less than 1 point: send_zc" in text
    assert mail.lint(text) == []


def test_like_warnings_are_one_line(tmp_path: Folder) -> None:
    """Where warnings differ in a number only, the mail gives its range."""
    run = samples.make(tmp_path, planned=8)
    first = run.samples["arm"] == "send_zc"
    run.samples.loc[first, "eagain"] = 1
    run.samples.loc[run.samples["arm"] == "mixed", "eagain"] = 2
    said = " ".join(" ".join(paragraph(mail.render(run, REPORT), "Warnings:")).split())

    assert "- 8 to 16 completions with -EAGAIN (" in said
    assert said.count("-EAGAIN") == 1


def test_a_partial_run_says_so_before_anything_else(tmp_path: Folder) -> None:
    """The first paragraph after the headers counts the blocks."""
    run = samples.make(tmp_path, planned=20, stop_after=90)
    text = mail.render(run, REPORT)

    assert text.split("\n\n")[1].startswith("PARTIAL RUN: 90 of 180")
    assert "stopped by KeyboardInterrupt" in text
    assert mail.lint(text) == []


def test_what_both_parts_of_a_joined_run_warn_of_is_said_once(run: store.Run) -> None:
    """The host is one, and so is what is wrong with it."""
    twice = replace(run, warnings=("a busy host", "a busy host"))
    text = mail.render(twice, REPORT)

    assert text.count("- a busy host") == 1


def test_warnings_reach_the_mail(tmp_path: Folder) -> None:
    """What a row warns of is printed with the numbers."""
    run = samples.make(tmp_path, planned=8)
    run.samples.loc[run.samples["arm"] == "send_zc", "eagain"] = 1
    text = mail.render(run, REPORT)

    assert "8 completions with -EAGAIN" in " ".join(paragraph(text, "Warnings:"))


@pytest.mark.parametrize("index", [0, 5, 7])  # sink, veth, lo
@pytest.mark.parametrize("blocks", [1, 8])
def test_any_single_point_makes_a_mail(
    tmp_path: Folder, index: int, blocks: int
) -> None:
    """With no facts of the host at all, and too few blocks, it is still a mail."""
    run = samples.make(
        tmp_path,
        plan_points=(samples.points()[index],),
        planned=blocks,
        host={"alias": "host-0000"},
    )

    assert mail.lint(mail.render(run, REPORT)) == []


def test_a_custom_plan_is_reproduced_by_its_options(tmp_path: Folder) -> None:
    """Sizes, modes and seed are in the command, continued where it is too long."""
    from dataclasses import replace

    run = samples.make(tmp_path, planned=8, plan_points=samples.points(tcp=False)[:5])
    custom = replace(run, plan=replace(run.plan, profile="custom"))
    text = mail.render(custom, REPORT)
    command = " ".join(
        line.strip(" \\") for line in paragraph(text, mail.REPRODUCE)[4:]
    )

    assert "zclab measure --path sink --protocol udp --family 4" in command
    assert "--sizes 600,1200,4000,8000,65507" in command
    assert "--blocks 8 --seed 1" in command
    assert mail.lint(text) == []


def test_long_facts_of_a_host_are_left_out_not_cut(tmp_path: Folder) -> None:
    """A line of the system block holds whole facts only, in ASCII."""
    host = {
        **samples.HOST,
        "cpu": {"model": "Intel\u00ae Xeon\u00ae " + "x" * 30, "online": 96},
        "kernel": {"release": "6.18.0", "version": "#1 SMP " + "y" * 80},
    }
    text = mail.render(samples.make(tmp_path, planned=6, host=host), REPORT)
    system = paragraph(text, mail.SYSTEM)

    assert "yyy" not in text
    assert any("Intel? Xeon?" in line and "96 online" in line for line in system)
    assert mail.lint(text) == []


def without(start: str) -> Callable[[str], str]:
    """Return an edit that drops the paragraph that begins with `start`."""

    def edit(text: str) -> str:
        parts = text.split("\n\n")
        return "\n\n".join(part for part in parts if not part.startswith(start))

    return edit


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (without("Subject"), "not a subject"),
        (without("sink, UDP"), "summary does not say of each place"),
        (without(mail.SYSTEM), "no 'System:' block"),
        (without(mail.NOT_SHOWN), "no 'Not shown:'"),
        (without(mail.REPRODUCE), "no 'To reproduce:'"),
        (without("IO size"), None),
        (lambda t: t.replace("Path veth", "veth"), "does not name its path"),
        (lambda t: t.replace("UDP/", ""), "does not name its protocol"),
        (lambda t: t.replace("IPv6", ""), "does not name its family"),
        (lambda t: t.replace("batch 8.", ""), "does not name its batch"),
        (lambda t: t.replace("n=40", ""), "does not name its n"),
        (lambda t: t.replace("95% interval", "range"), "no interval is named"),
        (lambda t: re.sub("[Cc]opied|copied", "", t), "does not name its copied"),
        (lambda t: t.replace("kernel", "k\u00e9rnel", 1), "is not ASCII"),
        (lambda t: t.replace("System:", "System:\t"), "has a tab"),
        (lambda t: t + "x" * 73 + "\n", "has 73 columns"),
        (lambda t: t.replace("git checkout", "# git"), None),
        (lambda t: t.replace("    git checkout", "git checkout"), "it needs three"),
        (lambda t: t.replace("commit ", ""), "does not name the commit"),
        (lambda t: re.sub(r"; run\s", "; ", t), "does not name the run"),
        (lambda t: "", "not a subject"),
        (lambda t: "Subject: hello\n", "summary does not say of each place"),
    ],
)
def test_lint_names_what_is_missing(
    text: str, edit: Callable[[str], str], problem: str | None
) -> None:
    """Each edit that takes something away from the reader is refused by name."""
    found = mail.lint(edit(text))

    if problem is None:
        assert found == []
    else:
        assert any(problem in line for line in found), found


def test_a_mail_without_tables_is_refused(text: str) -> None:
    """Prose alone is no report."""
    bare = "\n\n".join(
        part for part in text.split("\n\n") if " | " not in part.split("\n")[0]
    )

    assert "there is no table" in mail.lint(bare)


def test_a_system_block_has_a_most(text: str) -> None:
    """Host, five paths and what sent are what a reader takes in."""
    room = mail.SYSTEM_LINES - len(paragraph(text, mail.SYSTEM))
    fits = text.replace("System:\n", "System:\n" + "  more\n" * room)
    long = fits.replace("System:\n", "System:\n  more\n")

    assert mail.lint(fits) == []
    assert any("over 13 lines" in problem for problem in mail.lint(long))


def test_an_unmeasured_point_is_not_an_error(tmp_path: Folder) -> None:
    """A point with other modes than all makes a table with what it has."""
    first = samples.points()[0]
    point = Point(
        path=first.path,
        protocol=first.protocol,
        family=first.family,
        io_size_bytes=first.io_size_bytes,
        batch=first.batch,
        modes=(first.modes[0], first.modes[3]),
    )
    text = mail.render(samples.make(tmp_path, plan_points=(point,), planned=8), REPORT)

    assert "mixed" in text
    assert mail.lint(text) == []


def test_every_arm_is_in_the_mail(tmp_path: Folder) -> None:
    """Modes and options beyond the selftest's have a table, and are taken again."""
    arms = (*Mode, "send_zc:lag=8", "send_zc_fixed:pages=thp:lag=8:sndbuf=65536")
    point = Point(
        path=Path.SINK,
        protocol=Protocol.UDP,
        family=4,
        io_size_bytes=8000,
        batch=8,
        modes=tuple(str(arm) for arm in arms),
        given=parse("clock=8"),
    )
    run = samples.make(tmp_path, plan_points=(point,), planned=8)
    run = replace(run, plan=replace(run.plan, profile="custom"))
    text = mail.render(run, REPORT)
    rows = paragraph(text, "IO size | arm")

    assert mail.lint(text) == []
    assert len(rows) == 1 + len(point.arms)
    assert any("send_zc (a)" in row for row in rows)
    caption = " ".join(paragraph(text, "Every arm"))
    assert "(a) lag=8; (b) pages=thp:lag=8:sndbuf=65536" in caption
    assert "clock=8" in caption
    again = text.partition("To reproduce")[2].replace("\\\n", "")
    assert "--options clock=8" in again
    for arm in point.modes:
        assert re.search(rf"[\" ]{re.escape(arm)}[,\"]", again)


def test_options_make_a_point_no_twin(tmp_path: Folder) -> None:
    """A point with options is not what was published, and is not compared with it."""
    first = samples.points()[3]
    run = samples.make(
        tmp_path, plan_points=(replace(first, given=parse("lag=8")),), planned=8
    )

    assert "Against v5" not in mail.render(run, REPORT)


@pytest.mark.parametrize(
    ("rung", "says"),
    [
        ("ifb", "Sink: the device ifb, which drops every packet."),
        ("veth-drop", "Sink: a veth pair, whose peer's ingress drops every packet."),
        (
            "veth-down",
            "Sink: a veth pair with the peer down, which drops every packet.",
        ),
    ],
)
def test_the_rung_of_the_sink_and_what_it_leaves_out_are_told(
    tmp_path: Folder, rung: str, says: str
) -> None:
    """Every mail names the device that drops, and what a real path has besides."""
    host = dict(samples.HOST)
    sink = {
        **host["paths"]["sink"],
        "kind": rung.partition("-")[0],
        "rung": rung,
        "leaves_out": "a wire, and all that a receiver does",
    }
    host["paths"] = {**host["paths"], "sink": sink}
    text = " ".join(mail.render(samples.make(tmp_path, host=host), REPORT).split())

    assert says in text
    assert "the sink leaves out a wire, and all that a receiver does. A card" in text


def test_a_situation_is_in_the_label_and_in_the_command(tmp_path: Folder) -> None:
    """A point in a situation is told as such, and can be taken again."""
    points = tuple(
        replace(point, situation="mtu=1500,tap")
        for point in samples.points(tcp=False)[:2]
    )
    run = samples.make(tmp_path, plan_points=points, planned=12)
    run = replace(run, plan=replace(run.plan, profile="custom"))
    text = mail.render(run, REPORT)
    words = " ".join(text.replace("\\\n", "").split())

    assert "Path sink+mtu=1500+tap" in words
    assert "--with mtu=1500,tap" in words
    assert "The paths sink, veth, lo: not in this run." in words
    assert mail.lint(text) == []


def test_facts_that_do_not_fit_a_line_have_a_second(tmp_path: Folder) -> None:
    """Which CPU it is, what is done against its bugs, and on which CPUs it ran."""
    host = {**samples.HOST, "kernel": dict(samples.HOST["kernel"])}
    host["kernel"]["cmdline"] = ["mitigations=auto,no_guest_host,no_guest_guest"]
    host["cpu"] = {
        "model": "AMD EPYC",
        "family": 25,
        "model_number": 17,
        "stepping": 1,
        "mitigations": {"spec_rstack_overflow": "Vulnerable: Safe RET, no microcode"},
    }
    text = mail.render(samples.make(tmp_path, planned=6, host=host), REPORT)
    system = paragraph(text, mail.SYSTEM)

    assert system[2] == f"{'':10}mitigations=auto,no_guest_host,no_guest_guest"
    assert "AMD EPYC, family 25 model 17 step 1" in system[3]
    assert "Safe RET (no microcode)" in " ".join(system[3:5])
    assert any(line.endswith("cpu tx 1 rx 0") for line in system if " veth " in line)
    assert mail.lint(text) == []


def test_every_mitigation_is_told(tmp_path: Folder) -> None:
    """However many there are: what does not fit two lines has a third."""
    host = {**samples.HOST, "cpu": {**samples.HOST["cpu"]}}
    host["cpu"]["mitigations"] = {
        "spectre_v2": "Mitigation: Retpolines; IBPB: conditional; IBRS_FW; "
        "STIBP: conditional; RSB filling",
        "meltdown": "Mitigation: PTI",
        "mds": "Mitigation: Clear CPU buffers; SMT vulnerable",
        "spec_rstack_overflow": "Vulnerable: Safe RET, no microcode",
    }
    run = samples.make(tmp_path, planned=6, host=host)
    system = " ".join(
        " ".join(paragraph(mail.render(run, REPORT), mail.SYSTEM)).split()
    )

    words = facts.mitigations_text(run).split(", ")
    assert len(words) > 5
    assert [word for word in words if word not in system] == []


def test_a_point_of_plain_sends_alone_is_no_trouble(tmp_path: Folder) -> None:
    """Beside points in a table, one without any zerocopy arm is left out."""
    points = (
        *samples.points(tcp=False),
        *grid(
            path=Path.VETH,
            protocol=Protocol.UDP,
            family=4,
            sizes=(1200,),
            modes=("send",),
            batch=1,
        ),
        *grid(
            path=Path.VETH,
            protocol=Protocol.UDP,
            family=4,
            sizes=(8000,),
            modes=("send", "send_zc"),
            batch=1,
        ),
    )
    run = samples.make(tmp_path, plan_points=points, planned=8)

    text = mail.render(run, REPORT)

    assert "- 8000 B on veth, UDP/IPv4, batch 1: send_zc " in text
    assert "1200 B on veth" not in text


@pytest.mark.parametrize(
    ("share", "says"),
    [
        (1.0, "patched to allow zerocopy on lo, this one copies there."),
        (0.0, "and so is this one: nothing is copied there."),
        (0.4, "this one copies in part."),
        (None, "whether this one copies there is not known."),
    ],
)
def test_what_lo_does_is_told_from_its_copied_share(
    tmp_path: Folder, share: float | None, says: str
) -> None:
    """A kernel with v5's patch copies nothing there, and is not said to."""
    run = samples.make(
        tmp_path,
        plan_points=samples.points(udp=False),
        planned=8,
        copied={"lo": share},
    )

    assert says in " ".join(paragraph(mail.render(run, REPORT), "v5, TCP"))


def test_many_buffers_are_not_said_to_be_one(tmp_path: Folder) -> None:
    """Be they an option of the point or of an arm; latency is printed by nothing."""
    first = samples.points()[0]
    point = replace(first, given=parse("buffers=1024:latency=on"))
    arm = replace(first, modes=("send", "send_zc:buffers=1024"))
    for number, each in enumerate((point, arm)):
        run = samples.make(tmp_path / str(number), plan_points=(each,), planned=8)
        missing = paragraph(mail.render(run, REPORT), mail.NOT_SHOWN)
        assert "Cold data" not in " ".join(missing)
        assert "Latency" in " ".join(missing)
        assert "the cost at the receiver" in " ".join(" ".join(missing).split())


def test_warnings_alike_but_for_signs_are_counted(run: store.Run) -> None:
    """The first is told whole, of the others how many there are."""
    frame = (
        table.summary(run)
        .iloc[:3]
        .assign(
            warnings=[
                "drift: -6.4% in the first third, -2.9% in the last",
                "drift: +3.0% in the first third, +9.9% in the last",
                "dependence: 40 blocks count as 9, intervals widened",
            ]
        )
    )
    (told,) = mail._of_rows(frame)

    assert told.startswith("drift: -6.4% in the first third, -2.9% in the last (sink-")
    assert told.endswith("; 1 more with other numbers)")
