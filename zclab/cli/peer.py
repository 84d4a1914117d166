"""The command peer: the second host of a measurement over a real network card."""

from pathlib import Path
from typing import Annotated

import typer

from zclab.cli.app import app
from zclab.cli.terminal import say
from zclab.errors import InputError


@app.command(epilog="Example: zclab peer --listen 192.0.2.2:7800")
def peer(
    *,
    listen: Annotated[
        str,
        typer.Option(
            help="The address of this host on which its controller finds it, and on "
            "which data arrives; without a port the kernel chooses one.",
            metavar="ADDRESS[:PORT]",
        ),
    ],
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="Another address of this host on which data may arrive; may be given "
            "several times.",
            metavar="ADDRESS",
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the token; else it is $ZCLAB_PEER_TOKEN, else a new one is "
            "made and printed.",
            metavar="FILE",
        ),
    ] = None,
    cpu: Annotated[
        str,
        typer.Option(
            help="CPU on which data is received: a number, or any; by default the last "
            "one that may be used."
        ),
    ] = "auto",
    once: Annotated[
        bool,
        typer.Option(
            "--once", help="End when its controller went and none came for 10 s."
        ),
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(
            help="A controller that says nothing for so long is taken to be gone.",
            metavar="SECONDS",
        ),
    ] = 600.0,
) -> None:
    """Receive what a zclab on another host sends, and tell it what arrived.

    It listens on the addresses that are named and no other, talks only to who knows
    the token, holds one session at a time, and does nothing but receive, count and
    verify: no question makes it send or run anything. See docs/peer.md.
    """
    from zclab.measure.peer import token as tokens
    from zclab.measure.peer.serve import Peer

    if not 1 <= timeout <= 86400:
        raise InputError(f"--timeout {timeout:g}: give 1 to 86400 seconds")
    given = tokens.given(token_file)
    with Peer(
        listen=listen,
        token=given or (made := tokens.fresh()),
        data=data or (),
        cpu=_cpu(cpu),
        silence_s=timeout,
        say=say,
    ) as serving:
        typer.echo(f"listening: {serving.endpoint}")
        if not given:
            typer.echo(f"token: {made}")
        say("Ctrl-C ends it")
        serving.serve(once=once)


def _cpu(text: str) -> int | None:
    """Return the CPU that is meant; None: any."""
    import os

    if text == "any":
        return None
    if text == "auto":
        return max(os.sched_getaffinity(0))
    if not (text.isascii() and text.isdecimal()):
        raise InputError(f"--cpu {text!r}: give the number of a CPU, any or auto")
    return int(text)
