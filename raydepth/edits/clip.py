"""What an edit fixes once per clip, beside its depth scale: where an inserted object stands, and how the camera moves."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from raydepth.deglad.threshold import plane_before_point, plane_behind_point, resolve_planes
from raydepth.depth.calibrate import Calibration
from raydepth.edits.drift import drift, thumbnail
from raydepth.edits.shadow import Floor, floor_at
from raydepth.edits.track import Track, View, measure_track
from raydepth.job import AtBehind, AtFront, Edit, Insert, JobError


@dataclass(frozen=True)
class ClipEdit:
    """Constants of one clip for the edit ``insert``."""

    inv_depth: float
    """The object's normalised inverse depth in the first frame."""
    first: tuple[tuple[float, ...], ...]
    """The first frame's depth, small (``thumbnail``): the scale on which the object's depth is meant."""
    track: Track | None
    """The camera's motion; None where the object is anchored in the picture."""
    floor: Floor | None = None
    """What the object stands on in the first frame; None: its colours are taken from each frame."""

    @staticmethod
    def from_tree(tree: dict[str, Any]) -> "ClipEdit":
        """What ``dataclasses.asdict`` and JSON made of it; raises ValueError, TypeError or KeyError where it is damaged."""
        inv_depth = float(tree["inv_depth"])
        if not np.isfinite(inv_depth):
            raise ValueError("an object's depth is not finite")
        first = tuple(tuple(float(value) for value in row) for row in tree["first"])
        if not np.isfinite(first).all() or np.ndim(first) != 2:
            raise ValueError("a first frame's depth is no map")
        track = tree["track"] and Track.from_tree(tree["track"])
        floor = tree.get("floor") and Floor(
            tuple(float(value) for value in tree["floor"]["colour"]), float(tree["floor"]["spread"])
        )
        return ClipEdit(inv_depth, first, track, floor)

    def in_frame(self, inv_depth: np.ndarray, motion: np.ndarray) -> float:
        """The object's inverse depth on a frame's own scale; see ``drift``."""
        scale, offset = drift(self.first, inv_depth, motion)
        return scale * self.inv_depth + offset


def foot_of(insert: Insert) -> tuple[float, float]:
    """Where the middle of the object's foot stands in the first frame: x, y as fractions of width and height."""
    if insert.box is not None:
        return (insert.box[0] + insert.box[2]) / 2, insert.box[3]
    assert insert.point is not None  # the job's own check
    return insert.point[0], insert.point[1]


def fix_edit(
    edit: Edit,
    sampled: list[np.ndarray],
    picture: np.ndarray,
    scale: Calibration,
    views: Callable[[], Iterable[View]],
) -> ClipEdit | None:
    """Fixes what the edit needs for a clip; None for edits that need nothing.

    Args:
        edit: the job's section.
        sampled: ``inv_depth`` float32 [H,W] of the frames sampled over the clip, its first frame first.
        picture: uint8 [H,W,3], the first frame.
        scale: the clip's.
        views: decodes the clip's wanted frames for tracking; called only for an object anchored in the scene.

    Raises:
        JobError: metres are asked of a model that has none.
    """
    if not isinstance(edit, Insert):
        return None
    if edit.height_m is not None and scale.kind != "depth_m":
        raise JobError(
            f"edit.height_m needs a metric depth model; {scale.estimator} gives {scale.kind}: give edit.height, a fraction "
            "of the frame's height, instead"
        )
    track = None
    if edit.anchor == "scene":
        x, y = foot_of(edit)
        height, width = sampled[0].shape
        track = measure_track(views(), (x * width / height, y))
    return ClipEdit(
        _object_depth(edit, sampled, scale),
        thumbnail(sampled[0]),
        track,
        floor_at(picture, foot_of(edit)) if edit.shadow else None,
    )


def _object_depth(edit: Insert, sampled: list[np.ndarray], scale: Calibration) -> float:
    first = sampled[0]
    match edit.at:
        case None:
            height, width = first.shape
            x, y = foot_of(edit)
            row, column = (
                min(max(int(part * size), 0), size - 1) for part, size in ((y, height), (x, width))
            )
            reach = max(round(0.01 * min(height, width)), 1)
            around = first[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1]
            return float(np.median(around))
        case AtBehind():
            return plane_behind_point(first, *edit.at.behind)
        case AtFront():
            return plane_before_point(first, *edit.at.front)
    try:
        return resolve_planes([edit.at], sampled, first, scale)[0]
    except JobError as error:
        raise JobError(str(error).replace("layers.at", "edit.at")) from error
