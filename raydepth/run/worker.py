"""A worker on Ray: loads its models once, then calibrates shots and edits parts as rows come."""

import logging
import os
import pickle
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager

import numpy as np

from raydepth.batch import Batch, video_of
from raydepth.errors import JobError, JobNote
from raydepth.frames.segments import Segment
from raydepth.job import Job
from raydepth.output.folder import OutputFolder
from raydepth.output.plan import Part
from raydepth.output.record import ClipCalibration
from raydepth.run.calibrator import ClipCalibrator, beating, calibration_unit
from raydepth.run.cluster import workers_here
from raydepth.run.decoder import Decoder
from raydepth.run.device_errors import poisons_process
from raydepth.run.editor import PartEditor, Step, Together
from raydepth.run.identity import check_worker
from raydepth.run.load import WorkerModels, device_and_dtype, load_worker
from raydepth.run.log import forward_to
from raydepth.run.tracker import Attempt, Calibrated, Failure, Progress

_logger = logging.getLogger(__name__)

WAIT_S = 0.05
"""A worker that waits for the output folder, or for a shot's calibration, looks so often."""

BuildSteps = Callable[[Job, WorkerModels, str, ClipCalibration | None], list[Step]]
"""The steps of one shot's micro-batches, from what is loaded; see ``run.steps.build_steps``."""


