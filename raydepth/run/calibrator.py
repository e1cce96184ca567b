"""Step 2: a shot's calibration, measured once from frames sampled over all of it; without Ray."""

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import cv2
import numpy as np

from raydepth.batch import Batch, shot_id
from raydepth.camera.stabilise import ReferenceFrames, gather
from raydepth.camera.track import SIZE as TRACK_SIZE
from raydepth.camera.track import View
from raydepth.depth.calibrate import Calibration, calibrate
from raydepth.depth.stage import refined
from raydepth.edits.registry import (
    fix_edit,
    fix_scene_scale,
    is_in_shot,
    layering,
    measure_light,
)
from raydepth.frames.decode import batches
from raydepth.frames.segments import Segment, working_size
from raydepth.job import Job
from raydepth.layers.fill.hole import find_hole
from raydepth.layers.fill.plate import make_plate
from raydepth.layers.fill.registry import FILLERS
from raydepth.layers.planes import resolve_planes
from raydepth.layers.stage import cut_frame
from raydepth.layers.things.layering import missing
from raydepth.layers.things.said import thing_names
from raydepth.layers.things.stage import ThingStage
from raydepth.output.folder import OutputFolder
from raydepth.output.plates import write_plate
from raydepth.output.record import ClipCalibration, PlateRecord
from raydepth.output.references import write_references
from raydepth.output.things import ThingTracks
from raydepth.run.device_errors import poisons_process
from raydepth.run.load import WorkerModels
from raydepth.run.things import Stopped
from raydepth.run.tracker import Attempt, Progress
from raydepth.run.watchdog import watched

BEAT_S = 5.0
"""Between two beats of a worker that calibrates; it counts as dead after ``tracker.LEASE_S``."""


def calibration_unit(shot: str) -> str:
    """What the tracker knows a shot's calibration by."""
    return f"calibrate {shot}"


