"""Which frame a preview shows: the source, the shot, the frame, and what is clicked in it."""

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from raydepth.errors import JobError
from raydepth.files import storage
from raydepth.frames.find import find_segments
from raydepth.frames.segments import Segment
from raydepth.frames.sources import expand
from raydepth.job import Job
from raydepth.layers.things.said import said
from raydepth.layers.things.settings import Thing
from raydepth.run.calibrator import frames_by_shot
from raydepth.run.things import clicked_row


@dataclass(frozen=True)
class Shown:
    """Which frame is shown, and where it lies."""

    shot: str
    """The id of its shot."""
    segments: list[Segment]
    """The frames of its shot."""
    row: int
    """Its number among them."""
    shots: int
    """Shots of its source that the job has frames of."""

    @property
    def segment(self) -> Segment:
        """The frame alone."""
        return self.between(self.row, self.row)[0]

    @property
    def time_s(self) -> float:
        return float(self.segment.time_s[0])

    def between(self, first: int, last: int) -> list[Segment]:
        """The shot's frames with these numbers, both included."""
        kept, before = [], 0
        for segment in self.segments:
            rows = np.arange(len(segment)) + before
            before += len(segment)
            inside = np.flatnonzero((rows >= first) & (rows <= last))
            if len(inside):
                kept.append(segment.take(inside))
        return kept

    def row_at(self, time_s: float) -> int | None:
        """The number of the shot's frame at a time; None where it is in none of them."""
        times = np.concatenate([segment.time_s for segment in self.segments])
        step = float(np.median(np.diff(times))) if len(times) > 1 else 1 / 25
        inside = times[0] - step / 2 <= time_s < times[-1] + step / 2
        return int(np.argmin(np.abs(times - time_s))) if inside else None


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


def choose_frame(job: Job, segments: list[Segment], time_s: float | None) -> Shown:
    """The frame nearest to a time; without one, the first that was clicked, or where no thing is,
    the middle of the first shot.

    Raises:
        JobError: the time lies outside of the frames that the job has.
    """
    shots = frames_by_shot(segments)
    choices = [Shown(shot, frames, 0, len(shots)) for shot, frames in shots.items()]
    if time_s is None:
        clicked = [(one, rows) for one in choices if (rows := clicked_rows(job, one))]
        if clicked:
            return replace(clicked[0][0], row=min(clicked[0][1]))
        first = choices[0]
        return replace(first, row=sum(map(len, first.segments)) // 2)
    times = np.concatenate([segment.time_s for segment in segments])
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    if not times[0] - step <= time_s <= times[-1] + step:
        raise JobError(
            f"--time {time_s:g}: expected seconds from {times[0]:.2f} to {times[-1]:.2f}, "
            f"where {segments[0].path} has frames of the job"
        )
    nearest = float(times[np.argmin(np.abs(times - time_s))])
    found = ((one, one.row_at(nearest)) for one in choices)
    return next(replace(one, row=row) for one, row in found if row is not None)


def clicks_in(job: Job, shown: Shown) -> list[tuple[Thing, int]]:
    """The clicked things of a shot, and the numbers of the frames where they were clicked."""
    path = shown.segments[0].path
    things = [one.thing for one in said(job.layers.things) if one.of(path)]
    rows = ((thing, clicked_row(thing, shown.segments)) for thing in things)
    return [(thing, row) for thing, row in rows if row is not None]


def clicked_rows(job: Job, shown: Shown) -> list[int]:
    """The numbers of a shot's frames in which things were clicked."""
    return [row for _, row in clicks_in(job, shown)]


def followed(job: Job, shown: Shown) -> list[Segment]:
    """The frames through which things, and the camera where that is asked for, are followed: from
    where they are known to the shown one.
    """
    rows = [*clicked_rows(job, shown), shown.row]
    if getattr(job.edit, "anchor", "") == "scene":
        rows.append(0)
    return shown.between(min(rows), max(rows))
