"""How many CPUs this process may use: fewer than the machine has in a container or under a batch
system. Imports the standard library only.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def available_cpus(root: Path = Path("/")) -> int:
    """CPUs that this process may use, at least 1.

    The least of the machine's CPUs, the process's affinity where the system has one (macOS and
    Windows have none), and the quotas of its control groups, of version 1 or 2, rounded up.

    Args:
        root: where ``proc`` and ``sys`` are looked for.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min([cpus, *map(math.ceil, _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """CPUs that each control group around this process allows, where it sets a limit."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if number == "0":
            hierarchy = root / "sys/fs/cgroup"
        elif "cpu" in controllers.split(","):
            hierarchy = root / "sys/fs/cgroup" / controllers
            if not hierarchy.is_dir():
                hierarchy = root / "sys/fs/cgroup/cpu"
        else:
            continue
        # A container sees its own group at the top, though its path may be the host's.
        inner = PurePosixPath("/", path)
        for group in (inner, *inner.parents):
            yield from _quota(hierarchy / group.relative_to("/"))


def _quota(group: Path) -> Iterator[float]:
    if both := _text(group / "cpu.max").split():
        quota, period = [*both, "100000"][:2]
    else:
        quota = _text(group / "cpu.cfs_quota_us").strip()
        period = _text(group / "cpu.cfs_period_us").strip()
    if quota.isdigit() and period.isdigit() and int(quota) and int(period):  # else "max" or -1
        yield int(quota) / int(period)


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, ValueError):
        return ""
