"""Reports: built whole, verdict first, verified to the byte."""

import json
import re
import shutil
from dataclasses import replace
from html import escape, unescape
from pathlib import Path

import pytest

from tests import samples
from zclab import options as opts
from zclab import store
from zclab.errors import DataError, InputError, ZclabError
from zclab.explain import (
    claims,
    conclusions,
    joined,
    prediction,
    published,
    readable,
    table,
)
from zclab.params import Path as ParamPath
from zclab.params import Stop
from zclab.publish import archive, mail, page, report

CODE = {"version": "0.1.0", "commit": "0123456789ab", "dirty": False}


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    """Give a home of data and reports of its own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("ZCLAB_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def run(home):
    return samples.make(home / "data" / "runs", planned=12)


@pytest.fixture(scope="module")
def built(run):
    """Build the one report that most tests look at."""
    return report.build([run.folder])


@pytest.fixture
def copy(built, tmp_path):
    """Give a copy of the report that a test may damage."""
    return Path(shutil.copytree(built, tmp_path / built.name))


def words(html):
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def test_layout(built, run):
    """A report is one folder named like its run, with all that a reader needs."""
    found = {str(p.relative_to(built)) for p in built.rglob("*") if p.is_file()}

    assert built == archive.find("latest") == archive.find(run.id)
    assert found == {
        "index.html",
        "mail.txt",
        "manifest.json",
        "manifest.sha256",
        *(f"figures/{name}.{kind}" for name in report.DRAWN for kind in ("svg", "png")),
        *(
            f"notebooks/{name}.{kind}"
            for name in report.EXPLAINING
            for kind in ("ipynb", "html")
        ),
    }


def test_verdict_is_first(built, run):
    """The page opens with every sentence of the verdict, before any table."""
    text = (built / "index.html").read_text()
    opening = text[: text.index("<table")]

    for sentence in conclusions.sentences(run, table.summary(run)):
        assert sentence in unescape(opening)


def test_every_claim_has_its_verdict(built, run):
    """Each published cell is on the page with its verdict as a word."""
    text = (built / "index.html").read_text()
    table = text[text.index('id="claims"') : text.index('id="paths"')]

    found = re.findall(r'<td><span class="label [^"]*">([^<]*)</span></td>', table)

    assert found == claims.compare(run)["verdict"].to_list()


def test_self_contained(built):
    """The page and the notebooks' pages load nothing from anywhere."""
    for path in (built / "index.html", *(built / "notebooks").glob("*.html")):
        text = path.read_text()

        assert "<script" not in text
        assert "<link" not in text
        assert not re.search(r'(src|xlink:href)="(?!data:|#)', text)
        assert not re.search(r"url\((?!#)", text)


SOURCES = tuple(published.link(kind) for kind in ("", "commit:", "file:", "issue:"))


def test_links_lead_somewhere(built):
    """Every relative link of the page is a file of the report."""
    text = (built / "index.html").read_text()

    for link in re.findall(r'<a href="([^"]*)"', text):
        if link.startswith("#"):
            assert f'id="{link[1:]}"' in text
        elif not link.startswith(SOURCES):
            assert (built / link).is_file()


def test_ids_are_unique(built):
    """No two elements share an id, those inside the figures included."""
    ids = re.findall(r'\bid="([^"]*)"', (built / "index.html").read_text())

    assert len(ids) == len(set(ids))


def test_no_folder_of_the_machine(built, home, checkout):
    """Nothing in a report names a folder of the machine that built it."""
    for path in built.rglob("*"):
        if path.suffix in (".html", ".ipynb", ".json", ".svg", ".txt"):
            text = path.read_text()
            for folder in (home, checkout, Path.home()):
                assert f"{folder}/" not in text, path.name


def test_tables_say_where(built, run):
    """Each table of measured points says path, protocol, family, batch and n."""
    text = words((built / "index.html").read_text())

    for point in run.plan.points:
        protocol = f"{point.protocol.upper()}/IPv{point.family}"
        assert f"{point.path}, {protocol}, batch {point.batch}" in text


