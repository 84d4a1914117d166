"""The examination: all checks in order of weight, and what they found."""

from collections.abc import Sequence
from typing import Any

from zclab.doctor import kernel, load, network, processor
from zclab.doctor.finding import NOTHING, Check, Finding, Level, Seen
from zclab.doctor.patient import Patient
from zclab.doctor.tree import UnreadableError
from zclab.errors import EXIT_FAILURE, ZclabError

FORMAT = 1  # of the JSON; grows when a field changes its meaning or goes

# What can make a number untrue comes first; then what makes it scatter, the worst
# first.
_ORDER = (
    "io-uring",
    "opcodes",
    "namespaces",
    "policy",
    "taps",
    "link",
    "offloads",
    "mtu",
    "qdisc",
    "debugging",
    "wmem",
    "huge-pages",
    "disk",
    "memlock",
    "optmem",
    "steal",
    "busy",
    "quota",
    "cpus",
    "governor",
    "turbo",
    "smt",
    "tracing",
    "interrupts",
    "irqs",
    "load",
    "rmem",
    "congestion",
    "numa",
    "iommu",
    "programs",
    "irqbalance",
    "numa-balancing",
    "idle-states",
    "clock",
    "memory",
    "frequency",
    "queues",
    "isolation",
    "mitigations",
    "machine",
)


def _ordered() -> tuple[Check, ...]:
    groups = (kernel.CHECKS, network.CHECKS, processor.CHECKS, load.CHECKS)
    known = {check.id: check for checks in groups for check in checks}
    assert known.keys() == set(_ORDER), known.keys() ^ set(_ORDER)
    return tuple(known[name] for name in _ORDER)


CHECKS = _ordered()


def examine(patient: Patient) -> tuple[Finding, ...]:
    """Return one finding for each check, the heaviest level first.

    Checks of a device are left out where none was named. What could not be read, or
    was not understood, is `unknown`, with the reason.
    """
    findings = [
        _finding(check, patient)
        for check in CHECKS
        if patient.device or not check.of_device
    ]
    weights = list(Level)
    return tuple(sorted(findings, key=lambda found: weights.index(found.level)))


def _finding(check: Check, patient: Patient) -> Finding:
    try:
        seen = check.look(patient)
    except UnreadableError as error:
        cure = "sudo zclab doctor" if patient.uid else NOTHING
        seen = Seen(Level.UNKNOWN, str(error), (), cure)
    except (ZclabError, OSError, ValueError, ArithmeticError, LookupError) as error:
        seen = Seen(Level.UNKNOWN, f"not understood: {error!r}", ())
    return Finding(
        id=check.id,
        level=seen.level,
        seen=seen.seen,
        read=seen.read,
        effect=seen.effect or check.effect,
        source=check.source,
        cure=seen.cure,
        changes=seen.changes,
    )


def exit_code(findings: Sequence[Finding]) -> int:
    """Return 1 if something lies, else 0."""
    lies = any(found.level is Level.LIES for found in findings)
    return EXIT_FAILURE if lies else 0


def to_json(patient: Patient, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the examination as plain JSON values; docs/doctor.md lists the fields."""
    return {
        "format": FORMAT,
        "kernel": patient.release,
        "plan": patient.plan.profile,
        "device": patient.device.name if patient.device else None,
        "sender_cpu": patient.sender,
        "receiver_cpu": patient.receiver,
        "watched_s": round(patient.watched.seconds, 3),
        "findings": [found.to_json() for found in findings],
    }
