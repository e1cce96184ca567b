"""The log of a run: what is in it, where it is said to be, and that no run ends for it."""

import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml

from raydepth import cli
from raydepth.errors import JobError
from raydepth.output.folder import OutputFolder
from raydepth.run import log, pipeline
from raydepth.run.editor import edit_batch
from raydepth.run.tracker import LOG_RECORDS, Tracker
from tests.faults.editors import Poisoned
from tests.support.clips import write_clip
from tests.support.runs import small_job


@pytest.fixture(autouse=True)
def loggers():
    """Gives the process's loggers back."""
    root, named = logging.getLogger(), [logging.getLogger(name) for name in log.LIBRARIES]
    kept = [(logger, logger.handlers[:], logger.__class__) for logger in (root, *named)]
    yield
    logging.captureWarnings(False)
    for logger, handlers, kind in kept:
        logger.__class__ = kind
        logger.handlers[:] = handlers


@dataclass(frozen=True)
class Ended:
    log: str | None = None


@log.phase
def work(problem: BaseException | None) -> None:
    logging.getLogger("transformers.modeling").warning("some weights are new")
    if problem is not None:
        raise problem


@log.logged
def run(job, *, folder: OutputFolder | None, problem: BaseException | None = None, echo=print):
    echo("4 frames of 1 videos; 4 to do")
    if folder is not None:
        log.open_log(folder, "logs")
    work(problem)
    return Ended()


def logs(folder: Path) -> list[Path]:
    return sorted(folder.glob("logs/*.log"))


def test_a_log_says_what_was_run_with_what_and_how_long_it_took(tmp_path: Path, capsys):
    log.route_libraries()
    job = small_job(["ä.mp4"], tmp_path)
    for _ in range(2):
        outcome = run(job, folder=OutputFolder.at(str(tmp_path)))
    assert len(logs(tmp_path)) == 2  # one a run
    assert outcome.log in map(str, logs(tmp_path))
    text = Path(outcome.log).read_text(encoding="utf-8")
    for what in (
        "command: ",
        '"raydepth": "',
        "- ä.mp4",
        "4 frames of 1 videos; 4 to do",
        "work begins",
        "work took 0.",
        "WARNING transformers.modeling: some weights are new",
    ):
        assert what in text, what
    shown = capsys.readouterr()
    assert shown.out == "4 frames of 1 videos; 4 to do\n" * 2 and shown.err == ""


def test_a_run_that_fails_says_where_its_traceback_is(tmp_path: Path):
    problem = RuntimeError("no more")
    with pytest.raises(RuntimeError) as caught:
        run(
            small_job(["a.mp4"], tmp_path),
            folder=OutputFolder.at(str(tmp_path)),
            problem=problem,
        )
    (file,) = logs(tmp_path)
    assert caught.value.__notes__ == [f"log: {file}"]
    assert "Traceback (most recent call last)" in file.read_text()
    assert "RuntimeError: no more" in file.read_text()


def test_a_refused_job_leaves_nothing(tmp_path: Path):
    with pytest.raises(JobError) as caught:
        run(small_job(["a.mp4"], tmp_path), folder=None, problem=JobError("input.size"))
    assert not list(tmp_path.iterdir()) and not hasattr(caught.value, "__notes__")


def test_no_run_ends_for_its_log(tmp_path: Path):
    (tmp_path / "logs").touch()  # a file where the folder should be
    assert run(small_job(["a.mp4"], tmp_path), folder=OutputFolder.at(str(tmp_path))).log


def test_a_log_in_object_storage_is_written_when_the_run_ends(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(OutputFolder, "is_local", False)
    (tmp_path / "logs").mkdir()
    with pytest.raises(ZeroDivisionError):
        run(
            small_job(["a.mp4"], tmp_path),
            folder=OutputFolder.at(str(tmp_path)),
            problem=ZeroDivisionError(),
        )
    # The local folder stands for the bucket: whole files, under their names.
    (file,) = logs(tmp_path)
    assert "ZeroDivisionError" in file.read_text() and "work begins" in file.read_text()


def test_tracebacks_of_frames_come_from_the_workers_within_bounds(tmp_path: Path, monkeypatch):
    tracker = Tracker()
    log.forward_to(tracker)
    log.forward_to(tracker)  # a worker replaced in its process speaks once

    def fail(batch):
        raise ValueError("x" * 10 * log.RECORD_CHARS + " the last word")

    names = np.array(["clip:7"], object)
    batch = {
        "frame_id": names,
        "rgb": np.zeros((1, 4, 4, 3), np.uint8),
        "status": np.array(["ok"], object),
        "error_type": np.array([""], object),
        "error_message": np.array([""], object),
    }
    assert list(edit_batch([fail], batch)["status"]) == ["error"]
    (text,) = tracker.logged()
    assert text.endswith(" the last word")
    assert len(text) < log.RECORD_CHARS + 100 and not tracker.logged()
    for i in range(2 * log.WORKER_RECORDS):
        logging.getLogger("raydepth.run").warning("again %d", i)
    assert len(tracker.logged()) == log.WORKER_RECORDS - 1
    for i in range(2 * LOG_RECORDS):
        tracker.log(str(i))
    assert len(texts := tracker.logged()) == LOG_RECORDS - log.WORKER_RECORDS
    assert texts[-1] == "workers log no more; the log is full"

    def broken(text: str) -> None:
        raise ConnectionError("the tracker is gone")

    monkeypatch.setattr(tracker, "log", broken)
    log.forward_to(tracker)
    logging.getLogger("raydepth.run").warning("nobody hears this")


def test_libraries_do_not_print_however_they_try(capsys):
    log.route_libraries()
    logger = logging.getLogger("transformers")
    logger.addHandler(logging.StreamHandler(sys.stderr))
    logger.propagate = False
    logger.warning("loud")
    logging.getLogger("av").warning("loud too")
    assert capsys.readouterr().err == ""


@pytest.mark.timeout(280)
def test_a_run_keeps_a_log_and_says_where_when_frames_failed(tmp_path: Path, capsys, monkeypatch):
    """The whole way: a frame fails on a worker, its traceback is in the driver's log."""
    clip = write_clip(tmp_path / "clip.mp4", frames=12)
    job = small_job(clip, tmp_path / "out").model_dump(mode="json")
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    monkeypatch.setattr(pipeline, "Worker", Poisoned)
    monkeypatch.setattr(sys, "argv", ["raydepth", "run", "-v", str(tmp_path / "job.yaml")])
    with pytest.raises(SystemExit) as end:
        cli.main()
    shown = capsys.readouterr()
    (file,) = logs(tmp_path / "out")
    text = file.read_text(encoding="utf-8")
    assert end.value.code == 3 and f"log: {file}" in shown.out
    assert (
        ": ZeroDivisionError: " in text
        and "Traceback" in text
        and "calibrate_and_edit took" in text
    )
    assert "Traceback" in shown.err and "Traceback" not in shown.out
