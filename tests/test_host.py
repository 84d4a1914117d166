"""What a host tells of itself: read right, on one schema, and nothing that names it."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from zclab import checkout as code
from zclab import hostfacts
from zclab.hostfacts import Change
from zclab.measure import host

CPUS = "sys/devices/system/cpu"


def tree(root, files):
    """Write files under a root, as if it were a host's."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def test_facts_of_this_host_are_on_the_schema():
    """Each fact that is collected is in the registry, of its kind, and JSON."""
    found = host.facts()

    assert hostfacts.check(found) == []
    assert json.loads(json.dumps(found)) == found
    assert found["kernel"]["release"] == os.uname().release
    assert found["page_bytes"] == os.sysconf("SC_PAGE_SIZE")


def test_facts_can_be_left_out():
    """What starts a program can be left out; all else is there as before."""
    whole, less = host.facts(), host.facts(without={"software"})

    assert whole.keys() - less.keys() == {"software"}


def test_the_clock_is_read(tmp_path):
    """Governor, driver, limits, boost and clock are those of cpufreq."""
    cpu = host.cpus()[0]
    here = f"{CPUS}/cpu{cpu}/cpufreq"
    tree(
        tmp_path,
        {
            f"{here}/scaling_governor": "performance\n",
            f"{here}/scaling_driver": "intel_pstate\n",
            f"{here}/scaling_min_freq": "800000\n",
            f"{here}/scaling_max_freq": "3900000\n",
            f"{here}/scaling_cur_freq": "3100000\n",
            f"{CPUS}/cpu77/cpufreq/scaling_governor": "powersave\n",
            f"{CPUS}/intel_pstate/no_turbo": "1\n",
            f"{CPUS}/cpu77/thermal_throttle/core_throttle_count": "3\n",
            f"{CPUS}/cpu77/thermal_throttle/package_throttle_count": "4\n",
            f"{CPUS}/nohz_full": "(null)\n",
        },
    )

    found = host.facts(root=tmp_path)["cpu"]

    assert found["governor"] == "performance+powersave"
    assert found["frequency_driver"] == "intel_pstate"
    assert (found["min_khz"], found["max_khz"]) == (800000, 3900000)
    assert found["now_khz"] == 3100000
    assert found["boost"] is False
    assert found["throttled"] == 7
    assert found["nohz_full"] is None


@pytest.mark.parametrize(
    ("files", "boost"),
    [({}, None), ({"cpufreq/boost": "1\n"}, True), ({"cpufreq/boost": "0\n"}, False)],
)
def test_boost_is_unknown_where_nobody_says(tmp_path, files, boost):
    """Without cpufreq and without intel_pstate boost is unknown, not off."""
    tree(tmp_path, {f"{CPUS}/{name}": text for name, text in files.items()})

    assert host.facts(root=tmp_path)["cpu"]["boost"] is boost


def test_the_clock_of_a_guest_is_that_of_cpuinfo(tmp_path):
    """Without cpufreq the clock is what /proc/cpuinfo has for the sender's CPU."""
    cpu = host.cpus()[0]
    tree(
        tmp_path,
        {
            "proc/cpuinfo": f"processor\t: {cpu + 1}\ncpu MHz\t\t: 1.5\n\n"
            f"processor\t: {cpu}\ncpu MHz\t\t: 2600.123\n"
        },
    )

    assert host.facts(root=tmp_path)["cpu"]["now_khz"] == 2600123


def test_cpus_of_one_name_are_told_apart(tmp_path):
    """Family, model and stepping are numbers, as "AMD EPYC" is many CPUs."""
    text = (
        "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\n"
        "model name\t: AMD EPYC\nstepping\t: 0\n"
    )

    found = host.facts(root=tree(tmp_path, {"proc/cpuinfo": text}))["cpu"]

    assert found["model"] == "AMD EPYC"
    assert (found["family"], found["model_number"], found["stepping"]) == (25, 17, 0)


