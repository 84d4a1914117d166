"""The process that owns one path, and in which the contenders send, one at a time.

It talks JSON lines: the path comes first on stdin, then one job per line; each is
answered by one line on stdout. Every job has a process of its own, with a socket, a
ring and memory that nobody used before. When stdin ends or the parent dies, the
arena ends, and its namespaces and whatever sends in them with it.
"""

import json
import os
import re
import resource
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path as FilePath
from typing import Any, Self

from pyroute2.netlink.exceptions import NetlinkError

from zclab import errors
from zclab import options as opts
from zclab.errors import CapabilityError, MeasureError, ZclabError
from zclab.measure import memlock, namespace
from zclab.measure.flow import Flow
from zclab.measure.path import FAR, UDP_SINK_PORT, up
from zclab.options import Options
from zclab.params import Path, Protocol, arm_mode
from zclab.uring.receiver import Receiver
from zclab.uring.ring import Ring, RingSetup
from zclab.uring.sender import Sender, Shape

FAMILY = 4
# What paces would pace both sides (bbr); this does not, and every kernel has it.
CONGESTION = "reno"
CONGESTION_CONTROL = FilePath("/proc/sys/net/ipv4/tcp_congestion_control")
CAP_SYS_ADMIN = 21  # linux/capability.h
SETUP_S = 60.0
GRACE_S = 15.0  # to start, to send what is still queued, to end
CATCH_UP_S = 5.0

Answer = dict[str, Any]


