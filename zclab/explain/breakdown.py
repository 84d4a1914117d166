"""Where the time of a request goes: stacks that perf saw, gathered into buckets.

A sample belongs to the innermost function of its stack that a bucket knows by name;
what everybody calls (memcpy, locks, reading the clock) belongs to its caller. ns per
request of a bucket are its samples' time over the requests sent meanwhile. The sum of
all buckets must come near the ns per request that the clock measured: `closure`.
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd

from zclab.explain.facts import lookup
from zclab.store import Run, breakdowns

USER, OTHER = "user", "other"

# In the order in which a function is looked up; the first pattern that fits counts.
_PATTERNS: dict[str, str] = {
    "tracing": r"bpf_|__bpf|htab_|lookup_nulls_elem|copy_from_kernel_nofault|"
    r"ftrace|kprobe|.*trampoline|perf_|trace_",
    "notification": r"io_notif|io_tx_ubuf|io_alloc_notif|io_link_skb|io_send_zc_clean|"
    r"msg_zerocopy_|__msg_zerocopy|sock_zerocopy|io_add_aux_cqe|io_post_aux_cqe|"
    r"skb_zcopy_(clear|put)|__skb_zcopy",
    "pinning": r"gup_|(un)?pin_user|__?zerocopy_sg_from_iter|zerocopy_fill_skb|"
    r"io_sg_from_iter|io_import_(reg|fixed)|iov_iter_(extract|get_pages)|"
    r"(__)?io_(un)?account_mem|skb_zerocopy_iter|unpin|try_grab_folio|"
    r"mm_account_pinned|get_user_pages",
    "copy": r"_?copy_(from|to)_(iter|user)|rep_movs|csum_(and|partial)_copy|"
    r"skb_copy_ubufs|ip_generic_getfrag|copy_user|__skb_datagram_iter|skb_copy_bits|"
    r"skb_do_copy|skb_copy_datagram",
    "allocation": r"__alloc_skb|kmem_cache|kmalloc|__kmalloc|kfree|slab|__slab|"
    r"get_page_from_freelist|(__)?alloc_(frozen_)?pages|alloc_skb|___cache|"
    r"(__)?free_(frozen_)?page|__folio_put|folio_|page_frag|skb_page_frag|"
    r"sock_alloc_send|skb_(release|free|defer|attempt)|__?kfree_skb|consume_skb|"
    r"napi_(consume|skb|build)|__rmqueue|rmqueue|mod_(memcg|lruvec|node|zone)|lruvec_|"
    r"clear_page|__get_pfnblock|kmalloc_reserve|get_partial|put_page|free_unref|"
    r"refill_sheaf|__pcs|barn_|policy_nodemask|__mod_",
    "delivery": r"net_rx_action|process_backlog|__?netif_receive|ip_rcv|ip6_rcv|"
    r"ipv6_rcv|ip_(local_deliver|protocol_deliver)|ip6_(input|protocol_deliver)|"
    r"udp_(queue_rcv|unicast_rcv|rcv)|udpv6_(queue_rcv|rcv|unicast_rcv)|"
    r"__udp_enqueue|__udp[46]_lib|udp.*early_demux|tcp_v[46]_(rcv|do_rcv|early)|"
    r"tcp_rcv|tcp_data_queue|sock_def_readable|__wake_up|try_to_wake_up|ep_|"
    r"enqueue_to_backlog|netif_rx|__netif_rx|napi_|handle_softirqs|__do_softirq|"
    r"do_softirq|rps_|ttwu|select_task_rq|sk_filter|pollwake|autoremove_wake",
    "device": r".*_xmit$|.*_xmit\.|dev_hard_start_xmit|__dev_queue_xmit|"
    r"netif_skb_features|validate_xmit|sch_|qdisc|eth_|__dev_forward|dev_forward|"
    r"skb_(get_hash|tx_timestamp)|netdev_|dev_(gso|queue)|passthru_features|"
    r"skb_network_protocol|harmonize|tun_|__dev_direct",
    "protocol": r"(__)?(udp|udpv6|udplite|ip|ip6|ipv4|ipv6|inet|inet6|tcp|dst|fib|fib6|"
    r"neigh|rt6|rt)_|__ip|(__)?sk_|sock_|skb_|__skb|(__)?xfrm|nf_|nft_|ipt_|security_|"
    r"selinux|apparmor|bpf_lsm|fl6_|__?find_rr|__tcp|csum_|arp_|ndisc_|lock_sock|"
    r"release_sock|pskb|kernel_sendmsg|__sock|do_csum|siphash|rt_",
    "io_uring": r"(__)?io_|io$|__x64_sys_io_uring|iov_iter|import_ubuf|fget|fput|"
    r"ctx_flush|__do_sys_io",
    "syscall": r"do_syscall|entry_SYSCALL|syscall_|__x64_sys|x64_sys_call|exit_to_user|"
    r"__do_sys|clear_bhb|__fdget|sockfd|____?sys_|__sys_|entry_",
    "interrupts": r"asm_sysvec|sysvec_|irq_|__?hrtimer|tick_|update_process|"
    r"asm_common_interrupt|common_interrupt|scheduler_tick|sched_tick|timerqueue|"
    r"schedule|__schedule|pick_next|finish_task_switch|run_timer|rcu_core",
}
# Below the buckets: the column of `closure`, and its format.
SUMS = {
    "sum": ("sum_ns", ".0f"),
    "measured": ("measured_ns", ".0f"),
    "sum / measured": ("ratio", ".3f"),
}
BUCKETS = (
    "copy",
    "pinning",
    "notification",
    "allocation",
    "protocol",
    "device",
    "delivery",
    "io_uring",
    "syscall",
    USER,
    "tracing",
    "interrupts",
    OTHER,
)
MEANINGS = {
    "copy": "payload bytes moved by the CPU, at once or deferred (skb_copy_ubufs)",
    "pinning": "finding and holding the pages of a buffer, tying them to the packet",
    "notification": "making, completing and posting what says that a buffer is free",
    "allocation": "packet heads, pages and slabs, and giving them back",
    "protocol": "UDP or TCP, IP, routing, sockets, netfilter",
    "device": "queueing discipline and the device's transmit function",
    "delivery": "the receiving side, in softirq on the sender's CPU, and waking it",
    "io_uring": "submission, completion and task work",
    "syscall": "entry to and exit from the kernel",
    USER: "the send loop and liburing",
    "tracing": "BPF, ftrace or kprobes that somebody attached to this host's kernel",
    "interrupts": "timer ticks, other interrupts, the scheduler",
    OTHER: "no function of the stack is known to a bucket",
}

# Called by all: what they cost is their caller's.
_GENERIC = re.compile(
    r"(__pi_)?mem(cpy|set|move|cmp)|_raw_|__raw_|.*spin_(un)?lock|__rcu|rcu_read|"
    r"read_tsc|kvm_clock|pvclock|ktime_get|its_|__x86_|srso_|retbleed|__virt_addr|"
    r"__check_object|check_heap|__cond_resched|refcount|__list_|_find_|bitmap|"
    r"native_|pv_|__local_bh|__fentry|mutex_|up_read|down_read|preempt_|hash_|jhash"
)
_COMPILED = {name: re.compile(pattern) for name, pattern in _PATTERNS.items()}


def bucket(stack: str) -> str:
    """Return the bucket of a stack, innermost function first, joined by `;`."""
    frames = stack.split(";")
    if frames[0].startswith("user:"):
        return USER
    for frame in frames:
        if _GENERIC.match(frame):
            continue
        for name, pattern in _COMPILED.items():
            if pattern.match(frame):
                return name
    return OTHER


def frame(found: Mapping[str, Any]) -> pd.DataFrame:
    """Return ns per request by arm and bucket, of what `measure.perf.record` returned.

    Columns: arm, bucket, ns, share (of the arm's samples), top (the functions that were
    innermost most often, with their share of the bucket).
    """
    rows = []
    for arm in found["arms"]:
        counts: Counter[str] = Counter()
        inner: dict[str, Counter[str]] = {}
        for stack, count in arm["stacks"].items():
            name = bucket(stack)
            counts[name] += count
            inner.setdefault(name, Counter())[stack.partition(";")[0]] += count
        per_sample_ns = arm["sampled_ns"] / arm["samples"] / arm["requests"]
        rows += [
            {
                "arm": arm["arm"],
                "bucket": name,
                "ns": counts[name] * per_sample_ns,
                "share": counts[name] / arm["samples"],
                "top": ", ".join(
                    f"{function} {count / counts[name]:.0%}"
                    for function, count in inner.get(name, Counter()).most_common(3)
                ),
            }
            for name in BUCKETS
        ]
    return pd.DataFrame(rows)


def closure(found: Mapping[str, Any]) -> pd.DataFrame:
    """Return how the sum of the buckets compares with the measured ns per request.

    Columns: arm, measured_ns, cpu_ns (of it on the CPU: the rest waited, or somebody
    else had the CPU), sum_ns, ratio (sum over measured), cpu_ratio (sum over CPU time),
    samples.
    """
    return pd.DataFrame(
        {
            "arm": arm["arm"],
            "measured_ns": arm["ns_per_request"],
            "cpu_ns": arm["cpu_ns_per_request"],
            "sum_ns": arm["sampled_ns"] / arm["requests"],
            "ratio": arm["sampled_ns"] / arm["requests"] / arm["ns_per_request"],
            "cpu_ratio": arm["sampled_ns"]
            / arm["requests"]
            / arm["cpu_ns_per_request"],
            "samples": arm["samples"],
        }
        for arm in found["arms"]
    )


def texts(found: Mapping[str, Any]) -> pd.DataFrame:
    """Return the buckets as people read them: rows of text, one column per arm.

    Buckets without a sample are left out. Below them stand the sum, what the clock
    measured, and the one over the other.
    """
    ns = frame(found).pivot_table(index="bucket", columns="arm", values="ns")
    arms = [arm["arm"] for arm in found["arms"]]
    rows = [
        {"": name, **{arm: f"{ns.loc[name, arm]:.0f}" for arm in arms}}
        for name in BUCKETS
        if ns.loc[name].sum() > 0
    ]
    sums = closure(found).set_index("arm")
    for name, (column, form) in SUMS.items():
        told = {arm: format(sums.loc[arm, column], form) for arm in arms}
        rows.append({"": name, **told})
    return pd.DataFrame(rows)


def of_host(run: Run) -> list[dict[str, Any]]:
    """Return the newest breakdown of each point of a run that this host has one of.

    Only those of the run's own host and kernel, as alias and release tell.
    """
    found: dict[str, dict[str, Any]] = {}
    names = {point.name for point in run.plan.points}
    for path in breakdowns.listing():
        one = breakdowns.load(path)
        alike = all(
            lookup(one["host"], *keys) == lookup(run.host, *keys) for keys in _SAME
        )
        if one["name"] in names and alike:
            found[one["name"]] = one
    return [found[point.name] for point in run.plan.points if point.name in found]


_SAME = (("alias",), ("kernel", "release"))
