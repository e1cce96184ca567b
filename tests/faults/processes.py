"""Starting, watching and ending the processes of a run from outside, as a user or a broken machine
does.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import yaml

from raydepth.job import Job

ROOT = Path(__file__).resolve().parents[2]


def start(
    job: Job, folder: Path, *arguments: str, editor: str | None = "benchmarks.stages:StandIn"
) -> subprocess.Popen:
    """``raydepth run`` in a process of its own, its output appended to ``folder/log``.

    Args:
        job: what is run.
        folder: for the job file and the log.
        arguments: of ``run``, after the job.
        editor: the class of the workers, ``module:name``; None: the real ones.
    """
    file = folder / "job.yaml"
    file.write_text(yaml.safe_dump(job.model_dump(mode="json")))
    module = "raydepth" if editor is None else "tests.faults.driver"
    log = open(folder / "log", "a")  # noqa: SIM115 (belongs to the process)
    return subprocess.Popen(
        [sys.executable, "-m", module, "run", str(file), *arguments],
        stdout=log,
        stderr=log,
        cwd=ROOT,
        env=os.environ | {"RAYDEPTH_TEST_WORKER": editor or "", "PYTHONUNBUFFERED": "1"},
    )


def shards(out: Path) -> int:
    return len(list(out.glob("frames/*/[!.]*.parquet")))


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def worker(process: subprocess.Popen, title: str) -> psutil.Process | None:
    """The Ray worker of a run whose title holds these words, while it is at work."""
    children = psutil.Process(process.pid).children(recursive=True)
    return next((child for child in children if title in worker_title(child)), None)


def worker_title(process: psutil.Process) -> str:
    """What a Ray worker says it is at; empty for other processes and those that have just ended."""
    try:
        title = " ".join(process.cmdline())
    except psutil.Error:
        return ""
    return title if title.startswith(("ray::MapWorker", "ray::FlatMap")) else ""


def kill_and_outlive(process: subprocess.Popen) -> None:
    """kill -9 of a run's driver; returns when the workers that it had are gone too.

    Killed while Ray starts, helpers of Ray's own (its node agents) can stay behind, idle; they are
    ended here.
    """
    children = psutil.Process(process.pid).children(recursive=True)
    at_work = [child for child in children if worker_title(child)]
    process.kill()
    process.wait(30)
    _, alive = psutil.wait_procs(at_work, timeout=30)
    assert not alive, f"workers of a killed run live on: {alive}"
    _, alive = psutil.wait_procs(children, timeout=3)
    for child in alive:
        child.kill()
