"""The CPUs that a process may use: affinity, and the quotas of control groups of both versions."""

import os
from pathlib import Path

import pytest

from raydepth.run.cpus import available_cpus


@pytest.fixture(autouse=True)
def sixteen(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


def machine(root: Path, groups: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_affinity_counts_and_where_there_is_none_the_machines_cpus_do(tmp_path, monkeypatch):
    assert available_cpus(tmp_path) == 8
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    assert available_cpus(tmp_path) == 16
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cpus(tmp_path) == 1


@pytest.mark.parametrize(
    ("groups", "files", "cpus"),
    [
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "250000 100000\n"}, 3),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "10000 100000\n"}, 1),
        ("0::/a/b\n", {"sys/fs/cgroup/a/cpu.max": "300000 100000\n"}, 3),
        ("0::/a\n", {"sys/fs/cgroup/a/cpu.max": "1600000 100000\n"}, 8),
        # version 1, seen from the host, from a container, and without a limit
        (
            "4:cpu,cpuacct:/docker/x\n1:name=systemd:/\n",
            {
                "sys/fs/cgroup/cpu/docker/x/cpu.cfs_quota_us": "400000\n",
                "sys/fs/cgroup/cpu/docker/x/cpu.cfs_period_us": "100000\n",
            },
            4,
        ),
        (
            "4:cpu,cpuacct:/docker/x\n",
            {
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "50000\n",
            },
            1,
        ),
        (
            "4:cpu:/\n",
            {
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            8,
        ),
        ("5:cpuset:/a\nnonsense\n", {}, 8),
    ],
)
def test_quotas(tmp_path, groups, files, cpus):
    assert available_cpus(machine(tmp_path, groups, files)) == cpus