class Worker:
    """The state of one actor: models, and the shot that is being edited.

    Rows are of two kinds. ``calibrate`` names a shot to measure; such rows come first, so that the
    workers measure several shots at a time, but nothing depends on them: a worker that has to edit
    a shot which nobody has calibrated, or whose calibrating worker has died, does it itself.
    """

    def __init__(
        self,
        job: Job,
        folder: OutputFolder,
        tried: dict[str, int],
        progress: Progress,
        build_steps: BuildSteps,
        names: Mapping[str, str] | None = None,
        elsewhere: Set[str] = frozenset(),
        cut: bytes | None = None,
        expected: Mapping[str, str] | None = None,
    ) -> None:
        """Loads the models; nothing is written before the tracker says that the folder is open.

        Args:
            job: the resolved job.
            folder: where shards go.
            tried: attempts that earlier runs made on frames that failed, by frame id.
            progress: the tracker.
            build_steps: what a micro-batch goes through.
            names: what the clips are called, by video id; others go by that.
            elsewhere: frames that are done in another shard than their part's.
            cut: the inserted object, as PNG, where it is not in the folder yet.
            expected: which models the run was begun with; see ``run.identity.check_worker``.
        """
        forward_to(progress)
        if (starts := progress.starting()) > job.run.workers + job.run.attempts:
            raise RuntimeError(
                f"worker processes died {starts - 1} times while loading models; is memory too "
                "small for them?"
            )
        self._job, self._folder, self._tried, self._progress = job, folder, tried, progress
        self._build_steps, self._names, self._elsewhere = build_steps, names or {}, elsewhere
        self._together = Together(job.run.batch)
        self._decoder = Decoder(job, progress)
        self._editor: tuple[str, PartEditor] | None = None
        with self._reporting(), self._noting(), _with_cut(job, cut) as readable:
            self._models = self.load(readable)
            check_worker(job, expected or {})
        progress.started()

    @staticmethod
    def load(job: Job) -> WorkerModels:
        """Every model of this worker, on its device."""
        return load_worker(job, **device_and_dtype(job, workers_here=workers_here(job.run)))

    def measure(self, segments: list[Segment], attempt: Attempt) -> ClipCalibration | None:
        """One shot's calibration; see ``ClipCalibrator``."""
        return ClipCalibrator(self._job, self._models, self._progress)(segments, attempt)

    def steps(self, shot: str, clip: ClipCalibration | None) -> list[Step]:
        """What one shot's micro-batches go through."""
        return self._build_steps(self._job, self._models, shot, clip)

    def __call__(self, rows: dict[str, np.ndarray]) -> Iterator[dict[str, list]]:
        """One row: ``calibrate`` (a shot id) and nothing out, or, where that is empty, ``parts``
        or a row of the decoder's, and rows ``part``, ``done``, ``failed``, ``bytes`` out.
        """
        if not self._may_begin():
            return
        with self._reporting():
            if shot := str(rows["calibrate"][0]):
                self._calibrate(shot, wait=False)
                return
        for part, decoded in self._decoded(rows):
            with self._reporting():
                editor = self._editor_of(part.shot_id)
                if editor is None or self._progress.stopping():
                    return
                result = editor(part, decoded, self._tried)
            yield {name: [value] for name, value in result.items()}

    def _may_begin(self) -> bool:
        """Waits until the output folder is this job's; False where the run stops before."""
        while not self._progress.opened():
            if self._progress.stopping():
                return False
            time.sleep(WAIT_S)
        return True

    def _decoded(self, rows: dict[str, np.ndarray]) -> Iterator[tuple[Part, list[Batch]]]:
        if "parts" in rows:
            yield from self._decoder.parts(pickle.loads(rows["parts"][0]))
            return
        columns = {"rgb": rows["rgb"][0], **pickle.loads(rows["columns"][0])}
        starts = range(0, len(columns["rgb"]), self._job.run.batch)
        split = [
            {name: column[i : i + self._job.run.batch] for name, column in columns.items()}
            for i in starts
        ]
        yield pickle.loads(rows["part"][0]), split

    def _editor_of(self, shot: str) -> PartEditor | None:
        """The editor of a shot's parts, once it is calibrated; None where the run stops before."""
        if self._editor is None or self._editor[0] != shot:
            known = self._calibrate(shot, wait=True)
            if known is None:
                return None
            steps = self.steps(shot, known.clip)
            editor = PartEditor(
                self._job,
                known.clip,
                steps,
                self._folder,
                self._progress,
                name=self._names.get(video_of(shot)),
                together=self._together,
                elsewhere=self._elsewhere,
            )
            self._editor = shot, editor
        return self._editor[1]

    def _calibrate(self, shot: str, *, wait: bool) -> Calibrated | None:
        """A shot's calibration as the driver has kept it, measured here where no other worker is at
        it.

        Nothing is edited by a calibration that is not kept: a resumed run must find it. Waiting is
        no sign of life, and ends when the run is stopping (None); without ``wait`` another worker's
        work is not waited for.
        """
        unit = calibration_unit(shot)
        while not self._progress.stopping():
            if (known := self._progress.calibration(shot)) is not None:
                return known
            attempt = self._progress.claim(unit)
            if attempt is not None and not attempt.finished:
                with beating(self._progress, unit):
                    clip = self.measure(self._progress.segments(shot), attempt)
                if not self._progress.stopping():
                    self._progress.calibrated(shot, clip)
                self._progress.finish(unit, 0, 0)
            elif not wait:
                break
            else:
                time.sleep(WAIT_S)
        return None

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Passes on to the terminal what the job's user should read (``JobNote``)."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", JobNote)
            yield
        for warning in caught:
            if isinstance(warning.message, JobNote):
                self._progress.note(str(warning.message))

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Tells the tracker why a worker gives up the run, before Ray hears of it.

        Where the process can use its device no more, it ends instead: Ray replaces it, and what it
        was at is tried again as after any death.
        """
        try:
            yield
        except JobError as error:
            self._progress.fail(Failure(str(error), wrong_job=True))
            raise
        except Exception as error:
            if poisons_process(error):
                _logger.exception("this process can use its device no more, and ends")
                end_process()
            _logger.exception("the worker gives up the run")
            self._progress.fail(Failure(f"{type(error).__name__}: {error}", wrong_job=False))
            raise


@contextmanager
def _with_cut(job: Job, cut: bytes | None) -> Iterator[Job]:
    """The job with its cut-out object where it can be read: it comes into the output folder only
    after the models are loaded.
    """
    if cut is None:
        yield job
        return
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        file.write(cut)
        file.flush()
        yield job.with_object(file.name)


def end_process() -> None:
    """Ends this process at once: what hangs or is broken in it would keep it from ending."""
    os._exit(1)
