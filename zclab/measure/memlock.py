"""The limit of locked memory: what a process may use of it, and what really counts."""

import re
import resource
from contextlib import suppress
from pathlib import Path

CAP_IPC_LOCK = 1 << 14  # linux/capability.h
ALL_IDS = "4294967295"  # user_namespaces(7): the initial one maps all


def use_hard_limit() -> int:
    """Use all that the hard limit grants without privilege; return it in bytes."""
    _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
    return hard


def use_all() -> None:
    """Use what can be had: no limit where a privilege allows it, else the hard one."""
    endless = resource.RLIM_INFINITY
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (endless, endless))
    except (OSError, ValueError):
        use_hard_limit()


def effective_bytes() -> int:
    """Return the limit of this process in bytes; -1 where none counts.

    CAP_IPC_LOCK lifts it, unless it is that of a user namespace. Source: proc(5);
    net/core/skbuff.c, mm_account_pinned_pages().
    """
    status = Path("/proc/self/status").read_text()
    found = re.search(r"^CapEff:\s*(\w+)$", status, re.MULTILINE)
    capable = found and int(found[1], 16) & CAP_IPC_LOCK
    if capable and Path("/proc/self/uid_map").read_text().split()[2] == ALL_IDS:
        return -1
    return resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
