"""The options of path nic, which measure and report share."""

from pathlib import Path
from typing import Annotated, Any

import typer

from zclab.errors import InputError

Dev = Annotated[
    str,
    typer.Option(
        help="For --path nic: the device that sends; nothing is set on it.",
        metavar="DEVICE",
    ),
]
Dst = Annotated[
    str,
    typer.Option(
        help="For --path nic: the address behind the device that takes what is sent; "
        "a host of yours, as it is flooded.",
        metavar="ADDRESS",
    ),
]
Port = Annotated[
    str,
    typer.Option(
        help="UDP port at --dst, where no peer opens its own; 8000 by default."
    ),
]
Peer = Annotated[
    str,
    typer.Option(
        help="Where `zclab peer` runs on the other host: it counts what arrives, and "
        "tcp needs it. Its token is $ZCLAB_PEER_TOKEN, or in --token-file.",
        metavar="HOST:PORT",
    ),
]
TokenFile = Annotated[
    Path | None, typer.Option(help="File with the peer's token.", metavar="FILE")
]
Rate = Annotated[
    str,
    typer.Option(
        help="Most megabits a second over --dev, kept by pauses between blocks: a "
        "block itself goes out at full speed. No cap by default.",
        metavar="MBIT",
    ),
]
Seconds = Annotated[
    str,
    typer.Option(
        help="Most seconds of sending over --dev; 600 by default.", metavar="SECONDS"
    ),
]


def target_of(typed: dict[str, str], token_file: Path | None) -> Any:
    """Return the target that the options name; None where none of them is given.

    Args:
        typed: dev, dst, port, peer, rate and seconds, as typed.
        token_file: of the peer.

    """
    from zclab.measure.target import PORT, SECONDS, Target

    typed = {name: text.strip() for name, text in typed.items() if text}
    if not typed and token_file is None:
        return None
    _check_whole(typed, token_file)
    return Target(
        device=typed["dev"],
        destination=typed["dst"],
        port=int(_number(typed, "port", PORT, whole=True)),
        peer=typed.get("peer", ""),
        token=_token(typed.get("peer", ""), token_file),
        rate_mbit=_number(typed, "rate", 0.0),
        seconds=_number(typed, "seconds", SECONDS),
    )


def _check_whole(typed: dict[str, str], token_file: Path | None) -> None:
    """Refuse a target without a device or a destination, or what has no use."""
    if "dev" not in typed:
        given = next(iter(typed), "token-file")
        raise InputError(
            f"--{given} is for path nic, which needs a device by name: --dev eth1, "
            "say; see `ip -br link`"
        )
    if "dst" not in typed:
        raise InputError(
            "path nic needs a destination behind the device: --dst ADDRESS of a host "
            "that is yours to flood"
        )
    if token_file is not None and "peer" not in typed:
        raise InputError("--token-file is the peer's; name it: --peer HOST:PORT")


def _token(peer: str, file: Path | None) -> str:
    if not peer:
        return ""
    from zclab.measure.peer import token
    from zclab.measure.peer.address import endpoint

    if not endpoint(peer, what="--peer").port:
        raise InputError(f"--peer {peer}: names no port; give HOST:PORT")
    found = token.given(file)
    if not found:
        raise InputError(
            f"peer {peer} takes a token; give the one that it printed, in "
            f"${token.VARIABLE} or a file: --token-file FILE"
        )
    return found


def _number(
    typed: dict[str, str], name: str, default: float, *, whole: bool = False
) -> float:
    """Return a number that was typed; its range is the target's to check."""
    if name not in typed:
        return default
    try:
        return int(typed[name]) if whole else float(typed[name])
    except ValueError:
        what = "a whole number" if whole else "a number"
        raise InputError(f"--{name} {typed[name]!r} is not {what}") from None