@pytest.mark.parametrize("text", ["", "CPU part\t: 0xd0c\n", "stepping\t: unknown\n"])
def test_other_architectures_have_no_family(tmp_path, text):
    """What /proc/cpuinfo has not, or not as a number, is null."""
    found = host.facts(root=tree(tmp_path, {"proc/cpuinfo": text}))["cpu"]

    assert (found["family"], found["model_number"], found["stepping"]) == (None,) * 3


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://github.com/owner/zclab", "https://github.com/owner/zclab"),
        ("https://me:secret@github.com/o/z.git", "https://github.com/o/z.git"),
        ("https://gitlab.com:8443/z?token=a#b", "https://gitlab.com:8443/z"),
        ("git://git.kernel.org/pub/scm/z.git", "git://git.kernel.org/pub/scm/z.git"),
        ("ssh://git@codeberg.org/o/z.git", "ssh://git@codeberg.org/o/z.git"),
        ("ssh://me@codeberg.org:22/o/z.git", "ssh://codeberg.org:22/o/z.git"),
        ("git@github.com:o/z.git", "git@github.com:o/z.git"),
        ("me@git.sr.ht:~me/z", "git.sr.ht:~me/z"),
    ],
)
def test_a_public_remote_is_told_without_its_user(url, told):
    """No user, password or token; `git` is nobody's name."""
    assert code.public_url(url) == told
    # As a fact it is stored as it is: no part of it looks like an address.
    facts = {"software": {"remote": told}}
    assert hostfacts.public(facts) == facts


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/srv/git/zclab",
        "../zclab",
        "file:///srv/git/zclab",
        "C:/zclab",
        "http://me@github.com/o/z",
        "https://localhost/z",
        "https://build7/z",
        "https://git.corp/z",
        "https://gitlab.internal.example.com/secret/z",
        "git@github.com.example.org:o/z",
        "https://198.51.100.7/z",
        "https://[2001:db8::1]/z",
        "https://github.com:port/z",
        "git@198.51.100.7:o/z",
        "me@box:z",
        "me@box.lan:z",
    ],
)
def test_a_remote_that_is_not_public_is_not_told(url):
    """Folders, addresses, and hosts that only one network knows stay untold."""
    assert code.public_url(url) is None


def test_the_remote_is_that_of_the_checkout(tmp_path, monkeypatch):
    """It is read from the checkout's configuration; without origin it is null."""
    package = tmp_path / "zclab"
    package.mkdir()
    monkeypatch.setattr(code, "__file__", str(package / "checkout.py"))

    def git(*arguments):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)

    git("init", "-q")
    assert code.remote() is None
    git("remote", "add", "origin", "https://me:secret@github.com/o/z.git")
    git("config", "url.file:///srv/.insteadOf", "https://me:secret@github.com/")

    assert code.remote() == "https://github.com/o/z.git"


def test_the_command_line_tells_no_secret(tmp_path):
    """Of the boot command line only parameters that bear on a measurement are told."""
    tree(
        tmp_path,
        {
            "proc/cmdline": "root=UUID=0e1d mitigations=off isolcpus=2-3 "
            "nohz-full=2-3 ip=10.1.2.3 token=abc iommu=pt -- --listen idle=poll\n"
        },
    )

    assert host.facts(root=tmp_path)["kernel"]["cmdline"] == [
        "mitigations=off",
        "isolcpus=2-3",
        "nohz-full=2-3",
        "iommu=pt",
    ]


@pytest.mark.parametrize("packed", [True, False])
def test_build_options_are_read(tmp_path, packed):
    """From /proc/config.gz, else from /boot: numbers, words, and what is not set."""
    text = b"CONFIG_HZ=250\nCONFIG_PREEMPT_DYNAMIC=y\n# CONFIG_PREEMPT_RT is not set\n"
    text += b'CONFIG_LOCALVERSION="-mine"\n'
    name = "proc/config.gz" if packed else f"boot/config-{os.uname().release}"
    tree(tmp_path, {name: gzip.compress(text) if packed else text})

    assert host.facts(root=tmp_path)["kernel"]["config"] == {
        "HZ": 250,
        "PREEMPT_DYNAMIC": "y",
        "PREEMPT_RT": None,
    }


