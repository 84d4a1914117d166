"""Facts of a machine as words: what is on against vulnerabilities, and which CPU."""

import copy
from pathlib import Path
from typing import Any

import pytest

from tests import samples
from zclab.explain import facts
from zclab.params import Path as PacketPath
from zclab.params import Protocol, grid
from zclab.store import Run

POINTS = grid(
    path=PacketPath.SINK,
    protocol=Protocol.UDP,
    family=4,
    sizes=(1200,),
    modes=("send", "send_zc"),
    batch=8,
)
SPECTRE_V1 = "Mitigation: usercopy/swapgs barriers and __user pointer sanitization"


def run_of(tmp_path: Path, **cpu: Any) -> Run:
    """Return a run on a CPU with these facts; `none` leaves one out."""
    host = copy.deepcopy(samples.HOST)
    host["cpu"] |= cpu
    host["cpu"] = {key: value for key, value in host["cpu"].items() if value != "none"}
    return samples.make(tmp_path, plan_points=POINTS, planned=1, host=host)


@pytest.mark.parametrize(
    ("states", "said"),
    [
        # An AMD EPYC of family 25, Linux 6.18 in a guest.
        (
            {
                "spec_rstack_overflow": "Vulnerable: Safe RET, no microcode",
                "spec_store_bypass": "Vulnerable",
                "spectre_v1": SPECTRE_V1,
                "spectre_v2": "Mitigation: Retpolines; STIBP: disabled; RSB filling; "
                "PBRSB-eIBRS: Not affected; BHI: Not affected",
            },
            "retpolines, Safe RET (no microcode)",
        ),
        # An Intel Xeon, likewise.
        (
            {
                "indirect_target_selection": "Mitigation: Aligned branch/return thunks",
                "retbleed": "Vulnerable",
                "spectre_v2": "Mitigation: Retpolines; STIBP: disabled; RSB filling; "
                "PBRSB-eIBRS: Not affected; BHI: Retpoline",
            },
            "retpolines, aligned thunks (ITS)",
        ),
        # Before Linux 6.9 commas parted what semicolons part now.
        (
            {
                "mds": "Mitigation: Clear CPU buffers; SMT vulnerable",
                "meltdown": "Mitigation: PTI",
                "spec_store_bypass": "Mitigation: Speculative Store Bypass disabled "
                "via prctl",
                "spectre_v2": "Mitigation: Retpolines, IBPB: conditional, IBRS_FW, "
                "STIBP: conditional, RSB filling",
                "tsx_async_abort": "Mitigation: Clear CPU buffers; SMT vulnerable",
            },
            "retpolines, IBPB conditional, IBRS in firmware calls, "
            "STIBP conditional, PTI, CPU buffers cleared",
        ),
        (
            {
                "spectre_v2": "Mitigation: Enhanced / Automatic IBRS; IBPB: "
                "conditional; PBRSB-eIBRS: SW sequence; BHI: SW loop, KVM: SW loop"
            },
            "Enhanced / Automatic IBRS, IBPB conditional, BHI SW loop",
        ),
        (
            {"mds": "Vulnerable: Clear CPU buffers attempted, no microcode; SMT off"},
            "CPU buffers cleared (no microcode)",
        ),
        (
            {
                "retbleed": "Mitigation: untrained return thunk; SMT disabled",
                "spec_rstack_overflow": "Mitigation: IBPB on VMEXIT only",
                "tsa": "Mitigation: Clear CPU buffers: VM",
                "spec_store_bypass": "Mitigation: Speculative Store Bypass disabled",
            },
            "untrained return thunk, SSBD",
        ),
        ({"spectre_v2": "Vulnerable; IBPB: disabled; STIBP: disabled"}, "none"),
        ({"retbleed": "Vulnerable", "mds": "Vulnerable: No microcode"}, "none"),
        ({}, ""),  # perhaps the kernel tells nothing
        # One of tomorrow.
        ({"novel": "Mitigation: Slow mode; SMT off"}, "Slow mode (novel)"),
        ({"novel": "Vulnerable: No microcode"}, "none"),
    ],
)
def test_what_is_on_is_named(tmp_path: Path, states: dict[str, str], said: str) -> None:
    """What costs is named once, also where the text begins with Vulnerable."""
    assert facts.mitigations_text(run_of(tmp_path, mitigations=states)) == said


def test_unknown_mitigations_are_not_none(tmp_path: Path) -> None:
    """A run that recorded none of it says nothing."""
    assert facts.mitigations_text(run_of(tmp_path, mitigations="none")) == ""


def test_a_cpu_is_told_by_its_numbers(tmp_path: Path) -> None:
    """Family, model and stepping are in the table where known, 0 being known."""
    table = facts.machine(run_of(tmp_path, family=25, model_number=17, stepping=0))
    older = facts.machine(run_of(tmp_path / "older"))

    told = dict(zip(table["fact"], table["value"], strict=True))
    assert [told[f"CPU {name}"] for name in ("family", "model number", "stepping")] == [
        *("25", "17", "0")
    ]
    assert not {"CPU family", "CPU model number", "CPU stepping"} & {*older["fact"]}
