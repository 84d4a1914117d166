"""Sends, or receives, as a call of one of the field's two tools says.

It runs in the network namespace it is started in, towards a real address, in one
long slice without a warm-up, as the tools do.
"""

import errno
import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from zclab.errors import (
    CapabilityError,
    InputError,
    MeasureError,
    SendError,
    errno_name,
)
from zclab.measure import memlock, namespace
from zclab.measure.flow import AF, KIND, Flow
from zclab.measure.preset import Call
from zclab.params import Protocol
from zclab.presets import Tool
from zclab.uring import probe
from zclab.uring.receiver import Receiver, Tally
from zclab.uring.ring import Counts, Ring, RingSetup, stop_word
from zclab.uring.sender import Sender, Shape
from zclab.uring.team import Team

GRACE_MS = 400  # liburing's receiver stays so much longer than its sender
LOOK_NS = 10_000_000  # between two looks at the receiver's counters
ANY = {4: "0.0.0.0", 6: "::"}

_LOST = {errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What a call sent.

    Attributes:
        counts: of all threads together, as `Ring.slice` returns them.
        threads_ns: how long each thread sent; 0 for one whose connection broke, as
            liburing's example has no time of it.
        asked: the notifications were asked whether the kernel copied.
        stopped: it ended early because it was told to.
        failure: one line on the connection that broke, or empty.

    """

    call: Call
    counts: Counts
    threads_ns: tuple[int, ...]
    asked: bool
    stopped: bool
    failure: str = ""

    @property
    def line(self) -> str:
        """The line that the tool itself prints, with its own arithmetic."""
        requests, mib = self.counts["requests"], self.counts["bytes"] >> 20
        if self.call.tool is Tool.LIBURING:
            return packets(requests, mib, self.threads_ns)
        seconds = _nominal_s(self.call)
        return (
            f"tx={requests} (MB={mib}), tx/s={requests // seconds} "
            f"(MB/s={mib // seconds})"
        )

    @property
    def line_to_stderr(self) -> bool:
        """Whether the tool prints that line on stderr."""
        return self.call.tool is Tool.SELFTEST

    @property
    def measured(self) -> str:
        """The same over the time that passed, and whether it was zerocopy at all."""
        requests, ns = self.counts["requests"], self.counts["elapsed_ns"]
        if not requests:
            return f"measured: {ns / 1e9:.6g} s, not one request completed"
        rate = requests * 1e9 / ns
        parts = [
            f"measured: {ns / 1e9:.6g} s",
            f"{rate:.0f} requests/s",
            f"{self.counts['bytes'] * 1e9 / ns / (1 << 20):.1f} MiB/s",
            f"{ns / requests:.0f} ns/request",
            self._copied,
        ]
        parts += [
            f"{self.counts[name]} {meaning}"
            for name, meaning in (
                ("eagain", "times EAGAIN, not counted"),
                ("short_sends", "short sends"),
            )
            if self.counts[name]
        ]
        return ", ".join(parts)

    @property
    def _copied(self) -> str:
        noted, copied = self.counts["notifications"], self.counts["copied"]
        if not noted:
            return "no notifications"
        if not self.asked:
            return f"{noted} notifications, copied or not is told from Linux 6.2 on"
        share = f"copied {copied} of {noted} notifications ({100 * copied / noted:.1f}%"
        if self.call.protocol is Protocol.TCP and 0 < copied < noted:
            return share + "; over tcp shared packets count as copied)"
        return share + ")"

    @property
    def division(self) -> str:
        """What the selftest's division by whole seconds does to its rates, or empty."""
        if self.call.tool is not Tool.SELFTEST:
            return ""
        seconds, passed = _nominal_s(self.call), self.counts["elapsed_ns"] / 1e9
        return (
            f"tx/s and MB/s above divide by {seconds} s, but {passed:.3f} s passed: "
            f"{100 * (passed / seconds - 1):+.1f}%"
        )

    @property
    def lines(self) -> tuple[str, ...]:
        """What is said besides the tool's own line."""
        return tuple(filter(None, (self.measured, self.division)))


def _nominal_s(call: Call) -> int:
    """Return what the selftest divides by: its runtime in whole seconds."""
    return call.runtime_ms // 1000


def packets(count: int, mib: int, threads_ns: Sequence[int]) -> str:
    """Return liburing's line for so many requests or datagrams.

    It divides by the average of its threads' times, in whole milliseconds. Source:
    examples/send-zerocopy.c, main(); liburing 2.9 to 2.15.
    """
    ms = sum(ns // 1_000_000 for ns in threads_ns) // len(threads_ns)
    if not ms:
        return "The run is too short, can't gather stats"
    return (
        f"packets={count} (MB={mib}), rps={count * 1000 // ms} "
        f"(MB/s={mib * 1000 // ms})"
    )


class _Lane(Sender):
    """A sender that keeps what broke it, so that all threads' counts add up.

    The others go on, as the tools' threads do.

    Attributes:
        error: what broke it, None if nothing did.
        sent_ns: how long it sent; 0 where it broke.

    """

    error: SendError | None = None
    sent_ns = 0

    def slice(self, **span: Any) -> Counts:
        """Do what `Sender.slice` does; return the counts of a failed slice too."""
        try:
            counts = super().slice(**span)
            self.sent_ns = counts["elapsed_ns"]
            return counts
        except SendError as error:
            if error.counts is None:
                raise
            self.error = error
            return error.counts


def send(call: Call) -> Sent:
    """Send as a call says; Ctrl-C ends it early.

    Raises:
        CapabilityError: the kernel has not what the call asks for.
        SendError: a request failed, other than that liburing's example goes on to
            print its statistics.
        MeasureError: there is no connection, or counts that must agree do not.

    """
    asked = probe.support().report_usage
    probe.mode(call.mode)
    _check_cpu(call)
    stop, lanes = stop_word(), list[_Lane]()
    memlock.use_all()
    with ExitStack() as stack:
        flows = [_flow(call, stack) for _ in range(call.options.threads)]
        makers = [
            partial(_lane, call, flow, number, asked, lanes)
            for number, flow in enumerate(flows, 1)
        ]
        team = stack.enter_context(Team(makers))

        def end() -> None:
            stop[0] = 1

        stack.callback(end)  # before the team closes, which awaits its threads
        counts = team.slice(
            warmup_ns=0,
            budget_ns=call.runtime_ms * 1_000_000,
            stop=stop,
            interrupted=end,
        )
    broken = next((lane.error for lane in lanes if lane.error), None)
    failure = _lost(call, broken) if broken else ""
    return Sent(
        call=call,
        counts=counts,
        threads_ns=tuple(lane.sent_ns for lane in lanes),
        asked=asked and call.options.report_usage,
        stopped=bool(counts["stopped"]) and not failure,
        failure=failure,
    )


def _lost(call: Call, error: SendError) -> str:
    """Return one line on a broken connection where the tool still prints statistics.

    Raises:
        SendError: it is another error.
        MeasureError: the tool ends without statistics.

    """
    if error.errno not in _LOST:
        raise error
    said = "Connection failure" if call.tool is Tool.LIBURING else "send failed"
    line = f"{said}: {_nobody(call, error.errno)}"
    if call.tool is Tool.SELFTEST:
        raise MeasureError(line)
    return line


def _nobody(call: Call, number: int) -> str:
    where = f"{call.address} port {call.port}"
    what = f"{errno_name(number)} ({os.strerror(number)})"
    if number == errno.ECONNREFUSED:
        why = f"nobody receives at {where}"
        return f"{what}: {why}; start a receiver first: {call.receiver}"
    return f"{what}: the receiver at {where} closed the connection"


def _check_cpu(call: Call) -> None:
    cpu, allowed = call.options.cpu, os.sched_getaffinity(0)
    if cpu != "any" and int(cpu) not in allowed:
        raise InputError(
            f"-C {cpu}: that CPU may not be used here; "
            f"use one of: {', '.join(map(str, sorted(allowed)))}"
        )


def _flow(call: Call, stack: ExitStack) -> Flow:
    """Return a connected socket.

    Raises:
        MeasureError: nobody is there, or there is no way.

    """
    flow = Flow(family=call.family, protocol=call.protocol)
    stack.callback(flow.close)
    flow.aim(call.address, call.port)
    flow.prepare(call.mode, call.options)
    _bind_device(call, flow.sending)
    try:
        flow.connect()
    except ConnectionRefusedError:
        raise MeasureError(
            f"connect failed: {_nobody(call, errno.ECONNREFUSED)}"
        ) from None
    except OSError as error:
        raise MeasureError(
            f"connect to {call.address} port {call.port} failed: {error.strerror}; "
            "is it routed and up?"
        ) from None
    return flow


def _bind_device(call: Call, bound: socket.socket) -> None:
    if not call.device:
        return
    try:
        bound.setsockopt(
            socket.SOL_SOCKET, socket.SO_BINDTODEVICE, call.device.encode()
        )
    except PermissionError:
        raise CapabilityError(
            f"-I {call.device}: binding to a device needs CAP_NET_RAW; run as root"
        ) from None
    except OSError as error:
        raise InputError(
            f"-I {call.device}: {error.strerror}; see the devices: ip link"
        ) from None


def _lane(
    call: Call, flow: Flow, number: int, asked: bool, lanes: list[_Lane]
) -> tuple[Sender, Callable[[], None]]:
    """Make the sender of one thread, in that thread."""
    if call.options.cpu != "any":
        os.sched_setaffinity(0, {int(call.options.cpu)})
    where = f"over {call.protocol} to {call.address} port {call.port}"
    limit = memlock.effective_bytes()
    shape = Shape(
        mode=call.mode,
        io_size_bytes=call.io_size_bytes,
        batch=call.batch,
        options=call.options,
        memlock_bytes=limit,
        what=f"{call.mode} {where}",
    )
    ring = Ring(
        [flow.sending.fileno()],
        RingSetup.of(call.options).holding(shape.area_bytes),
    )
    lane = _Lane(
        ring,
        0,
        mode=call.mode,
        io_size_bytes=call.io_size_bytes,
        batch=call.batch,
        options=call.options,
        seed=number,
        report_usage=asked,
        cork_option=flow.cork,
        where=where,
        memlock_bytes=limit,
    )
    lanes.append(lane)
    return lane, ring.close


def listening(
    family: int, protocol: Protocol, address: str, port: int, *, rcvbuf: int = 0
) -> socket.socket:
    """Return a socket that is bound, and over TCP listens.

    Raises:
        InputError: the address is not one of this network, or the port is taken.

    """
    bound = socket.socket(AF[family], KIND[protocol])
    try:
        if protocol is Protocol.TCP:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if rcvbuf:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        bound.bind((address or ANY[family], port))
        if protocol is Protocol.TCP:
            bound.listen()
    except OSError as error:
        bound.close()
        raise InputError(
            f"cannot receive at {address or ANY[family]} port {port}: "
            f"{error.strerror}; use another -p or -D"
        ) from None
    return bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What the receiver of a call took, and the time in which data came."""

    tally: Tally
    elapsed_ns: int
    stopped: bool

    @property
    def line(self) -> str:
        """What came, in the form of the line that liburing's example has of sends.

        The example itself takes no time as a receiver: with -R its line is always
        that the run is too short.
        """
        return packets(self.tally.received, self.tally.bytes >> 20, [self.elapsed_ns])


def receive(call: Call, ready: Callable[[str], None]) -> Received:
    """Receive as a call with -R says; Ctrl-C ends it early.

    It takes the call's runtime and 400 ms; over TCP these begin with the last of its
    connections (-T) and end when all are closed.

    Args:
        call: what to receive.
        ready: called with one line once senders may begin.

    Raises:
        InputError: it cannot be bound.
        MeasureError: the receiver failed.

    """
    _check_cpu(call)
    cpu = call.options.cpu
    with (
        listening(call.family, call.protocol, call.address, call.port) as bound,
        ExitStack() as stack,
    ):
        _bind_device(call, bound)
        receiver = Receiver(
            [bound.fileno()],
            cpu=None if cpu == "any" else int(cpu),
            die_with_parent=namespace.die_with_parent,
        )
        stack.callback(receiver.close)
        watch, stopped = _Watch(receiver), False
        at = f"{bound.getsockname()[0]} port {call.port}"
        try:
            ready(f"receiving {call.protocol} at {at}")
            watch.see_out(call)
        except KeyboardInterrupt:
            stopped = True
        return Received(
            tally=watch.look(), elapsed_ns=watch.elapsed_ns, stopped=stopped
        )


class _Watch:
    """Looks at a receiver's counters, and notes when they changed."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._seen = self._first_ns = self._last_ns = 0

    def look(self) -> Tally:
        """Return the counters."""
        tally = self._receiver.tally(0)
        if tally.received > self._seen:
            self._seen, self._last_ns = tally.received, time.monotonic_ns()
            self._first_ns = self._first_ns or self._last_ns
        return tally

    @property
    def elapsed_ns(self) -> int:
        """From the first to the last change, and a look."""
        return self._last_ns - self._first_ns + LOOK_NS

    def see_out(self, call: Call) -> None:
        """Wait for the connections of a call, then until they or its time end."""
        tcp = call.protocol is Protocol.TCP
        while tcp and self.look().accepted < call.options.threads:
            time.sleep(LOOK_NS / 1e9)
        end = time.monotonic_ns() + (call.runtime_ms + GRACE_MS) * 1_000_000
        while time.monotonic_ns() < end:
            tally = self.look()
            if tcp and tally.closed >= tally.accepted:
                return
            time.sleep(LOOK_NS / 1e9)