def test_a_cpu_quota_is_found_above(tmp_path):
    """The narrowest quota of all groups above counts, and every hold-up (version 2)."""
    tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/a/b\n",
            "sys/fs/cgroup/a/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/a/cpu.stat": "usage_usec 5\nnr_throttled 2\n",
            "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
            "sys/fs/cgroup/a/b/cpu.stat": "usage_usec 5\nnr_throttled 1\n",
        },
    )

    assert host.facts(root=tmp_path)["cgroup"] == {"cpu_limit": 1.5, "throttled": 3}


def test_a_cpu_quota_of_version_1(tmp_path):
    """The quota of version 1 is read too; -1 is none."""
    files = {
        "proc/self/cgroup": "9:name=systemd:/x\n4:cpu,cpuacct:/job\n0::/\n",
        "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "50000\n",
        "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    }

    found = host.facts(root=tree(tmp_path, files))["cgroup"]

    assert found == {"cpu_limit": 0.5, "throttled": None}


def test_memory_devices_and_policy_are_read(tmp_path):
    """Huge pages, NUMA, caches, IOMMU, modules and taps are what the files say."""
    cpu = host.cpus()[0]
    tree(
        tmp_path,
        {
            "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
            f"sys/devices/system/node/node1/cpu{cpu}/online": "1\n",
            "sys/devices/system/node/node0/meminfo": "\n",
            f"{CPUS}/cpu{cpu}/cache/index3/size": "32M\n",
            f"{CPUS}/cpu{cpu}/cache/index3/level": "3\n",
            f"{CPUS}/cpu{cpu}/cache/index3/type": "Unified\n",
            "sys/kernel/iommu_groups/0/type": "DMA-FQ\n",
            "sys/kernel/iommu_groups/1/type": "identity\n",
            "sys/kernel/security/lockdown": "none [integrity] confidentiality\n",
            "sys/kernel/security/lsm": "capability,apparmor\n",
            "proc/self/net/packet": "sk RefCnt Type Proto\n"
            "1 3 3 0003 2\n1 3 3 88cc 2\n",
            "proc/9/comm": "irqbalance\n",
            "sys/kernel/tracing/enabled_functions": "udp_sendmsg (1) R\n",
            "sys/kernel/tracing/current_tracer": "nop\n",
        },
    )

    found = host.facts(root=tmp_path)

    assert found["thp"]["enabled"] == "madvise"
    assert found["numa"] == {"nodes": 2, "sender": 1}
    assert found["cpu"]["caches"] == {"L3": 32 << 20}
    assert found["iommu"] == {"groups": 2, "domains": ["DMA-FQ", "identity"]}
    assert found["lockdown"] == "integrity"
    assert found["lsm"] == ["capability", "apparmor"]
    assert found["packet_taps"] == 1
    assert found["irqbalance"] is True
    assert found["tracing"] == {"functions": 1, "tracer": "nop"}


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({}, "none seen"),
        ({".dockerenv": ""}, "docker"),
        ({"run/systemd/container": "systemd-nspawn\n"}, "systemd-nspawn"),
        ({"proc/1/cgroup": "0::/kubepods/pod1\n"}, "kubernetes"),
    ],
)
def test_a_container_is_told_by_its_kind(tmp_path, files, kind):
    """Where nothing says container it is `none seen`, which is no promise."""
    assert host.facts(root=tree(tmp_path, files))["container"] == kind


def test_what_cannot_be_read_is_never_guessed(tmp_path):
    """On a root without any file, files give null or nothing, and all is on schema."""
    found = host.facts(root=tmp_path)

    assert hostfacts.check(found) == []
    for name in ("clocksource", "lockdown", "lsm", "packet_taps", "irqbalance"):
        assert found[name] is None
    assert found["sysctl"] == {}
    assert set(found["thp"].values()) == {None}
    assert found["iommu"]["groups"] is None


