"""What runs on Ray's workers, without Ray: the calibrator of clips, the decoder of segments, the
editor of parts (steps 2 to 7).
"""

import os
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from typing import Any

import cv2
import numpy as np

from raydepth.batch import Batch
from raydepth.camera.stabilise import gather
from raydepth.camera.track import SIZE as TRACK_SIZE
from raydepth.camera.track import View
from raydepth.depth.calibrate import calibrate
from raydepth.depth.registry import load_depth
from raydepth.depth.stage import refined
from raydepth.edits.registry import fix_edit, measure_light
from raydepth.errors import JobError
from raydepth.frames.decode import batches
from raydepth.frames.segments import Segment, working_size
from raydepth.job import Job
from raydepth.layers.fill.hole import find_hole
from raydepth.layers.fill.plate import make_plate
from raydepth.layers.fill.registry import FILLERS
from raydepth.layers.planes import resolve_planes
from raydepth.layers.stage import split_at_planes
from raydepth.output.folder import OutputFolder
from raydepth.output.plan import Part
from raydepth.output.plates import write_plate
from raydepth.output.record import ClipCalibration, PlateRecord
from raydepth.output.references import write_references
from raydepth.run.tracker import Attempt, Failure, Progress
from raydepth.run.watchdog import watched
from raydepth.run.worker import PartEditor, Step, load_steps


@contextmanager
def _reporting(progress: Progress) -> Iterator[None]:
    """Tells the tracker why a worker gives up the run, before Ray hears of it."""
    try:
        yield
    except JobError as error:
        progress.fail(Failure(str(error), wrong_job=True))
        raise
    except Exception as error:
        progress.fail(Failure(f"{type(error).__name__}: {error}", wrong_job=False))
        raise