def test_it_is_taken_again_as_the_mail_says(built, run):
    """Page and mail have the same commands, the commit's checkout first."""
    text = unescape((built / "index.html").read_text())
    again = text[text.index('id="again"') :]

    commands = [line.strip() for line in mail.commands(run)]
    assert commands[0] == "git checkout 0123456789ab"
    assert "\n".join(commands[:1]) in again
    for line in commands:
        assert line in again
        assert line in mail.render(run, run.id)


def test_the_page_says_how_long_slices_were(built, run):
    """The lengths that a pilot chose are told, and not what the plan left to it."""
    auto = replace(run.plan, slice_ns=0)
    piloted = replace(run, plan=auto, slices={"a": 1_000_000, "b": 10_000_000})
    text = words(page.index(piloted, built / "figures", [], CODE))

    assert "one slice of 1-10 ms each (a pilot chose the length for each" in text
    assert "one slice of 10 ms each after" in words((built / "index.html").read_text())


def test_captions_have_the_n_of_what_they_show(tmp_path, built):
    """Each figure and table tells the blocks of its own points."""
    two = [p for p in samples.points(tcp=False) if p.batch == 64]
    sizes = [p for p in samples.points(tcp=False) if p.batch == 8]
    made = samples.make(tmp_path, planned=12, plan_points=(*two, *sizes))
    few = made.samples["point"].astype(str).isin([p.name for p in two])
    run = replace(made, samples=made.samples[~few | (made.samples["block"] < 9)])
    text = words(page.index(run, built / "figures", [], CODE))

    assert "protocol, IP version and batch; n=9 to 12 blocks" in text
    assert "measured at several sizes; n=12 blocks" in text
    assert "for the same size, protocol and batch; n=9 blocks" in text
    assert "Path veth, UDP/IPv6, batch 64. n=9" in text
    assert "v5, NIC" not in text[text.index("shape of the mails") :]


def test_columns_are_explained_where_they_are(built, tmp_path):
    """Flagged and delivered are words only of a page that has them."""
    plain = samples.make(tmp_path, planned=8, plan_points=samples.points()[:2])
    text = page.index(plain, built / "figures", [], CODE)

    assert "<i>Delivered</i>" in (built / "index.html").read_text()
    assert "<i>Delivered</i>" not in text
    assert "<i>flagged</i>" not in text