def test_a_real_tap_is_counted():
    """An AF_PACKET socket for all protocols is one tap more, while it is open."""
    code = (
        "import json, socket\n"
        "from zclab.measure import host, namespace\n"
        "namespace.enter()\n"
        "def taps(): return host.facts(without={'software'})['packet_taps']\n"
        "counts = [taps()]\n"
        "with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)):\n"
        "    counts.append(taps())\n"
        "print(json.dumps([*counts, taps()]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    if done.returncode and "CapabilityError" in done.stderr:
        pytest.skip("no namespaces here")

    assert json.loads(done.stdout) == [0, 1, 0], done.stderr


def test_a_fact_of_no_registry_is_told():
    """Unknown names, wrong kinds and private facts are told by name, one line each."""
    found = hostfacts.check(
        {
            "cpu": {"governor": 7, "colour": "red", "mitigations": {}},
            "hostname": "box",
            "paths": {"nic": {"serial": "x", "features": {"scatter-gather": True}}},
            "peer": {"cpu": {"boost": True}, "uptime_s": "long"},
        }
    )

    assert sorted(line.partition(":")[0] for line in found) == [
        "cpu.colour",
        "cpu.governor",
        "hostname",
        "paths.nic.serial",
        "peer.uptime_s",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "00:11:22:33:44:55",
        "to 198.51.100.7 by eth0",
        "via fe80::1%eth0",
        "[2001:db8::1]:8000",
        "198.51.100.7:8000",
        "198.51.100.7: gone",
        "sent to 198.51.100.7.",
        "fe80::7: gone",
        "nic: enx001122334455 of this host",
        "0123456789abcdef0123456789abcdef",
        "12345678-1234-1234-1234-123456789abc",
    ],
)
def test_addresses_are_withheld(text):
    """A text with an address in it is not stored, whatever fact it is of."""
    facts = {"paths": {"nic": {"says": text, "mtu": 1500, "mac": "x"}}}

    assert hostfacts.check(facts)
    assert hostfacts.public(facts) == {
        "paths": {"nic": {"says": hostfacts.WITHHELD, "mtu": 1500}}
    }


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("firmware", "226.0.145.1/pkg 226.1.107001"),
        ("says", "Retpolines; STIBP: disabled; BHI: Retpoline"),
        ("bus", "pci 0000:3b:00.0"),
        ("says", "-6 udp at 12:30:05"),
        ("device", "enp3s0f0np0"),
    ],
)
def test_what_only_looks_so_is_kept(key, text):
    """Versions, bus addresses and times are none of a host's addresses."""
    facts = {"paths": {"nic": {key: text}}}

    assert hostfacts.public(facts) == facts
    assert hostfacts.check(facts) == []


def test_a_peer_has_the_same_facts():
    """What is known of a fact is known of the peer's, too."""
    assert hostfacts.about("peer.cpu.governor") == hostfacts.about("cpu.governor")
    assert hostfacts.about("peer.device.mtu").changes is Change.HAND
    assert hostfacts.about("peer.cpu.colour") is None


def test_the_registry_holds_each_fact_once():
    """No two entries have one name, and each says what it is."""
    names = [fact.name for fact in hostfacts.REGISTRY]

    assert len(set(names)) == len(names)
    assert all(fact.meaning and fact.unit for fact in hostfacts.REGISTRY)


def test_stored_runs_are_on_the_schema(checkout: Path):
    """The facts of every run in the repository are in the registry."""
    files = [
        *checkout.glob("data/runs/*/host-*.json"),
        *checkout.glob("tests/data/**/host-*.json"),
    ]
    assert files
    for path in files:
        assert hostfacts.check(json.loads(path.read_text())) == [], path


def test_the_dictionary_tells_every_fact():
    """Each fact is a row of the dictionary, the private ones too."""
    text = "\n".join(hostfacts.dictionary())

    for fact in hostfacts.REGISTRY:
        own = fact.name.removeprefix("paths.*.").removeprefix("device.")
        assert f"| `{own}` |" in text, own