class ClipCalibrator:
    """A worker of the calibration pass: holds the depth model, turns a clip's segments into its
    ClipCalibration.
    """

    def __init__(self, job: Job, progress: Progress) -> None:
        self._job = job
        self._progress = progress
        with _reporting(progress):
            where = device_and_dtype(job)
            self._estimator = load_depth(job.depth, **where)
            load = FILLERS.of(job.layers.fill).completes_plates
            self._filler = load(job.layers.fill, where["device"]) if load else None

    def __call__(self, rows: dict[str, np.ndarray]) -> dict[str, list]:
        """One row ``segments`` (pickled list[Segment]) -> one row ``video``, ``clip`` (pickled
        ClipCalibration or None).

        A clip of whose sampled frames none gives depth, or on which workers died ``run.attempts``
        times, has no scale (None); its frames become error rows later.
        """
        with _reporting(self._progress):
            segments: list[Segment] = pickle.loads(rows["segments"][0])
            return {"video": [segments[0].video], "clip": [pickle.dumps(self.calibrate(segments))]}

    def calibrate(self, segments: list[Segment]) -> ClipCalibration | None:
        """Measures one clip; see __call__."""
        unit = f"calibrate {segments[0].video}"
        attempt = self._progress.begin(unit)
        samples = (
            list(self._sampled(segments, unit)) if attempt.number <= self._job.run.attempts else []
        )
        clip = (
            self._fix(segments, samples, unit)
            if samples and not self._progress.stopping()
            else None
        )
        self._progress.finish(unit, 0, 0)
        # A scale from half of the samples, or a track of half of the frames, must not be kept.
        return None if self._progress.stopping() else clip

    def _fix(
        self, segments: list[Segment], samples: list[tuple[np.ndarray, np.ndarray]], unit: str
    ) -> ClipCalibration:
        maps = [raw for raw, _ in samples]
        scale = calibrate(maps, estimator=self._estimator.name, kind=self._estimator.kind)
        sampled = [scale.normalise(raw) for raw in maps]
        frames = [rgb for _, rgb in samples]
        held = gather(frames, sampled) if self._job.depth.stabilise else None
        sampled = [
            refined(rgb, depth, held, self._job.depth.guided)
            for rgb, depth in zip(frames, sampled, strict=True)
        ]
        if held is not None:
            write_references(OutputFolder.at(self._job.output.path), segments[0].video, held)
        planes = resolve_planes(self._job.layers.planes, sampled, sampled[0], scale)
        edit = fix_edit(
            self._job.edit, sampled, frames[0], scale, lambda: self._views(segments, unit)
        )
        plate = self._plate(segments[0].video, frames, sampled, planes)
        light = None
        if self._job.compose.matched_light.asked:
            light = measure_light(self._job.edit, self._job.layers, frames, sampled, planes, edit)
        return ClipCalibration(
            scale, planes, edit, plate, light, 0 if held is None else len(held.rgb)
        )

    def _views(self, segments: list[Segment], unit: str) -> Iterator[View]:
        """The clip's wanted frames for tracking, small and grey; ends early when the run is
        stopping.
        """
        for segment in segments:
            height, width = working_size(segment.height, segment.width, TRACK_SIZE)
            small = replace(segment, height=height, width=width)
            for batch in watched(
                batches(small, 8), self._job.run.decode_timeout_s, unit, self._progress
            ):
                self._progress.tick(unit, 0)
                for pts, rgb, status in zip(
                    batch["pts"], batch["rgb"], batch["status"], strict=True
                ):
                    if self._progress.stopping():
                        return
                    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) if status == "ok" else None
                    yield View(int(pts), grey, segment.width / segment.height)

    def _plate(
        self,
        video: str,
        frames: list[np.ndarray],
        inv_depths: list[np.ndarray],
        planes: tuple[float, ...],
    ) -> PlateRecord | None:
        """Makes and keeps the clip's plate where the job wants one."""
        layers = self._job.layers
        if self._filler is None:
            return None
        holes = [
            find_hole(1 - split_at_planes(layers, depth, planes)[1][-1], layers.fill.dilate)
            for depth in inv_depths
        ]
        folder = OutputFolder.at(self._job.output.path)
        return write_plate(folder, video, make_plate(frames, holes, self._filler))

    def _sampled(
        self, segments: list[Segment], unit: str
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Raw depth maps and pictures of the clip's sampled frames that can be decoded and have
        depth.
        """
        for segment in sample_frames(segments, self._job.depth.calibration_frames):
            for batch in watched(
                batches(segment, 1), self._job.run.decode_timeout_s, unit, self._progress
            ):
                if self._progress.stopping():
                    return
                self._progress.tick(unit, 0)
                if batch["status"][0] == "ok":
                    try:
                        maps = self._estimator(batch)
                    # a frame that no scale can be had from fails, and says why, when it is edited
                    except Exception:
                        continue
                    yield from ((raw, batch["rgb"][0]) for raw in maps if np.isfinite(raw).all())


def sample_frames(segments: Sequence[Segment], count: int) -> list[Segment]:
    """Spreads ``count`` frames evenly over a clip, its first frame among them, as segments of those
    frames only.
    """
    total = sum(len(segment.pts) for segment in segments)
    chosen = np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int))
    sampled, before = [], 0
    for segment in segments:
        rows = chosen[(chosen >= before) & (chosen < before + len(segment.pts))] - before
        before += len(segment.pts)
        if len(rows):
            sampled.append(segment.take(rows))
    return sampled


class Decoder:
    """The 1:N map: a segment's parts in, one row of decoded frames per part out, as they come."""

    def __init__(self, job: Job, progress: Progress) -> None:
        self._job = job
        self._progress = progress

    def __call__(self, row: dict[str, bytes]) -> Iterator[dict[str, Any]]:
        """``parts`` (pickled list[Part]) -> rows ``part``, ``rgb`` uint8 [n,H,W,3], ``columns``
        (pickled, the rest).
        """
        for part, decoded in self.parts(pickle.loads(row["parts"])):
            joined = {
                name: np.concatenate([batch[name] for batch in decoded]) for name in decoded[0]
            }
            rgb = joined.pop("rgb")
            yield {"part": pickle.dumps(part), "rgb": rgb, "columns": pickle.dumps(joined)}

    def parts(self, parts: list[Part]) -> Iterator[tuple[Part, list[Batch]]]:
        """Decodes a segment's parts in one pass over the file; ends early when the run is stopping.

        A part on which the decoding process died or hung ``run.attempts`` times becomes error rows
        (``DecoderCrashed``, ``DecodeTimeout``).
        """
        unit = f"decode {parts[0].name}"
        attempt = self._progress.begin(unit)
        try:
            for lost, group in groupby(parts, key=lambda part: self._lost(part, attempt)):
                run = list(group)
                wanted = np.concatenate([np.arange(part.start, part.stop) for part in run])
                stream = watched(
                    batches(run[0].segment.take(wanted), self._job.run.batch, lost=lost),
                    self._job.run.decode_timeout_s,
                    unit,
                    self._progress,
                )
                for part in run:
                    if self._progress.stopping():
                        return
                    self._progress.at(unit, part.name)
                    decoded = [next(stream) for _ in range(-(-part.frames // self._job.run.batch))]
                    self._progress.at(
                        unit, None
                    )  # whatever kills the process from here on is not the decoder
                    yield part, decoded
        finally:
            self._progress.finish(unit, 0, 0)

    def _lost(self, part: Part, attempt: Attempt) -> tuple[str, str] | None:
        """Error type and message of a part that is not tried again."""
        deaths = attempt.deaths.get(part.name, 0)
        if deaths < self._job.run.attempts:
            return None
        if part.name in attempt.hung:
            limit = f"{self._job.run.decode_timeout_s:g} s (run.decode_timeout_s)"
            return (
                "DecodeTimeout",
                f"decoding gave nothing for {limit}, or died, {deaths} times on these frames",
            )
        return "DecoderCrashed", f"the decoding process died {deaths} times on these frames"


class Editor:
    """A worker on Ray: holds the models; decoded parts (or, in_actor, a segment's parts) in, one
    small row a part out.
    """

    def __init__(
        self,
        job: Job,
        folder: OutputFolder,
        clips: dict[str, ClipCalibration],
        tried: dict[str, int],
        progress: Progress,
    ) -> None:
        if (starts := progress.starting()) > job.run.workers + job.run.attempts:
            raise RuntimeError(
                f"worker processes died {starts - 1} times while loading models; is memory too "
                "small for them?"
            )
        self._job = job
        self._tried = tried
        self._progress = progress
        self._decoder = Decoder(job, progress)
        with _reporting(progress):
            steps = self.load_steps(job, clips)
        self._edit = PartEditor(job, clips, steps, folder, progress)
        progress.started()

    @staticmethod
    def load_steps(job: Job, clips: dict[str, ClipCalibration]) -> list[Step]:
        """The steps that this worker takes batches through, with their models on its device."""
        return load_steps(job, clips, **device_and_dtype(job))

    def __call__(self, rows: dict[str, np.ndarray]) -> Iterator[dict[str, list]]:
        """One row of the decoder's (or of ``parts``) -> rows ``part``, ``done``, ``failed``,
        ``bytes``.
        """
        for part, decoded in self._decoded(rows):
            if self._progress.stopping():
                return
            with _reporting(self._progress):
                result = self._edit(part, decoded, self._tried)
            yield {name: [value] for name, value in result.items()}

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


def device_and_dtype(job: Job) -> dict[str, str]:
    """The device and the resolved dtype of a worker on this machine, as keyword arguments of the
    model loaders.

    Raises:
        JobError: the job asks for a GPU but torch sees none here, and the GPUs are not declared
            logical.
    """
    import torch

    cpu = job.run.gpus_per_worker == 0 or job.run.logical_gpus is not None
    if not cpu and not torch.cuda.is_available():
        raise JobError(
            "run.gpus_per_worker: torch sees no CUDA device on this worker; install a CUDA build "
            "of torch or set 0"
        )
    if cpu:
        # Ray sets OMP_NUM_THREADS to the reserved CPUs; models should use the cores that are there,
        # fairly shared.
        torch.set_num_threads(job.run.threads or max(1, (os.cpu_count() or 1) // job.run.workers))
    device = "cpu" if cpu else "cuda"
    dtype = (
        {"cpu": "float32", "cuda": "float16"}[device] if job.run.dtype == "auto" else job.run.dtype
    )
    return {"device": device, "dtype": dtype}
