"""The output folder in trouble: full, read-only, in use, of a dead run, of another version; and
clocks and stores that are wrong.
"""

import itertools
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import raydepth
from raydepth.errors import JobError
from raydepth.job import Job
from raydepth.output.folder import LOCK
from raydepth.run.pipeline import WorkerFailed, run
from tests.faults.conftest import FRAMES
from tests.faults.processes import kill_and_outlive, shards, start, wait_for
from tests.support.clips import write_clip
from tests.support.runs import differing, small_job

pytestmark = pytest.mark.timeout(200)

JobMaker = Callable[..., Job]

WALL_CLOCK = re.compile(r"\btime\.time(_ns)?\(|datetime\.(now|today)|\bfrom time import")


def quiet(line: str) -> None:
    """Progress goes nowhere."""


@contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[Path]:
    """A small file system of its own; skips where one may not be mounted."""
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True
    ).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_fills_up(job: JobMaker, undisturbed: Path, tmp_path: Path, stand_ins: object):
    """The run says so and ends; with space made, it goes on, and no shard is torn."""
    with tmpfs(tmp_path / "disk", "size=300k") as disk:
        out = disk / "out"
        with pytest.raises(WorkerFailed, match="No space left on device"):
            run(job(out), echo=quiet)
        left = shards(out)
        assert 0 < left < 10
        subprocess.run(["mount", "-o", "remount,size=50m", disk], check=True)
        assert run(job(out), echo=quiet).frames["done"] == FRAMES
        assert not differing(out, undisturbed)
        assert not list(out.rglob("*.tmp"))


def test_a_read_only_disk(job: JobMaker, tmp_path: Path, stand_ins: object):
    with tmpfs(tmp_path / "disk", "size=1m") as disk:
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(
            JobError, match=r"output.path: .* cannot be written: .*Read-only file system"
        ):
            run(job(disk / "out"), echo=quiet)


def test_two_runs_on_one_folder(job: JobMaker, undisturbed: Path, tmp_path: Path):
    """The second refuses; a stopped process still holds its lock; a killed one does not."""
    out = tmp_path / "out"
    first = start(job(out), tmp_path, editor="tests.faults.editors:Slow")
    wait_for(lambda: shards(out) >= 1)
    first.send_signal(signal.SIGSTOP)
    with pytest.raises(JobError, match=f"in use by another run .*process {first.pid}"):
        run(job(out), echo=quiet)
    first.send_signal(signal.SIGCONT)
    kill_and_outlive(first)
    assert start(job(out), tmp_path).wait(100) == 0
    assert not differing(out, undisturbed)


def test_a_job_that_only_a_worker_finds_wrong_changes_nothing(
    job: JobMaker, undisturbed: Path, tmp_path: Path
):
    """Exit 2, one line of words, and the earlier results byte for byte, though they were to go."""
    out = tmp_path / "out"
    shutil.copytree(undisturbed, out)
    before = contents(out)
    wrong = job(out, output__overwrite=True)
    process = start(wrong, tmp_path, editor="tests.faults.editors:Refusing")
    assert process.wait(100) == 2
    assert contents(out) == before
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[-1] == "raydepth: depth.model: what only a worker can see"
    assert not any("Traceback" in line for line in lines)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a run's folder but its lock."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != LOCK)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_folder_of_another_version(
    job: JobMaker, undisturbed: Path, tmp_path: Path, stand_ins: pytest.MonkeyPatch
):
    version = raydepth.__version__
    stand_ins.setattr(raydepth, "__version__", "9.9.9")
    with pytest.raises(JobError, match=rf"raydepth: {version} there, 9\.9\.9 here"):
        run(job(undisturbed), echo=quiet)


@pytest.mark.slow
def test_dates_from_elsewhere_change_nothing(
    job: JobMaker, undisturbed: Path, tmp_path: Path, stand_ins: pytest.MonkeyPatch
):
    """Shards may come from any time, and nothing in raydepth asks the wall clock: durations are of
    a steady one.
    """
    out = tmp_path / "out"
    run(job(out, input__limit=16), echo=quiet)
    for path, years in zip(sorted(out.rglob("*")), itertools.cycle((-20, 20)), strict=False):
        os.utime(path, (path.stat().st_mtime + years * 365 * 86400,) * 2)
    outcome = run(job(out, run__max_hours=0.05), echo=quiet)
    assert (outcome.frames["done"], outcome.stopped) == (FRAMES, None)
    assert not differing(out, undisturbed)
    package = Path(raydepth.__file__).parent
    asking = {path.name for path in package.rglob("*.py") if WALL_CLOCK.search(path.read_text())}
    assert asking <= {"lease.py"}, "it may: when a run began is written there for people to read"


@pytest.mark.slow
def test_an_object_store_much_too_small(tmp_path: Path, stand_ins: object):
    """80 MB for parts of 59 MB, two at work and more decoded ahead: spilled or waited for, never a
    deadlock.
    """
    clip = write_clip(tmp_path / "clip.mp4", frames=96, height=480, width=640)
    fields = {"input__size": None, "output__shard_frames": 64, "output__keep": ["edited"]}
    small = small_job(clip, tmp_path / "small", **fields, run__object_store_gb=0.08, run__workers=1)
    assert run(small, echo=quiet).frames["done"] == 96
    assert run(small_job(clip, tmp_path / "large", **fields), echo=quiet).frames["done"] == 96
    assert not differing(tmp_path / "small", tmp_path / "large")
