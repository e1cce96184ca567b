"""A worker without Ray: one that has to edit a clip waits for its calibration, or measures it."""

import pickle
import threading
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.stages import StandIn
from raydepth.errors import JobNote
from raydepth.frames.find import find_segments
from raydepth.job import Job
from raydepth.output.folder import OutputFolder
from raydepth.output.plan import cut_parts
from raydepth.output.record import CALIBRATIONS, ClipCalibration, read_calibrations
from raydepth.output.shards import FRAMES
from raydepth.run import calibrator
from raydepth.run import tracker as tracking
from raydepth.run.calibrator import ClipCalibrator
from raydepth.run.keeper import CalibrationKeeper
from raydepth.run.load import WorkerModels
from raydepth.run.pipeline import build_steps
from raydepth.run.tracker import Attempt, Tracker
from tests.support.clips import write_clip
from tests.support.runs import small_job

pytestmark = pytest.mark.timeout(60)


class Named:
    """A tracker as the worker of this name sees it."""

    def __init__(self, tracker: Tracker, name: str) -> None:
        self._tracker = tracker
        self.claim, self.beat = partial(tracker.claim, who=name), partial(tracker.beat, who=name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tracker, name)


class Flow:
    """One clip, its tracker and its folder, and workers that measure it by ``measure``."""

    def __init__(self, clip: Path, out: Path) -> None:
        self.job: Job = small_job(clip, out, output__keep=["edited"])
        self.folder = OutputFolder.at(str(out))
        self.folder.prepare()
        self.segments = find_segments(self.job.input).segments
        self.video = self.segments[0].video
        self.tracker = Tracker()
        self.tracker.expect({self.video: self.segments}, {})
        self.tracker.open()
        self.measured: list[str] = []
        self.keeper = CalibrationKeeper(self.folder, self.tracker, {})

    def worker(self, name: str, before: Callable[[], object] = lambda: None) -> StandIn:
        flow = self

        class Measuring(StandIn):
            def measure(self, segments, attempt) -> ClipCalibration | None:
                flow.measured.append(name)
                before()
                return super().measure(segments, attempt)

        return Measuring(self.job, self.folder, {}, Named(self.tracker, name), build_steps)  # type: ignore[arg-type]

    def calibrate(self, worker: StandIn) -> None:
        assert not list(worker({"calibrate": np.array([self.video])}))

    def edit(self, worker: StandIn) -> list:
        parts = cut_parts(self.segments, batch=4, shard_frames=8, limit=None)
        row = {"calibrate": np.array([""]), "parts": np.array([pickle.dumps(parts)], object)}
        return list(worker(row))

    def shards(self) -> int:
        return len(self.folder.files(FRAMES))


@pytest.fixture
def flow(tmp_path: Path) -> Flow:
    return Flow(write_clip(tmp_path / "clip.mp4", frames=12), tmp_path / "out")


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_nothing_begins_before_the_folder_is_the_runs(flow: Flow):
    tracker = Tracker()
    tracker.expect({flow.video: flow.segments}, {})
    flow.tracker = tracker
    worker = flow.worker("a")
    assert tracker.ready(), "its models are loaded"
    waiting = in_thread(lambda: flow.calibrate(worker))
    time.sleep(0.4)
    assert waiting.is_alive()
    assert not flow.measured
    tracker.open()
    waiting.join(20)
    assert flow.measured == ["a"]


def test_a_worker_that_waits_for_the_folder_ends_when_the_run_is_stopping(flow: Flow):
    flow.tracker = tracker = Tracker()
    rows: list[list] = []
    waiting = in_thread(lambda: rows.append(flow.edit(flow.worker("a"))))
    wait_for(tracker.ready)
    tracker.stop()
    waiting.join(20)
    assert rows == [[]]
    assert not tracker.ready(), "a run that is stopping does not change the folder any more"


def test_what_loading_has_to_say_reaches_the_tracker_and_a_cut_out_object_the_models(flow: Flow):
    seen: list[bytes] = []

    class Noting(StandIn):
        @classmethod
        def load(cls, job: Job) -> Any:
            seen.append(Path(job.edit.object).read_bytes())
            warnings.warn(JobNote("the prompt is cut"), stacklevel=1)
            return super().load(job)

    edit = {"kind": "insert", "object": "later.png", "point": [0.5, 0.5]}
    job = small_job(["a.mp4"], Path("out"), edit=edit)
    for _ in range(2):  # two workers
        Noting(job, flow.folder, {}, flow.tracker, build_steps, cut=b"the object")
    assert seen == [b"the object"] * 2
    assert flow.tracker.snapshot().notes == ("the prompt is cut",)


