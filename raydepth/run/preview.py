"""``raydepth preview``: one frame of a job, edited in this process and drawn as a contact sheet.

All steps are those of a run (``calibrator``, ``steps``). Two things are smaller: the clip's scale
comes from few sampled frames, unless the output folder holds it already, and the camera is followed
up to the shown frame only. What costs time is kept between previews (``remembered``).
"""

import difflib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from raydepth.batch import Batch
from raydepth.depth.registry import load_depth
from raydepth.edits.registry import check_edit
from raydepth.errors import JobError
from raydepth.files import storage
from raydepth.files.text import printable
from raydepth.files.user_cache import cache_folder, key_of
from raydepth.frames.find import find_segments
from raydepth.frames.segments import Segment
from raydepth.frames.sources import expand
from raydepth.job import Job
from raydepth.output import record
from raydepth.output.folder import OutputFolder
from raydepth.output.record import ClipCalibration
from raydepth.report.sheet import Mark, Outline, Sheet, draw, in_metres
from raydepth.run.calibrator import ClipCalibrator
from raydepth.run.check import check_depth_files, check_models
from raydepth.run.editor import edit_batch
from raydepth.run.identity import identify
from raydepth.run.load import (
    WorkerModels,
    device_and_dtype,
    load_beside,
    load_worker,
    model_threads,
)
from raydepth.run.remembered import (
    RememberedDepth,
    forget_oldest,
    remembered_frames,
    remembers,
)
from raydepth.run.steps import build_steps
from raydepth.run.tracker import Attempt, Tracker

SAMPLES = 8
"""Frames that give a shot's scale here; a run takes ``depth.calibration_frames``."""

LONG = 900
"""Frames to follow the camera through from which on a preview says that this takes a while."""


class FrameFailed(RuntimeError):
    """The shown frame cannot be edited; a run would make it an error row."""


@dataclass(frozen=True)
class Shown:
    """Which frame is shown, and where it lies."""

    segments: list[Segment]
    """Of its clip."""
    segment: Segment
    """The frame alone."""

    @property
    def up_to_it(self) -> list[Segment]:
        """The clip's frames from the first to the shown one."""
        last = self.segment.pts[0]
        cut = [one.take(np.flatnonzero(one.pts <= last)) for one in self.segments]
        return [one for one in cut if len(one)]


def preview(
    job: Job,
    *,
    video: str | None = None,
    time_s: float | None = None,
    points: Sequence[tuple[float, float]] = (),
    grid: bool = True,
    out: Path | None = None,
    echo: Callable[[str], None] = print,
) -> Path:
    """Shows what a job does to one frame.

    Args:
        job: the resolved job.
        video: which of its sources: a path, a name or a video id; None: the first that can be read.
        time_s: seconds after the source's first frame; None: the middle of its first shot, or the
            clicked frame where the job has things.
        points: x, y as fractions; what is measured there is said and drawn.
        grid: draws a grid of fractions on the input.
        out: the PNG to write; None: ``preview-NAME.png`` in the current folder.
        echo: gets every line that a user should see.

    Returns:
        The PNG.

    Raises:
        JobError: the job is wrong, or has no such video or time; nothing was written.
        FrameFailed: the frame cannot be edited.
    """
    check_models(job)
    check_edit(job.edit, job.layers)
    job, segments = choose_video(job, video)
    check_depth_files(job, segments)
    shown = choose_frame(segments, clicked_time(job) if time_s is None else time_s)
    picture = out or Path(f"preview-{storage.stem(shown.segment.path)}.png")
    refuse_unwritable(picture)
    loaded = identify(job)
    models = load_models(job, loaded)
    home, clip, approximate = calibration(job, shown, models, loaded, echo)
    batch = edited_frame(home, shown, models, clip)
    sheet = sheet_of(job, shown, batch, clip, points, approximate=approximate, grid=grid)
    for line in (sheet.title, *sheet.lines, *sheet.values):
        echo(printable(line))
    picture.parent.mkdir(parents=True, exist_ok=True)
    drawn = cv2.cvtColor(draw(sheet), cv2.COLOR_RGB2BGR)
    picture.write_bytes(cv2.imencode(".png", drawn)[1].tobytes())
    forget_oldest()
    return picture


