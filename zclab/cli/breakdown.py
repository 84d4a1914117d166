"""breakdown: where the time of a request goes, by perf."""

from pathlib import Path
from typing import Annotated

import typer

from zclab.cli import doctor
from zclab.cli.app import (
    Arms,
    Batch,
    OfFamily,
    OnPath,
    OverProtocol,
    SendOptions,
    Sizes,
    With,
    app,
)
from zclab.cli.terminal import bar, echo_columns, paced, say
from zclab.errors import InputError


@app.command(epilog="Example: zclab breakdown --path veth --sizes 8000")
def breakdown(  # noqa: PLR0917 - typer calls it by keyword
    path: OnPath = "",
    protocol: OverProtocol = "",
    family: OfFamily = "",
    sizes: Sizes = "",
    modes: Arms = "",
    options: SendOptions = "",
    batch: Batch = "",
    situation: With = "",
    seconds: Annotated[
        str, typer.Option(help="Of each arm; 2 by default.", metavar="SECONDS")
    ] = "",
    show: Annotated[
        str,
        typer.Option(
            help="Print a stored breakdown, a file under data/breakdowns, or `latest`; "
            "measure nothing.",
            metavar="FILE",
        ),
    ] = "",
) -> None:
    """Print where the time of a request goes: perf's samples in named buckets.

    A steady loop of each arm, apart from timed samples, in ns per request: copying,
    pinning pages, notifications, memory, protocol, device, delivery and the rest. By
    default udp over IPv4 on the sink, 8000 bytes, batch 8. The stacks are kept under
    data/breakdowns/ and stand in the next report of this host. Needs perf, and root or
    kernel.perf_event_paranoid=1 and kernel.kptr_restrict=0; exit 77 without.
    """
    from zclab.cli.measure import points_of, positive, typed_of
    from zclab.measure import perf
    from zclab.store import breakdowns

    if show:
        _tell(_find(show))
        return
    grid = {
        "path": path,
        "protocol": protocol,
        "family": family,
        "sizes": sizes or "8000",
        "modes": modes or "send,send_zc,send_zc_fixed",
        "options": options,
        "batch": batch,
        "with": situation,
    }
    length_s = positive({"seconds": seconds or "2"}, "seconds")
    doctor.put_back()
    perf.needed()
    for point in points_of(typed_of(grid)):
        say(f"sampling {point.name}, {length_s:g} s an arm ...")
        with bar() as shown:
            found = perf.record(point, seconds=length_s, progress=paced(shown))
        _tell(breakdowns.write(found))


def _find(name: str) -> Path:
    from zclab.store import breakdowns

    if name != "latest":
        if not Path(name).is_file():
            raise InputError(
                f"there is no breakdown {name}; they are the files under "
                f"{breakdowns.folder()}, and `latest` is the newest"
            )
        return Path(name)
    stored = breakdowns.listing()
    if not stored:
        raise InputError(
            f"no breakdown under {breakdowns.folder()}; make one: zclab breakdown"
        )
    return stored[-1]


def _tell(path: Path) -> None:
    """Print a stored breakdown as a table, and whether it adds up."""
    from zclab.explain import breakdown as explained
    from zclab.store import breakdowns

    found = breakdowns.load(path)
    typer.echo(f"{found['name']}: ns per request")
    texts = explained.texts(found)
    echo_columns([tuple(texts.columns), *texts.itertuples(index=False, name=None)])
    for row in explained.closure(found).itertuples():
        if row.ratio < 0.9:  # sampling errs by less
            say(f"warning: {row.arm}: {1 - row.ratio:.0%} of its time is in no bucket")
    typer.echo(path)