def test_a_part_waits_for_the_calibration_that_another_worker_measures(flow: Flow):
    go = threading.Event()
    a, b = flow.worker("a", go.wait), flow.worker("b")
    calibrating = in_thread(lambda: flow.calibrate(a))
    wait_for(lambda: flow.measured)
    signs = flow.tracker.snapshot().silent_s
    editing = in_thread(lambda: flow.edit(b))
    time.sleep(0.6)
    assert flow.measured == ["a"]
    assert flow.shards() == 0
    assert flow.tracker.snapshot().silent_s > signs  # only the decoder's, at the very beginning
    flow.calibrate(b)  # a calibrate row waits for nobody
    go.set()
    calibrating.join(10)
    time.sleep(0.3)
    assert flow.shards() == 0, "edited by a calibration that was not kept"
    flow.keeper()
    assert list(read_calibrations(flow.folder)) == [flow.video]
    editing.join(20)
    assert flow.shards() == 2
    assert flow.measured == ["a"]


def test_a_worker_measures_the_clip_that_it_needs_itself_where_nobody_does(flow: Flow):
    worker = flow.worker("a")
    editing = in_thread(lambda: flow.edit(worker))
    wait_for(flow.tracker.measured)
    flow.keeper()
    editing.join(20)
    assert flow.shards() == 2
    flow.calibrate(worker)  # its row comes late
    assert flow.measured == ["a"]


def test_a_waiting_worker_ends_when_the_run_is_stopping(flow: Flow):
    assert flow.tracker.claim(calibrator.calibration_unit(flow.video), "a") is not None
    rows: list[list] = []
    waiting = in_thread(lambda: rows.append(flow.edit(flow.worker("b"))))
    time.sleep(0.4)
    assert waiting.is_alive()
    flow.tracker.stop()
    waiting.join(10)
    assert rows == [[]]
    assert flow.shards() == 0


def test_a_calibration_that_a_stop_cut_short_is_not_kept(flow: Flow):
    flow.calibrate(flow.worker("a", flow.tracker.stop))
    assert flow.measured == ["a"]
    flow.keeper(last=True)
    assert not flow.folder.exists(CALIBRATIONS)


def test_a_worker_that_died_while_it_calibrated_is_replaced_by_one_that_waits(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tracking, "LEASE_S", 0.5)
    assert flow.tracker.claim(calibrator.calibration_unit(flow.video), "a") is not None
    editing = in_thread(lambda: flow.edit(flow.worker("b")))
    wait_for(flow.tracker.measured)
    flow.keeper()
    editing.join(20)
    assert flow.measured == ["b"]
    assert flow.shards() == 2
    assert flow.tracker.snapshot().restarts == 1


def test_a_worker_that_takes_long_keeps_its_claim(flow: Flow, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tracking, "LEASE_S", 0.5)
    monkeypatch.setattr(calibrator, "BEAT_S", 0.05)
    calibrating = in_thread(lambda: flow.calibrate(flow.worker("a", lambda: time.sleep(1.5))))
    wait_for(lambda: flow.measured)
    editing = in_thread(lambda: flow.edit(flow.worker("b")))
    calibrating.join(20)
    flow.keeper()
    editing.join(20)
    assert flow.measured == ["a"]
    assert flow.shards() == 2


def test_a_clip_on_which_too_many_workers_died_has_no_scale(flow: Flow):
    calibrate = ClipCalibrator(flow.job, WorkerModels(None, None, None), flow.tracker)  # type: ignore[arg-type]
    assert calibrate(flow.segments, Attempt(flow.job.run.attempts + 1, False, {})) is None


def test_all_calibrations_are_kept_and_none_is_lost(tmp_path: Path):
    folder, tracker = OutputFolder.at(str(tmp_path)), Tracker()
    clip = StandIn.measure(None, [], None)  # type: ignore[arg-type]
    assert clip is not None
    keeper = CalibrationKeeper(folder, tracker, {"old": clip})
    keeper()
    assert not folder.exists(CALIBRATIONS)
    tracker.calibrated("b", clip)
    tracker.calibrated("none", None)
    keeper()
    assert list(read_calibrations(folder)) == ["b", "old"]
    tracker.calibrated("a", clip)
    keeper()  # too soon after the last time, perhaps
    keeper(last=True)
    assert list(read_calibrations(folder)) == ["a", "b", "old"]
    assert not tracker.measured()