def rows_of(text, heading):
    """Return the cells of the first table after some text, row by row."""
    found = text[text.index(heading) :].partition("</table>")[0]
    return [
        [words(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", found)
    ]


def test_a_peer_that_drops_separates_device_from_receiver(built, tmp_path):
    """It stands between veth and sink, with its own share; without it, that is told."""
    sink = next(point for point in samples.points() if point.batch == 64)
    between = replace(sink, path=ParamPath.VETH, situation="peer-drop")
    place = conclusions.NO_RECEIVER
    run = samples.make(
        tmp_path,
        planned=9,
        plan_points=(*samples.points(tcp=False), between),
        gain=lambda point, arm: {"veth": -20.0, place: 7.0, "sink": 30.0}[point.place],
        copied={place: 0.0},
    )

    text = page.index(run, built / "figures", [], CODE)

    rows = rows_of(text, "all of delivery goes")[1:]
    fixed = [row for row in rows if row[2] == "send_zc_fixed"]
    assert [row[0] for row in fixed] == ["veth", place, "sink"]
    assert [row[1] for row in fixed] == ["a socket", "none", "none"]
    assert [float(row[3].partition("%")[0]) for row in fixed] == pytest.approx(
        [-20, 7, 30], abs=2
    )
    assert [row[5] for row in fixed] == ["100%", "0%", "0%"]
    without = (built / "index.html").read_text()
    assert "all of delivery goes" not in without
    assert "this run does not have it at that size." in without
    assert "this run does not have it at that size." not in text


@pytest.mark.parametrize(
    ("rungs", "said"),
    [
        ([None], "freed in the device's transmit function."),
        (["ifb"], "freed in the device's transmit function."),
        (["veth-drop"], "freed at the ingress of a veth's peer, in the soft interrupt"),
        (["veth-down"], "freed in the transmit function of a veth whose peer is down."),
        (["ifb", "veth-down"], "function, or in the transmit function of a veth whose"),
    ],
)
def test_the_page_says_where_the_sink_frees(built, run, rungs, said):
    """By its rung: dummy and ifb as they transmit, a veth not always."""
    paths = {f"sink+rung={rung}": {"rung": rung} for rung in rungs}
    host = {**run.host, "paths": paths}

    text = words(page.index(replace(run, host=host), built / "figures", [], CODE))

    assert said in text


def test_what_a_size_leaves_open_is_beside_it(built):
    """A claim of any protocol or path has its unstated conditions, as in the mail."""
    text = (built / "index.html").read_text()
    rows = {row[0]: row for row in rows_of(text, "From what size on") if row}

    told = published.thresholds().set_index("name")
    for name in ("axboe-3000", "msg-zerocopy-10k"):
        conditions = told.loc[name, "unstated"].replace("; ", ", ")
        assert rows[told.loc[name, "says"]][1] == conditions
    assert rows[told.loc["v5-dummy-flush", "says"]][1] == "-"


def test_no_command_is_printed_where_none_helps(built):
    """Two kernels are in no run; a row that one can measure has its command."""
    text = (built / "index.html").read_text()
    headings = re.findall(r'<tr class="heading">.*?</tr>', text, re.DOTALL)
    two = [one for one in headings if "Notification stacking" in one]
    issue = [one for one in headings if "liburing issue 801" in one]

    assert len(two) == 2
    assert not any("To measure it" in one for one in two)
    assert "To measure it: <code>zclab measure" in issue[0]


def banners(run, built, code=CODE):
    text = page.index(run, built / "figures", [], code)
    return re.findall(r'<p class="banner" role="note">([^<]*)</p>', text)


def test_complete_run_has_no_banner(built, run):
    """A complete run of committed code is reported without reservation."""
    assert banners(run, built) == []


def test_partial_run_says_so(built, tmp_path):
    """A partial run has a banner with the blocks done and planned."""
    partial = samples.make(tmp_path, planned=12, stop_after=70)

    assert banners(partial, built) == [
        f"Partial run: 70 of 108 planned blocks of {partial.id} were measured. "
        "What is here is valid, with wider intervals."
    ]


def test_dirty_checkout_says_so(built, tmp_path):
    """Code that no commit names has a banner, whether it measured or built the page."""
    dirty = {**samples.HOST, "software": {**samples.HOST["software"], "dirty": True}}
    run = samples.make(tmp_path, planned=8, host=dirty)

    measured, wrote = banners(run, built, {**CODE, "dirty": True})

    assert measured.startswith(f"Dirty checkout: {run.id} was measured by")
    assert wrote == "Dirty checkout: this page was built by code that is not committed."


def test_bare_host(built, tmp_path):
    """A run that recorded no facts is reported all the same."""
    run = samples.make(tmp_path, planned=8, host={})

    text = page.index(run, built / "figures", [], CODE)

    assert "The devices of the paths were not recorded." in text


def test_text_is_escaped(built, run):
    """What a run brings along is text on the page, never markup."""
    odd = replace(run, warnings=("<b>5 < 7</b>",))

    text = page.index(odd, built / "figures", [], CODE)

    assert escape("<b>5 < 7</b>") in text


def test_verifies(built, run):
    """A fresh report verifies: its files, its run, and its mail from the data."""
    assert archive.verify(built) == [
        "18 files as written",
        f"run {run.id} as reported",
        "mail.txt rebuilt from the data, byte for byte",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "index.html",
        "mail.txt",
        "manifest.json",
        "figures/why.svg",
        "notebooks/30-why.ipynb",
    ],
)
def test_one_changed_byte(copy, name):
    """One changed byte in any file fails the check, and the message names the file."""
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)

    with pytest.raises(DataError, match=re.escape(f"{name} is not what was written")):
        archive.verify(copy)