@contextmanager
def beating(progress: Progress, unit: str) -> Iterator[None]:
    """Tells the tracker, from a thread, that this process lives and is at the unit."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(BEAT_S):
            progress.beat(unit)

    thread = threading.Thread(target=beat, name="raydepth-beat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class ClipCalibrator:
    """Turns the segments of one shot's frames into its ClipCalibration, with a worker's models."""

    def __init__(
        self,
        job: Job,
        models: WorkerModels,
        progress: Progress,
        *,
        decode: Callable[[Segment, int], Iterator[Batch]] = batches,
        followed: Callable[[list[Segment]], list[Segment]] = lambda segments: segments,
    ) -> None:
        """Keeps what it is given.

        Args:
            job: the resolved job.
            models: the worker's.
            progress: the tracker.
            decode: gives a segment's frames in batches of so many.
            followed: which of a clip's frames the camera is followed through; by default all.
        """
        self._job, self._decode, self._followed = job, decode, followed
        self._estimator = models.estimator
        makes_plates = FILLERS.of(job.layers.fill).with_plates is not None
        self._filler = models.filler if makes_plates else None
        self._things = models.things
        self._folder = OutputFolder.at(job.output.path)
        self._progress = progress

    def __call__(self, segments: list[Segment], attempt: Attempt) -> ClipCalibration | None:
        """Measures one shot, of which these are all wanted frames.

        A shot of whose sampled frames none gives depth, or on which workers died ``run.attempts``
        times, has no scale (None); its frames become error rows later. Where the run is stopping,
        the result is worth nothing: a scale from half of the samples, or a track of half of the
        frames, must not be kept.
        """
        if attempt.number > self._job.run.attempts:
            return None
        unit = calibration_unit(_shot_of(segments))
        samples = list(self._sampled(segments, unit))
        if not samples or self._progress.stopping():
            return None
        try:
            return self._fix(segments, samples, unit)
        except Stopped:
            return None

    def _fix(
        self, segments: list[Segment], samples: list[tuple[np.ndarray, Batch]], unit: str
    ) -> ClipCalibration:
        maps = [raw for raw, _ in samples]
        scale = calibrate(maps, estimator=self._estimator.name, kind=self._estimator.kind)
        sampled = [scale.normalise(raw) for raw in maps]
        frames, shot = [batch["rgb"][0] for _, batch in samples], _shot_of(segments)
        held = gather(frames, sampled) if self._job.depth.stabilise else None
        sampled = [
            refined(rgb, depth, held, self._job.depth.guided)
            for rgb, depth in zip(frames, sampled, strict=True)
        ]
        if held is not None:
            write_references(self._folder, shot, held)
        planes = resolve_planes(self._job.layers.planes, sampled, sampled[0], scale)
        things = None
        if self._things is not None:
            followed = self._followed(segments)
            things = self._things(
                followed,
                self._tracking(followed, unit),
                lambda frame: self._depth_of(frame, scale, held),
            )
            self._progress.doing(unit, "")
        tracks = None if things is None else ThingTracks(self._folder, shot)
        edit = None
        if is_in_shot(self._job.edit, int(segments[0].shots[0]), segments[0].first_shot):
            edit = fix_edit(
                self._job.edit,
                sampled,
                frames[0],
                scale,
                lambda: self._views(segments, unit, tracks),
                {} if tracks is None else tracks.first_depths(),
            )
        plate = light = None
        if self._filler is not None or self._job.compose.matched_light.asked:
            batches = [
                batch | {"inv_depth": depth[None]}
                for (_, batch), depth in zip(samples, sampled, strict=True)
            ]
            near = [self._near(batch, shot, planes, tracks) for batch in batches]
            plate = self._plate(shot, frames, near)
            if self._job.compose.matched_light.asked:
                layers = self._job.layers
                light = measure_light(self._job.edit, layers, frames, sampled, planes, edit, near)
        height, width = sampled[0].shape
        scene = fix_scene_scale(self._job.edit, (height, width), scale, self._estimator)
        samples_held = 0 if held is None else len(held.rgb)
        return ClipCalibration(scale, planes, edit, plate, light, samples_held, scene, things)

    def _tracking(
        self, segments: Sequence[Segment], unit: str
    ) -> Callable[[Segment, int], Iterator[Batch]]:
        """What decodes the frames that things are tracked in, and says how far that has come."""
        total, seen = sum(map(len, segments)), 0

        def decode(segment: Segment, size: int) -> Iterator[Batch]:
            nonlocal seen
            for batch in self._until_stopped(segment, size, unit):
                seen = min(seen + len(batch["status"]), total)
                self._progress.doing(unit, f"tracking things, frame {seen} of {total}")
                yield batch

        return decode

    def _until_stopped(self, segment: Segment, size: int, unit: str) -> Iterator[Batch]:
        """A segment's frames in batches of so many; raises Stopped when the run is stopping."""
        for batch in watched(
            self._decode(segment, size), self._job.run.decode_timeout_s, unit, self._progress
        ):
            self._progress.tick(unit, 0)
            if self._progress.stopping():
                raise Stopped
            yield batch

    def _depth_of(
        self, frame: Batch, scale: Calibration, held: ReferenceFrames | None
    ) -> np.ndarray:
        """Normalised depth float32 [H,W] of a batch of one frame, as the frame itself will get it;
        all NaN where there is none.
        """
        inv_depth = scale.normalise(self._estimator(frame)[0])
        if not np.isfinite(inv_depth).all():
            return np.full_like(inv_depth, np.nan)
        return refined(frame["rgb"][0], inv_depth, held, self._job.depth.guided)

    def _views(
        self, segments: list[Segment], unit: str, tracks: ThingTracks | None
    ) -> Iterator[View]:
        """The shot's wanted frames for tracking, small and grey, and where its things are; ends
        early when the run is stopping.
        """
        for segment in self._followed(segments):
            height, width = working_size(segment.height, segment.width, TRACK_SIZE)
            small = replace(segment, height=height, width=width)
            for batch in watched(
                self._decode(small, 8), self._job.run.decode_timeout_s, unit, self._progress
            ):
                self._progress.tick(unit, 0)
                for index, pts, rgb, status in zip(
                    *(batch[name] for name in ("frame_index", "pts", "rgb", "status")), strict=True
                ):
                    if self._progress.stopping():
                        return
                    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) if status == "ok" else None
                    moving = None if tracks is None else tracks.any_of(int(index), rgb.shape[:2])
                    yield View(int(pts), grey, segment.width / segment.height, moving)

    def _near(
        self, batch: Batch, shot: str, planes: tuple[float, ...], tracks: ThingTracks | None
    ) -> np.ndarray:
        """What hides the far layer in a batch of one frame, a share float32 [H,W].

        It is all of the frame where the edit needs a thing that is not known there.
        """
        asked = layering(self._job.edit)
        if tracks is not None and (asked.lifts or asked.beside):
            read = {shot: lambda frame: tracks(int(frame["frame_index"][0]))}
            batch = ThingStage(thing_names(self._job.layers.things), read)(batch)
            if missing(batch, 0, asked.needs):
                return np.ones(batch["inv_depth"].shape[1:], np.float32)
        return cut_frame(self._job.layers, asked, batch, 0, planes).hides

    def _plate(
        self, shot: str, frames: list[np.ndarray], near: list[np.ndarray]
    ) -> PlateRecord | None:
        """Makes and keeps the shot's plate where the job wants one."""
        if self._filler is None:
            return None
        holes = [find_hole(share, self._job.layers.fill.dilate) for share in near]
        return write_plate(self._folder, shot, make_plate(frames, holes, self._filler))

    def _sampled(self, segments: list[Segment], unit: str) -> Iterator[tuple[np.ndarray, Batch]]:
        """Raw depth maps and the batches of one of the shot's sampled frames that can be decoded
        and have depth.
        """
        for segment in sample_frames(segments, self._job.depth.calibration_frames):
            for batch in watched(
                self._decode(segment, 1), self._job.run.decode_timeout_s, unit, self._progress
            ):
                if self._progress.stopping():
                    return
                self._progress.tick(unit, 0)
                if batch["status"][0] == "ok":
                    try:
                        maps = self._estimator(batch)
                    # a frame that no scale can be had from fails, and says why, when it is edited
                    except Exception as error:
                        if poisons_process(error):
                            raise
                        continue
                    yield from ((raw, batch) for raw in maps if np.isfinite(raw).all())


def _shot_of(segments: Sequence[Segment]) -> str:
    """The id of the shot that they are of."""
    return shot_id(segments[0].video, int(segments[0].shots[0]))


def frames_by_shot(
    segments: Sequence[Segment], wanted: Collection[str] | None = None
) -> dict[str, list[Segment]]:
    """The wanted shots' frames (None: of all), by shot id, as segments of those frames only."""
    found: dict[str, list[Segment]] = {}
    for segment in segments:
        for shot, start, stop in segment.by_shot():
            own = shot_id(segment.video, shot)
            if wanted is None or own in wanted:
                found.setdefault(own, []).append(segment.take(slice(start, stop)))
    return found


def sample_frames(segments: Sequence[Segment], count: int) -> list[Segment]:
    """Spreads ``count`` frames evenly over a shot, its first frame among them, as segments of those
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
