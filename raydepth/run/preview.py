"""``raydepth preview``: one frame of a job, edited in this process and drawn as a contact sheet.

All steps are those of a run (``calibrator``, ``steps``). Two things are smaller: the shot's scale
comes from few sampled frames, unless the output folder holds it already, and things and the camera
are followed up to the shown frame only. What costs time is kept between previews (``remembered``).
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
from huggingface_hub.utils import disable_progress_bars

from raydepth.batch import Batch
from raydepth.depth.estimator import DepthEstimator
from raydepth.depth.registry import load_depth
from raydepth.edits.registry import check_edit
from raydepth.errors import JobError
from raydepth.files import storage
from raydepth.files.text import printable
from raydepth.files.user_cache import cache_folder, key_of
from raydepth.job import Job
from raydepth.output import record
from raydepth.output.folder import OutputFolder
from raydepth.output.record import ClipCalibration
from raydepth.report.sheet import draw
from raydepth.run.calibrator import ClipCalibrator
from raydepth.run.check import check_depth_files, check_models, named_models
from raydepth.run.check_things import check_things
from raydepth.run.editor import edit_batch
from raydepth.run.identity import identify
from raydepth.run.load import (
    WorkerModels,
    cpu_threads,
    device_and_dtype,
    load_beside,
    resolved,
)
from raydepth.run.preview_sheet import sheet_of
from raydepth.run.remembered import (
    RememberedDepth,
    forget_oldest,
    remembered_frames,
    remembers,
)
from raydepth.run.shown import Shown, choose_frame, choose_video, followed
from raydepth.run.steps import build_steps
from raydepth.run.tracker import Attempt, Tracker

SAMPLES = 8
"""Frames that give a shot's scale here; a run takes ``depth.calibration_frames``."""

LONG = 900
"""Frames to follow the camera through from which on a preview says that this takes a while."""


class FrameFailed(RuntimeError):
    """The shown frame cannot be edited; a run would make it an error row."""


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
    check_things(job, segments)
    shown = choose_frame(job, segments, time_s)
    picture = out or Path(f"preview-{storage.stem(shown.segment.path)}.png")
    refuse_unwritable(picture)
    loaded = identify(job)
    home, clip = kept_calibration(job, shown, loaded)
    models = load_models(home, loaded)
    if clip is None:
        clip = calibration(home, shown, models, echo)
    batch = edited_frame(home, shown, models, clip)
    fewer = home is not job and job.depth.calibration_frames > SAMPLES
    sheet = sheet_of(job, shown, batch, clip, points, samples=SAMPLES if fewer else None, grid=grid)
    for line in (sheet.title, *sheet.lines, *sheet.values):
        echo(printable(line))
    drawn = cv2.cvtColor(draw(sheet), cv2.COLOR_RGB2BGR)
    try:
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(cv2.imencode(".png", drawn)[1].tobytes())
    except OSError as error:
        raise JobError(f"--out {picture} cannot be written: {error.strerror}") from error
    forget_oldest()
    return picture


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
    """A worker's models, with depth that is remembered where it is a model's. Torch, which takes a
    second to import, is only imported where one of them needs it.
    """
    disable_progress_bars()  # transformers draws one while it reads weights from the disk
    machine, threads = resolved(job), cpu_threads(job, 1)
    device, dtype = machine["device"], machine["dtype"]

    def load() -> DepthEstimator:
        device_and_dtype(job, workers_here=1)
        return load_depth(job.depth, device=device, dtype=dtype, threads=threads)

    others = {model.form for model in named_models(job) if model.field != "depth.model"}
    if device == "cuda" or others - {"onnx", "files", "file"}:
        device_and_dtype(job, workers_here=1)
    identity = (loaded.get("depth.model"), device, dtype)
    depth = RememberedDepth(job.depth, identity, load) if remembers(job.depth) else load()
    return load_beside(job, depth, device=device, dtype=dtype, threads=threads)


def kept_calibration(
    job: Job, shown: Shown, loaded: dict[str, str]
) -> tuple[Job, ClipCalibration | None]:
    """What is fixed once for the frame's shot, as a run of the job has fixed it in its output
    folder, or as an earlier preview of the frame has.

    Returns:
        The job, writing to where what belongs to the shot is kept: the job itself where that is its
        run's, else another that writes to the user's cache; and the calibration, or None.
    """
    if (kept := of_run(job, loaded).get(shown.shot)) is not None:
        return job, kept
    tree = {name: value for name, value in job.tree().items() if name not in ("output", "run")}
    frame = shown.segment.video, int(shown.segment.pts[0])
    versions = record.environment()
    key = key_of(versions["raydepth"], versions["packages"], loaded, tree, frame, SAMPLES)
    home = job.writing_to(str(cache_folder("previews") / key))
    return home, record.read_calibrations(OutputFolder.at(home.output.path)).get(shown.shot)


def calibration(
    home: Job, shown: Shown, models: WorkerModels, echo: Callable[[str], None]
) -> ClipCalibration:
    """Fixes for the frame's shot what is fixed once, as far as the frame needs it, and keeps it.

    Args:
        home: the job that writes to the cache.
        shown: the frame.
        models: loaded for that job.
        echo: gets a word where it takes long.

    Raises:
        FrameFailed: no sampled frame gives depth.
    """
    frames = followed(home, shown)
    if (many := sum(map(len, frames))) > LONG:
        echo(f"following through {many} frames, from what is clicked or fixed to the shown one")
    count = min(SAMPLES, home.depth.calibration_frames)
    depth = home.depth.model_copy(update={"calibration_frames": count})
    calibrator = ClipCalibrator(
        home.model_copy(update={"depth": depth}),
        models,
        Tracker(),
        decode=remembered_frames,
        followed=lambda segments: frames,
    )
    clip = calibrator(shown.segments, Attempt(1, False, {}))
    if clip is None:
        raise FrameFailed("none of the sampled frames gives depth, so the shot has no scale")
    record.write_calibrations(OutputFolder.at(home.output.path), {shown.shot: clip})
    return clip


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
    """The frame with the columns of all steps.

    Raises:
        FrameFailed: it cannot be read, or a step cannot do it.
    """
    batch = next(remembered_frames(shown.segment, 1))
    # Estimating depth again, of the result, would load the depth model for every change.
    seldom = job.evaluate.model_copy(update={"reestimate_every": 0})
    job = job.model_copy(update={"evaluate": seldom})
    batch = edit_batch(build_steps(job, models, shown.shot, clip), batch)
    if batch["status"][0] != "ok":
        raise FrameFailed(f"{batch['error_type'][0]}: {batch['error_message'][0]}")
    return batch