def test_missing_and_added_files(copy):
    """A file too many or too few fails the check."""
    (copy / "more.txt").write_text("")
    with pytest.raises(DataError, match=r"files differ from the manifest: more\.txt"):
        archive.verify(copy)

    (copy / "more.txt").unlink()
    (copy / "manifest.sha256").unlink()
    with pytest.raises(DataError, match=r"manifest\.sha256 is missing"):
        archive.verify(copy)


def test_mail_must_follow_from_the_data(copy):
    """A mail that was edited together with its hashes still fails: it is rebuilt."""
    (copy / "mail.txt").write_text((copy / "mail.txt").read_text().replace("+", "-"))
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["sha256"]["mail.txt"] = store.sha256(copy / "mail.txt")
    store.write_json(copy / "manifest.json", manifest)
    line = f"{store.sha256(copy / 'manifest.json')}  manifest.json\n"
    (copy / "manifest.sha256").write_text(line)

    with pytest.raises(DataError, match=r"mail\.txt is not what this zclab makes"):
        archive.verify(copy)


def test_other_run_under_the_same_name(copy, home, tmp_path, monkeypatch):
    """A report is of one run; another one in its place fails the check."""
    other = samples.make(tmp_path / "other" / "data" / "runs", planned=8, seed=2)
    other.folder.rename(other.folder.with_name(copy.name))
    monkeypatch.setenv("ZCLAB_HOME", str(tmp_path / "other"))

    with pytest.raises(DataError):
        archive.verify(copy)


def test_mail_is_fit(built, run):
    """The mail of a report is the rendered one, and has nothing to object to."""
    text = (built / "mail.txt").read_text()

    assert text == mail.render(run, run.id)
    assert mail.lint(text) == []


def test_a_synthetic_report_has_no_mail(home):
    """It says so in a banner and among its files, and verifies without a mail."""
    made = samples.make(
        home / "data" / "runs", planned=8, plan_points=samples.points()[:2], marked=True
    )
    folder = report.build([made.folder], out=home / "synthetic")
    text = (folder / "index.html").read_text()

    assert not (folder / "mail.txt").exists()
    assert "mail.txt</a>" not in text
    assert "Synthetic: " in text[: text.index("<h2")]
    assert mail.no_mail(made.id) in unescape(text)
    assert archive.verify(folder)[-1] == "no mail.txt, as no packet was sent"
    with pytest.raises(InputError, match="is synthetic: a model made it"):
        archive.mail_text(archive.find(str(folder)))


def test_the_mail_is_read_where_it_lies(built, copy):
    """An edited mail is given as it is; a lost one is an error of one line."""
    assert archive.mail_text(built) == (built / "mail.txt").read_text()
    (copy / "mail.txt").unlink()
    with pytest.raises(InputError, match="rebuild it: zclab report"):
        archive.mail_text(copy)


def test_the_page_says_what_stopped_each_point(built, run):
    """Reason, blocks and half-width stand in a table, where a plan has a stop rule."""
    first = run.plan.points[0].name
    adaptive = replace(
        run,
        plan=replace(run.plan, stop=Stop(precision=0.5, least=6)),
        stopped={first: {"reason": "precision", "blocks": 44, "half_width": 0.4321}},
    )
    told = readable.stopped(adaptive)
    text = words(page.index(adaptive, built / "figures", [], CODE))

    assert told.iloc[0].to_list() == [first, "precision", "44", "0.43", "0.5"]
    assert set(told["stopped by"][1:]) == {"not yet"}
    assert "How each point stopped" in text
    assert "How each point stopped" not in words((built / "index.html").read_text())
    assert readable.stopped(run).empty