def choose_video(job: Job, video: str | None) -> tuple[Job, list[Segment]]:
    """The job with one of its sources alone, and that source's segments.

    Raises:
        JobError: the job has no such source, or it can't be read.
    """
    paths = expand(job.input.paths)
    if video is not None:
        paths = [named(paths, video)]
    for number, path in enumerate(paths):
        settings = job.input.model_copy(update={"paths": [path]})
        try:
            found = find_segments(settings, job.compose.every)
        except JobError:
            if number == len(paths) - 1:
                raise
            continue
        return job.model_copy(update={"input": settings}), found.segments
    raise JobError("input.paths: nothing to show")


def named(paths: Sequence[str], video: str) -> str:
    """The source that a user means by a path, or by its name with or without its ending."""
    full = video if storage.is_remote(video) else os.path.abspath(os.path.expanduser(video))
    names = {path: os.path.basename(path.rstrip("/")) for path in paths}
    meant = [path for path in paths if path in (video, full)]
    meant = meant or [path for path, name in names.items() if name == video]
    meant = meant or [path for path, name in names.items() if os.path.splitext(name)[0] == video]
    if len(meant) == 1:
        return meant[0]
    if meant:
        several = ", ".join(meant[:5])
        raise JobError(f"--video {video}: several sources have that name; give a path: {several}")
    near = difflib.get_close_matches(os.path.basename(video), list(names.values()), 1)
    hint = f"is {near[0]} meant?" if near else f"it has {', '.join([*names.values()][:5])}"
    raise JobError(f"--video {video}: the job has no such source; {hint}")


def clicked_time(job: Job) -> float | None:
    """The time of the first click on a thing; None where there is none, or it says a shot only."""
    things = job.layers.things if isinstance(job.layers.things, list) else []
    clicked = (thing for thing in things if thing.point or thing.points or thing.box)
    first = next(clicked, None)
    if first is None or (first.at_s is None and first.shot):
        return None
    return first.at_s or 0.0


def choose_frame(segments: list[Segment], time_s: float | None) -> Shown:
    """The frame nearest to a time, or in the middle.

    Raises:
        JobError: the time lies outside of the frames that the job has.
    """
    times = np.concatenate([segment.time_s for segment in segments])
    if time_s is None:
        row = len(times) // 2
    else:
        step = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
        if not times[0] - step <= time_s <= times[-1] + step:
            raise JobError(
                f"--time {time_s:g}: expected seconds from {times[0]:.2f} to {times[-1]:.2f}, "
                f"where {segments[0].path} has frames of the job"
            )
        row = int(np.argmin(np.abs(times - time_s)))
    for segment in segments:
        if row < len(segment):
            return Shown(segments, segment.take([row]))
        row -= len(segment)
    raise AssertionError("the row is one of the segments'")


