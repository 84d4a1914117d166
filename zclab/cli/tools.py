"""Commands about senders: tx, replay, costs, options, modes."""

from typing import Annotated, Any

import typer

from zclab.cli.app import app
from zclab.cli.terminal import echo_columns, say
from zclab.errors import InputError, MeasureError, StoppedError

# The tools' letters are not typer's, and -h is part of a word like -Ieth0.
_LETTERS: dict[str, Any] = {
    "allow_extra_args": True,
    "ignore_unknown_options": True,
    "help_option_names": ["--help"],
}


# \b keeps the line breaks of what follows it.
_TX_HELP = """Send as the field's tools do: their letters, then udp or tcp.

selftest is the kernel's io_uring_zerocopy_tx, liburing its send-zerocopy example.
It sends from here to a real address (-D), prints the tool's own line (selftest on
stderr, liburing on stdout), and then, on stdout, what was measured and copied.
Unlike the tools it asks the kernel whether it copied.

\b
both      -4 or -6, -D address, -p port (8000), -s bytes (65435),
          -t seconds (4; 0.2 s more are sent), -n requests per submit (8)
selftest  -m 0 send, 1 send_zc, 2 send_zc_fixed, 3 mixed (2), -c 1 UDP_CORK
liburing  -z 1 zerocopy (1), -b 1 registered buffer (1), -l 1 huge pages (0),
          -d DEFER_TASKRUN, -C cpu, -T threads (1), -I device,
          -R receive instead; not offered: -y, -v
"""


@app.command(
    epilog="Example: zclab tx -6 -D ::1 -m 2 -n 8 -t 1 udp",
    context_settings=_LETTERS,
    help=_TX_HELP,
)
def tx(
    context: typer.Context,
    like: Annotated[
        str,
        typer.Option(
            help="Whose letters they are: selftest or liburing; by default the letters "
            "tell, and those that both have are read as liburing's.",
            metavar="TOOL",
        ),
    ] = "",
    differences: Annotated[
        bool,
        typer.Option(
            "--differences", help="List what the tools do otherwise than zclab; end."
        ),
    ] = False,
) -> None:
    """Send as the field's tools do."""
    if differences:
        _tell_differences()
        return
    if not context.args or context.args == ["-h"]:
        typer.echo(context.get_help())
        return
    from zclab.measure import preset
    from zclab.measure import tx as transmission

    call = preset.parse(context.args, like)
    for warning in call.warnings:
        say(f"zclab: {warning}")
    if call.serves:
        received = transmission.receive(call, say)
        typer.echo(received.line)
        stopped = received.stopped
    else:
        sent = transmission.send(call)
        typer.echo(sent.line, err=sent.line_to_stderr)
        for line in sent.lines:
            typer.echo(line)
        if sent.failure:
            raise MeasureError(sent.failure)
        stopped = sent.stopped
    if stopped:
        raise StoppedError("stopped early; the numbers are of the time until then")


def _tell_differences() -> None:
    """Print what each preset changes and, once it was measured, what that costs."""
    from zclab import presets
    from zclab.options import OPTIONS

    groups = [
        (f"{p.name} at -n 8: {p.says}", p.differences(8)) for p in presets.PRESETS
    ]
    groups.append(("added by zclab: the tools do not ask", (presets.ADDED,)))
    for title, found in groups:
        typer.echo(title)
        rows = [("option", "tool", "zclab", "meaning")]
        for one in found:
            plain = "; only with -z 0" if one.mode is not presets.BASIS else ""
            rows.append((one.name, *one.texts, OPTIONS[one.name].meaning + plain))
        echo_columns(rows)
        typer.echo()
    _tell_costs()


def _tell_costs() -> None:
    """Print what each difference costs in the newest run that measured them."""
    from zclab import presets
    from zclab.explain import options as explained

    run = explained.newest(presets.PROFILE)
    if run is None:
        typer.echo("what each of them costs here: zclab measure --profile presets")
        return
    _echo_costs(
        run,
        {
            p.arm(point.batch): f"{p.name}, all of it"
            for p in presets.PRESETS
            for point in run.plan.points
        },
    )


def _echo_costs(run: Any, names: dict[str, str]) -> None:
    """Print what the options of a run cost; `names` are other words for arms."""
    from zclab.explain import options as explained

    costs = explained.costs(run)
    if costs.empty:
        raise InputError(
            f"{run.id} has no mode both with and without options; measure one: "
            "zclab measure --profile options"
        )
    typer.echo(
        "cost of each beside the same mode without: median of the differences within\n"
        f"blocks, 95% interval, and in percent of the time without; run {run.id}"
    )
    for point, rows in costs.groupby("point", sort=False):
        typer.echo(f"{point}, n={rows['n'].min()}")
        echo_columns(
            [
                (names.get(row["arm"], row["arm"]), explained.cost_text(row))
                for _, row in rows.iterrows()
            ]
        )
        for _, row in rows[rows["warnings"] != ""].iterrows():
            typer.echo(f"  warning: {row['arm']}: {row['warnings']}")


@app.command(epilog="Example: zclab costs latest")
def costs(
    run: Annotated[
        str, typer.Argument(help="Run id or folder, or `latest`.", metavar="RUN")
    ],
) -> None:
    """Print what each option of a run costs beside the same mode without it.

    Any run will do in which an arm with options lies beside its mode without them;
    `zclab measure --profile options` takes one on the sink, option by option.
    """
    from zclab import store

    _echo_costs(store.load(store.find(run)), {})


@app.command(
    epilog="Example: zclab replay -- 6 udp -m 1 -n 64", context_settings=_LETTERS
)
def replay(context: typer.Context) -> None:
    """Do what the kernel's io_uring_zerocopy_tx.sh does, without root, on two CPUs.

    4 or 6, udp or tcp, then letters of the selftest (see zclab tx); without any the
    script's whole list. The sender and its receiver are in two network namespaces of
    their own, a veth pair between them, where the kernel always copies. Printed are
    the script's lines, what was measured and copied, and what arrived.
    """
    if context.args == ["-h"]:
        typer.echo(context.get_help())
        return
    from zclab.measure import replay as replays

    replays.replay(context.args, typer.echo)


@app.command(epilog="Example: zclab options")
def options() -> None:
    """List the options of a sender: name, default, unit, meaning."""
    from zclab import options as opts

    for row in opts.table():
        unit = f" {row['unit']}" if row["unit"] else ""
        needs = f" [{row['needs']}]" if row["needs"] else ""
        typer.echo(f"{row['name']}={row['default']}{unit}")
        typer.echo(f"    {row['meaning']}{needs}")


@app.command(epilog="Example: zclab modes")
def modes() -> None:
    """List the modes, and whether this kernel has each; exit 77 without io_uring."""
    from zclab.errors import CapabilityError
    from zclab.params import Mode
    from zclab.uring import probe

    probe.support()
    for mode in Mode:
        try:
            probe.mode(mode)
            found = "here"
        except CapabilityError as error:
            found = str(error)
        typer.echo(f"{mode:18}{found}")