def test_find_nothing(tmp_path):
    """A report that is not there is an error of one line that says what to do."""
    with pytest.raises(InputError, match="there is no report under"):
        archive.find("latest", tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        archive.find("20260101T000000Z-x-quick")


def test_the_ladder_comes_before_all_that_was_measured(built):
    """Opening, claims and the ladder first; who wants every number reads on."""
    html = (built / "index.html").read_text(encoding="utf-8")
    places = [
        html.index(f'id="{name}"') for name in ("opening", "claims", "why", "paths")
    ]

    assert places == sorted(places)
    order = re.findall(r'<a href="#([a-z]+)">', html.partition("</nav>")[0])
    assert order == sorted(order, key=lambda name: html.index(f'id="{name}"'))


def test_points_that_differ_in_options_have_headings_of_their_own(tmp_path):
    """Or rows of one size would stand beside each other with nothing to tell them."""
    plain = samples.points(tcp=False)[1]
    points = (plain, replace(plain, given=opts.parse("drain=each")))
    summary = table.summary(samples.make(tmp_path, plan_points=points, planned=12))

    titles = [title for title, _ in page._groups(summary, "sink")]

    assert titles == ["UDP/IPv4, batch 8", "UDP/IPv4, batch 8, drain=each"]
    assert all("options" not in rows[0] for _, rows in page._groups(summary, "sink"))


@pytest.fixture
def quick(monkeypatch, built):
    """Leave notebooks and drawing out where a test is about the folder."""
    monkeypatch.setattr(report, "EXPLAINING", ())
    monkeypatch.setattr(
        report,
        "_draw",
        lambda _, folder: shutil.copytree(
            built / "figures", folder, dirs_exist_ok=True
        ),
    )


def test_failed_build_leaves_nothing(run, tmp_path, monkeypatch, quick):
    """A build that fails leaves no folder, and an earlier report as it was."""
    before = report.build([run.folder], out=tmp_path) / "index.html"
    text = before.read_text()

    def fail(*_):
        raise ZclabError("no mail today")

    monkeypatch.setattr(mail, "render", fail)
    with pytest.raises(ZclabError, match="no mail today"):
        report.build([run.folder], out=tmp_path)

    assert before.read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == [run.id]


def test_rebuild_replaces(run, tmp_path, quick):
    """Building again takes the place of what was there, stray files included."""
    folder = report.build([run.folder], out=tmp_path)
    (folder / "stray").write_text("")
    (tmp_path / f".{run.id}.999999999").mkdir()  # a build that was killed

    again = report.build([run.folder], out=tmp_path)

    assert again == folder
    assert not (folder / "stray").exists()
    assert [path.name for path in tmp_path.iterdir()] == [run.id]


def test_rebuild_keeps_the_measuring_notebook(run, tmp_path, quick):
    """The executed notebook that took a run stays with its report."""
    source = report.notebooks.folder() / "10-measure.ipynb"
    folder = report.build([run.folder], measured_notebook=source, out=tmp_path)
    kept = folder / "notebooks" / "10-measure.ipynb"
    assert kept.read_bytes() == source.read_bytes()

    report.build([run.folder], out=tmp_path)

    assert kept.read_bytes() == source.read_bytes()
    assert kept.with_suffix(".html").is_file()


def test_never_over_something_else(run, tmp_path, quick):
    """A folder that is no report is not replaced by one."""
    (tmp_path / run.id).mkdir()

    with pytest.raises(InputError, match="is not a report; move it away"):
        report.build([run.folder], out=tmp_path)


def test_same_point_twice(run, tmp_path):
    """One point in two runs is an error that names the point and both runs."""
    other = samples.make(tmp_path, planned=8, seed=2)

    with pytest.raises(InputError) as caught:
        report.build([run.folder, other.folder])

    point = run.plan.points[0].name
    assert f"point {point} is in both {run.id} and {other.id}" in str(caught.value)


def test_two_machines(tmp_path):
    """Runs of two machines are not put into one table."""
    elsewhere = {**samples.HOST, "kernel": {"release": "6.1.0"}}
    udp = samples.make(tmp_path / "a", plan_points=samples.points(tcp=False), planned=8)
    tcp = samples.make(
        tmp_path / "b",
        plan_points=samples.points(udp=False),
        planned=8,
        host=elsewhere,
    )

    with pytest.raises(InputError, match="differ in kernel release"):
        joined.join([udp, tcp])


def test_a_joined_plan_keeps_the_rule_and_what_was_left_out(tmp_path):
    """The rule to stop that one of them has, and what no run of them measured."""
    udp, tcp = (
        samples.make(tmp_path, plan_points=points, planned=8)
        for points in (samples.points(tcp=False), samples.points(udp=False))
    )
    stop = Stop(precision=0.5)
    measured = tcp.plan.points[0].name
    first = replace(udp.plan, excluded=((measured, "no"), ("a", "why")), lenient=True)
    second = replace(tcp.plan, blocks=100, stop=stop, excluded=(("b", "for it"),))
    plan = joined.join([replace(udp, plan=first), replace(tcp, plan=second)]).plan

    assert plan.blocks < stop.least  # as the first plan, which has no rule
    assert plan.stop == stop
    assert plan.excluded == (("a", "why"), ("b", "for it"))
    assert plan.lenient
    assert joined.join([udp, tcp]).plan.stop is None


def test_two_runs(tmp_path, quick):
    """Runs with different points make one report that names and verifies both."""
    runs = [
        samples.make(store.runs_dir(), plan_points=points, planned=planned)
        for points, planned in (
            (samples.points(tcp=False), 8),
            (samples.points(udp=False), 10),
        )
    ]

    folder = report.build([run.folder for run in runs], out=tmp_path)

    assert folder.name == f"{runs[0].id}+1"
    text = (folder / "index.html").read_text()
    assert "76 of 76 planned blocks" in text
    assert all(run.id in text for run in runs)
    assert f"run {runs[1].id} as reported" in archive.verify(folder)


def test_unsealed_run(tmp_path, quick):
    """A run that was killed is reported from its journal, and verified by it."""
    run = samples.make(store.runs_dir(), planned=8)
    journal = tmp_path / "runs" / run.id
    journal.mkdir(parents=True)
    for name in (store.PLAN, store.HOST_BEFORE):
        shutil.copy(run.folder / name, journal / name)
    plan = run.plan
    with (journal / store.JOURNAL).open("w") as file:
        for number, block in enumerate(samples.blocks(plan)):
            if number < 63:
                file.write(json.dumps(block) + "\n")
    shutil.rmtree(run.folder)
    journal.rename(run.folder)

    folder = report.build([run.folder], out=tmp_path)

    assert "Partial run: 63 of 72 planned blocks" in (folder / "index.html").read_text()
    assert f"run {run.id} as reported" in archive.verify(folder)


def confronted(run):
    return prediction.confront(run, table.summary(run))


def test_prediction_is_confronted(tmp_path):
    """A sink that copies is a contradiction; a tap on it explains the copies."""
    tapped = json.loads(json.dumps(samples.HOST))
    tapped["paths"]["sink"]["packet_taps"] = 1
    plain = samples.make(tmp_path / "a", planned=8, copied={"sink": 1.0})
    seen = samples.make(tmp_path / "b", planned=8, copied={"sink": 1.0}, host=tapped)

    contradicted = prediction.confront(plain, table.summary(plain)).query(
        "path == 'sink'"
    )
    explained = prediction.confront(seen, table.summary(seen))

    assert set(contradicted["verdict"]) == {prediction.CONTRADICTS}
    assert set(explained["verdict"]) == {prediction.AGREES}


def test_fragments_are_predicted(tmp_path):
    """A payload beyond the MTU is predicted as copied, with both numbers."""
    small = json.loads(json.dumps(samples.HOST))
    small["paths"]["sink"]["mtu"] = 1500
    run = samples.make(tmp_path, planned=8, host=small)

    rows = prediction.confront(run, table.summary(run)).set_index(
        ["path", "family", "io_size_bytes"]
    )

    assert rows.loc[("sink", 4, 1200), "predicted"] == "zerocopy"
    assert rows.loc[("sink", 4, 4000), "predicted"] == "copied"
    assert "(4000 B > 1472 B)" in rows.loc[("sink", 4, 4000), "because"]


def test_readable_control(run):
    """The control table has one row per point, with its noise floor."""
    frame = readable.control(table.summary(run))

    assert len(frame) == len(run.plan.points)
    assert frame["noise floor"].str.endswith("points").all()