def refuse_unwritable(picture: Path) -> None:
    """Raises JobError where a picture can't be written to a path, before anything is computed."""
    if picture.suffix.lower() != ".png":
        raise JobError(f"--out {picture}: expected a name that ends in .png")
    if picture.is_dir():
        raise JobError(f"--out {picture} is a folder; name a file that ends in .png")
    there = next(folder for folder in picture.absolute().parents if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise JobError(f"--out {picture}: {there} cannot be written; name another place")


def load_models(job: Job, loaded: dict[str, str]) -> WorkerModels:
    """A worker's models, with depth that is remembered where it is a model's."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # not on loading from the disk
    machine = device_and_dtype(job, workers_here=1)
    device, dtype = machine["device"], machine["dtype"]
    if not remembers(job.depth):
        return load_worker(job, device=device, dtype=dtype)
    load = partial(load_depth, job.depth, device=device, dtype=dtype, threads=model_threads(job))
    depth = RememberedDepth(job.depth, (loaded.get("depth.model"), device, dtype), load)
    return load_beside(job, depth, device=device, dtype=dtype)


def calibration(
    job: Job,
    shown: Shown,
    models: WorkerModels,
    loaded: dict[str, str],
    echo: Callable[[str], None],
) -> tuple[Job, ClipCalibration, bool]:
    """What is fixed once for the frame's clip: as a run of the job has fixed it, as an earlier
    preview has, or measured here.

    Returns:
        The job whose output folder holds what belongs to it, the calibration, and whether a run
        would measure another one.

    Raises:
        FrameFailed: no sampled frame gives depth.
    """
    video = shown.segment.video
    if (kept := of_run(job, loaded).get(video)) is not None:
        return job, kept, False
    count = min(SAMPLES, job.depth.calibration_frames)
    tree = {name: value for name, value in job.tree().items() if name not in ("output", "run")}
    key = key_of(record.environment()["packages"], loaded, tree, shown.segment.pts[0], count)
    home = job.writing_to(str(cache_folder("previews") / key))
    folder = OutputFolder.at(home.output.path)
    if (kept := record.read_calibrations(folder).get(video)) is not None:
        return home, kept, True
    follow = sum(len(segment) for segment in shown.up_to_it)
    if follow > LONG and job.edit.model_dump().get("anchor") == "scene":
        echo(f"following the camera through {follow} frames; an earlier --time takes less")
    depth = home.depth.model_copy(update={"calibration_frames": count})
    calibrator = ClipCalibrator(
        home.model_copy(update={"depth": depth}),
        models,
        Tracker(),
        decode=remembered_frames,
        followed=lambda segments: shown.up_to_it,
    )
    clip = calibrator(shown.segments, Attempt(1, False, {}))
    if clip is None:
        raise FrameFailed("none of the sampled frames gives depth, so the clip has no scale")
    record.write_calibrations(folder, {video: clip})
    return home, clip, True


def of_run(job: Job, loaded: dict[str, str]) -> dict[str, ClipCalibration]:
    """The calibrations in the job's output folder; empty where it is not a run's of this job."""
    folder = OutputFolder.at(job.output.path)
    try:
        if not folder.exists(record.CALIBRATIONS):
            return {}
        record.check_same_job(folder, job.tree(), loaded)
        return record.read_calibrations(folder)
    except (JobError, OSError):
        return {}


def edited_frame(job: Job, shown: Shown, models: WorkerModels, clip: ClipCalibration) -> Batch:
    """The frame with the columns of all steps but the metrics.

    Raises:
        FrameFailed: it cannot be read, or a step cannot do it.
    """
    batch = next(remembered_frames(shown.segment, 1))
    batch = edit_batch(build_steps(job, models, shown.segment.video, clip)[:-1], batch)
    if batch["status"][0] != "ok":
        raise FrameFailed(f"{batch['error_type'][0]}: {batch['error_message'][0]}")
    return batch


def sheet_of(
    job: Job,
    shown: Shown,
    batch: Batch,
    clip: ClipCalibration,
    points: Sequence[tuple[float, float]],
    *,
    approximate: bool,
    grid: bool,
) -> Sheet:
    """What the sheet shows and says of an edited frame."""
    scale, frame = clip.depth, shown.segment
    metres = (lambda value: float(scale.metres(value))) if scale.kind == "depth_m" else None
    total = sum(len(segment) for segment in shown.segments)
    name = printable(os.path.basename(frame.path.rstrip("/")))
    planes = [float(plane) for plane in batch["threshold"][0]]
    count = len(batch["alphas"][0])
    names = ["near", "far"] if count == 2 else [*(f"layer {n}" for n in range(1, count)), "far"]
    things = [
        Outline(str(thing), alpha)
        for thing, alpha in zip(
            batch.get("thing_names", [[]])[0], batch.get("thing_alpha", [[]])[0], strict=True
        )
    ]
    marks = [Mark(x, y, chr(ord("A") + n % 26)) for n, (x, y) in enumerate(points)]
    values = [
        f"{mark.label}  {mark.x:g},{mark.y:g}: {_under(batch, mark, names, things, metres)}"
        for mark in marks
    ]
    lines = [
        f"layers.at: {_asked(job.layers.at)}, here {', '.join(_plane(v, metres) for v in planes)}",
        f"near {_share(batch['near'])}, hole {_share(batch['hole'])}, the edit may change "
        f"{_share(batch['region'])} of the picture and changes {_share(_changed(batch))}",
    ]
    lines += _of_things(batch)
    if note := str(batch["note"][0]):
        lines.append(f"note: {note}")
    if approximate and job.depth.calibration_frames > SAMPLES:
        lines.append(
            f"approximate: the depth scale is of {min(SAMPLES, total)} sampled frames, a run takes "
            f"{min(job.depth.calibration_frames, total)}"
        )
    return Sheet(
        title=f"{name}, {frame.time_s[0]:.2f} s, frame {frame.frame_index[0]}",
        rgb=batch["rgb"][0],
        inv_depth=batch["inv_depth"][0],
        planes=planes,
        alphas=batch["alphas"][0],
        layer_names=names,
        hole=batch["hole"][0],
        background=batch["background"][0],
        edited=batch["edited"][0],
        region=batch["region"][0],
        metres=metres,
        marks=[*_clicks(job, shown), *marks],
        things=things,
        lines=lines,
        values=values,
        grid=grid,
    )


def _clicks(job: Job, shown: Shown) -> list[Mark]:
    """The clicked points of things, where the clicked frame is the one that is shown."""
    things = job.layers.things if isinstance(job.layers.things, list) else []
    marks = []
    for thing in things:
        if choose_frame(shown.segments, thing.at_s or 0.0).segment.pts[0] != shown.segment.pts[0]:
            continue
        for point, on in zip(
            thing.points or ([thing.point] if thing.point else []),
            thing.labels or [1] * 32,
            strict=False,
        ):
            colour = (64, 224, 196) if on else (255, 96, 96)
            marks.append(
                Mark(point[0], point[1], thing.name if on else f"not {thing.name}", colour)
            )
    return marks


def _under(
    batch: Batch,
    mark: Mark,
    names: Sequence[str],
    things: Sequence[Outline],
    metres: Callable[[float], float] | None,
) -> str:
    """What is at a point, in words."""
    height, width = batch["inv_depth"].shape[1:]
    row, column = min(int(mark.y * height), height - 1), min(int(mark.x * width), width - 1)
    layer = names[int(batch["alphas"][0, :, row, column].argmax())]
    on = [thing.name for thing in things if thing.alpha[row, column] >= 0.5]
    said = [f"inverse depth {_plane(float(batch['inv_depth'][0, row, column]), metres)}", layer]
    said += on or (["no thing"] if things else [])
    said += ["in the hole"] if batch["hole"][0, row, column] else []
    said += [f"edit {100 * float(batch['region'][0, row, column]):.0f} %"]
    return ", ".join(said)


def _plane(value: float, metres: Callable[[float], float] | None) -> str:
    return f"{value:.3f}" + (f" ({in_metres(metres(value))})" if metres else "")


def _asked(at: Any) -> str:
    if isinstance(at, list):
        return "[" + ", ".join(map(_asked, at)) + "]"
    return str(at.model_dump() if hasattr(at, "model_dump") else at).replace("'", "")


def _share(mask: np.ndarray) -> str:
    return f"{100 * float(np.mean(mask)):.1f} %"


def _changed(batch: Batch) -> np.ndarray:
    """Where the result differs from the input by more than a reader sees, bool [1,H,W]."""
    difference = np.abs(batch["edited"].astype(np.int16) - batch["rgb"])
    return np.asarray(difference.max(axis=-1) > 8)


def _of_things(batch: Batch) -> list[str]:
    if "thing_names" not in batch:
        return []
    said = [
        f"{name} {state}" + (f", inverse depth {depth:.3f}" if np.isfinite(depth) else "")
        for name, state, depth in zip(
            batch["thing_names"][0],
            batch["thing_state"][0],
            batch["thing_inv_depth"][0],
            strict=True,
        )
    ]
    return [f"things: {'; '.join(said)}"]