class Ground:
    """A path that is up, with a receiver where it has one.

    Args:
        path: sink for UDP, veth for TCP.
        cpus: (sender's CPU, receiver's CPU).
        memlock_bytes: the locked-memory limit; -1: none.

    Raises:
        CapabilityError: the path cannot be had here.

    """

    def __init__(self, path: Path, cpus: tuple[int, int], memlock_bytes: int) -> None:
        self.cpus = cpus
        self.memlock_bytes = memlock_bytes
        try:
            self.route = up(path, {FAMILY})
        except (NetlinkError, OSError) as error:
            raise CapabilityError(
                f"path {path} cannot be built here: {error}"
            ) from None
        self.address, self.port = FAR[FAMILY], UDP_SINK_PORT
        self.protocol = Protocol.UDP
        self.receiver: Receiver | None = None
        if self.route.peer:
            CONGESTION_CONTROL.write_text(CONGESTION)  # of this network alone
            self.route.facts["congestion_control"] = CONGESTION
            with self.route.peer.entered():
                listening = socket.create_server((self.address, 0), backlog=16)
            self.protocol = Protocol.TCP
            self.port = listening.getsockname()[1]
            self.receiver = Receiver(
                [listening.fileno()],
                cpu=cpus[1],
                die_with_parent=namespace.die_with_parent,
            )
            listening.close()

    def run(self, job: dict[str, Any]) -> Answer:
        """Do one job; return its answer and the CPU time of its process in ns."""
        before = _children_ns()
        closed = self.receiver.tally(0).closed if self.receiver else 0
        answer = self._command(job) if "argv" in job else self._apart(job)
        if "failed" not in answer:
            self._settle(closed)
        return {"cpu_ns": _children_ns() - before, **answer}

    def _command(self, job: dict[str, Any]) -> Answer:
        parent = os.getpid()
        try:
            done = subprocess.run(
                job["argv"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=job["budget_ns"] / 1e9 + GRACE_S,
                check=False,
                # The arena has one thread, so this is safe.
                preexec_fn=lambda: self._stand_alone(parent),
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return {"failed": str(error)}
        if done.returncode:
            said = "; ".join(done.stdout.strip().split("\n"))
            return {"failed": f"it ended with status {done.returncode}: {said}"}
        return {"printed": done.stdout}

    def _apart(self, job: dict[str, Any]) -> Answer:
        """Return what the job answers in a child process of its own."""
        reading, writing = os.pipe()
        parent = os.getpid()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                self._stand_alone(parent)
                os.write(writing, json.dumps(self._sent(job)).encode())
                status = 0
            finally:
                os._exit(status)
        os.close(writing)
        with os.fdopen(reading, encoding="utf-8") as pipe:
            text = pipe.read()
        _, status = os.waitpid(child, 0)
        if not text:
            code = os.waitstatus_to_exitcode(status)
            return {"failed": f"the process that sends ended with status {code}"}
        answer: Answer = json.loads(text)
        return answer

    def _stand_alone(self, parent: int) -> None:
        """Make this process what both sides are: pinned, and a session of its own.

        The scheduler shares out CPUs by session first (sched(7), autogroup): one
        side in the receiver's session would be given less than the other.
        """
        namespace.die_with_parent(parent)
        os.setsid()
        os.sched_setaffinity(0, {self.cpus[0]})

    def _sent(self, job: dict[str, Any]) -> Answer:
        """Send as the job says, in this process; return its counts, times in ns."""
        try:
            if job["kind"] == "python":
                return self._in_python(job)
            return self._by_sender(job)
        except (ZclabError, OSError) as error:
            return {"failed": str(error)}

    def _flow(self, arm: str, options: Options) -> Flow:
        flow = Flow(family=FAMILY, protocol=self.protocol)
        flow.aim(self.address, self.port)
        flow.prepare(arm_mode(arm), options)
        flow.connect()
        return flow

    def _by_sender(self, job: dict[str, Any]) -> Answer:
        arm, size, batch = job["arm"], job["io_size_bytes"], job["batch"]
        options = Options.of(opts.split_arm(arm)[1])
        flow = self._flow(arm, options)
        shape = Shape(
            mode=arm_mode(arm),
            io_size_bytes=size,
            batch=batch,
            options=options,
            memlock_bytes=self.memlock_bytes,
        )
        setup = RingSetup.of(options, sqpoll_cpu=self.cpus[1])
        with Ring([flow.sending.fileno()], setup.holding(shape.area_bytes)) as ring:
            sender = Sender(
                ring,
                0,
                mode=arm_mode(arm),
                io_size_bytes=size,
                batch=batch,
                options=options,
                memlock_bytes=self.memlock_bytes,
            )
            counts = sender.slice(warmup_ns=0, budget_ns=job["budget_ns"])
        flow.close()
        return {
            "requests": counts["requests"],
            "ns": counts["elapsed_ns"],
            "cpu_ns": counts["cpu_user_ns"] + counts["cpu_sys_ns"],
        }

    def _in_python(self, job: dict[str, Any]) -> Answer:
        flow = self._flow("send_sync", Options(sndbuf=0))
        payload, send, clock = (
            bytes(job["io_size_bytes"]),
            flow.sending.send,
            time.monotonic_ns,
        )
        requests, start, cpu = 0, clock(), time.process_time_ns()
        now, end = start, start + job["budget_ns"]
        while now < end:
            for _ in range(32):
                send(payload)
            requests += 32
            now = clock()
        return {
            "requests": requests,
            "ns": now - start,
            "cpu_ns": time.process_time_ns() - cpu,
        }

    def _settle(self, closed: int) -> None:
        """Wait until the receiver has all of the connection that was just closed."""
        end = time.monotonic() + CATCH_UP_S
        while self.receiver and self.receiver.tally(0).closed == closed:
            if time.monotonic() > end:
                raise MeasureError("the receiver did not see the connection's end")
            time.sleep(1e-3)

    def close(self) -> None:
        """Stop the receiver."""
        if self.receiver:
            self.receiver.close()


def _children_ns() -> int:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return int((usage.ru_utime + usage.ru_stime) * 1e9)


class Arena:
    """The process of one path, seen from the duel. Use it as a context."""

    def __init__(self, path: Path, cpus: tuple[int, int]) -> None:
        self.path = path
        self._process = subprocess.Popen(
            # -P: the zclab of this process, not one of the current folder.
            [sys.executable, "-P", "-m", "zclab.bench.arena"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._send({"path": str(path), "cpus": cpus, "parent": os.getpid()})
        self.facts: Answer = self._receive(SETUP_S)

    def run(self, job: dict[str, Any]) -> Answer:
        """Have one job done; return its answer.

        Raises:
            MeasureError: the contender failed, or the arena did.

        """
        self._send(job)
        answer = self._receive(job["budget_ns"] / 1e9 + 2 * GRACE_S)
        if "failed" in answer:
            raise MeasureError(answer["failed"])
        return answer

    def _send(self, values: dict[str, Any]) -> None:
        assert self._process.stdin
        with suppress(BrokenPipeError):  # what it died of is read from its answer
            self._process.stdin.write(json.dumps(values) + "\n")
            self._process.stdin.flush()

    def _receive(self, deadline_s: float) -> Answer:
        assert self._process.stdout
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            line = ""
            if selector.select(deadline_s):
                line = self._process.stdout.readline()
        if not line:
            raise MeasureError(
                f"the arena of path {self.path} ended, or gave no answer for "
                f"{deadline_s:.0f} s"
            )
        answer: Answer = json.loads(line)
        if "error" in answer:
            kind: type[Exception] = getattr(errors, answer["kind"])
            raise kind(answer["error"])
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                if pipe:
                    pipe.close()
        self._process.wait()


@contextmanager
def _own_network() -> Iterator[int]:
    """Be in a network of its own; yield the locked-memory limit there, in bytes.

    It is -1 where there is none. The peer pins as many pages as it likes and dies of
    a limit, and in a user namespace of its own not even root is exempt from it. So
    who may do without takes a network namespace alone.

    Raises:
        CapabilityError: namespaces are refused.

    """
    memlock.use_all()
    home = _network()
    with ExitStack() as stack:
        if _may(CAP_SYS_ADMIN):
            stack.enter_context(namespace.PeerNetwork().entered())
        else:
            namespace.enter()
        # What comes next adds a device and an address: never to the host.
        if _network() == home:
            raise CapabilityError("this process is still in the host's network")
        yield memlock.effective_bytes()


def _network() -> str:
    return str(FilePath("/proc/self/ns/net").readlink())


def _may(capability: int) -> bool:
    """Return whether this process has a capability. Source: proc(5), CapEff."""
    status = FilePath("/proc/self/status").read_text()
    effective = re.search(r"^CapEff:\s*(\w+)", status, re.MULTILINE)
    return bool(effective and int(effective.group(1), 16) >> capability & 1)


def _answer(values: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(values, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def serve() -> None:
    """Answer jobs until stdin ends."""
    request = json.loads(sys.stdin.readline())
    namespace.die_with_parent(request["parent"])
    with _own_network() as memlock_bytes:
        ground = Ground(Path(request["path"]), tuple(request["cpus"]), memlock_bytes)
        _answer(
            {
                "address": ground.address,
                "port": ground.port,
                "memlock_bytes": memlock_bytes,
                **ground.route.facts,
            }
        )
        try:
            for line in sys.stdin:
                _answer(ground.run(json.loads(line)))
        finally:
            ground.close()


def main() -> None:
    """Serve; an error becomes one line of JSON that says its kind and message."""
    try:
        serve()
    except CapabilityError as error:
        _answer({"error": str(error), "kind": "CapabilityError"})
        sys.exit(error.exit_code)
    except ZclabError as error:
        _answer({"error": str(error), "kind": "MeasureError"})
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(1)


if __name__ == "__main__":
    main()
