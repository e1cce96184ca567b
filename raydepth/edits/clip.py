"""What an edit fixes once per clip: where an inserted object stands, and the camera's motion."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from raydepth.camera.track import Track, View, measure_track
from raydepth.depth.calibrate import Calibration
from raydepth.edits.alignment import align_scale_and_shift, thumbnail
from raydepth.edits.place import STILL, beside_thing, ground_contact, height_px, named_at, place
from raydepth.edits.settings import AtBehind, AtFront, Insert
from raydepth.edits.shadow import Floor, floor_at
from raydepth.edits.support import support_plane
from raydepth.errors import JobError
from raydepth.files.pictures import read_object
from raydepth.layers.planes import plane_before_point, plane_behind_point, resolve_planes


@dataclass(frozen=True)
class ClipEdit:
    """Constants of one clip for the edit ``insert``."""

    inv_depth: float
    """The object's normalised inverse depth in the first frame."""
    first: tuple[tuple[float, ...], ...]
    """The first frame's depth, small (``thumbnail``): the scale on which the object's depth is
    meant."""
    track: Track | None
    """The camera's motion; None where the object is anchored in the picture."""
    front: float | None = None
    """Inverse depth of the support plane under the front of the object's ground contact, where that
    is nearer than the object; see ``support_plane``."""
    floor: Floor | None = None
    """What the object stands on in the first frame; None: its colours are taken from each frame."""

    @staticmethod
    def from_tree(tree: dict[str, Any]) -> "ClipEdit":
        """The inverse of ``dataclasses.asdict`` and JSON.

        Raises ValueError, TypeError or KeyError where the tree is damaged.
        """
        inv_depth = float(tree["inv_depth"])
        front = None if tree.get("front") is None else float(tree["front"])
        if not np.isfinite(inv_depth if front is None else inv_depth + front):
            raise ValueError("an object's depth is not finite")
        first = tuple(tuple(float(value) for value in row) for row in tree["first"])
        if not np.isfinite(first).all() or np.ndim(first) != 2:
            raise ValueError("a first frame's depth is no map")
        track = tree["track"] and Track.from_tree(tree["track"])
        floor = tree.get("floor") and Floor(
            tuple(float(value) for value in tree["floor"]["colour"]), float(tree["floor"]["spread"])
        )
        return ClipEdit(inv_depth, first, track, front, floor)

    def in_frame(self, inv_depth: np.ndarray, motion: np.ndarray) -> tuple[float, float]:
        """Inverse depth of the object, and of the front of its ground contact, in one frame.

        Both are on the frame's own scale (see ``align_scale_and_shift``).

        Args:
            inv_depth: float32 [H,W], the frame's.
            motion: float64 [2,3], the camera's since the first frame; see ``Track``.
        """
        scale, offset = align_scale_and_shift(self.first, inv_depth, motion)
        depth = scale * self.inv_depth + offset
        return depth, depth if self.front is None else max(scale * self.front + offset, depth)


def fix_insert(
    edit: Insert,
    sampled: list[np.ndarray],
    picture: np.ndarray,
    scale: Calibration,
    views: Callable[[], Iterable[View]],
    things: Mapping[str, float],
) -> ClipEdit:
    """Fixes where the object stands in a clip; see ``raydepth.edits.registry.fix_edit``.

    Raises:
        JobError: metres are asked of a model that has none.
    """
    if edit.height_m is not None and scale.kind != "depth_m":
        raise JobError(
            f"edit.height_m needs a metric depth model; {scale.estimator} gives {scale.kind}: give "
            "edit.height, a fraction "
            "of the frame's height, instead"
        )
    track = None
    if edit.anchor == "scene":
        x, y = ground_contact(edit)
        height, width = sampled[0].shape
        track = measure_track(views(), (x * width / height, y))
    inv_depth, size = _object_depth(edit, sampled, scale, things), sampled[0].shape
    picture_size = read_object(edit.object).shape
    height = height_px(edit, scale, inv_depth, size)
    at = place(edit, picture_size[1] / picture_size[0], height, STILL, size)
    return ClipEdit(
        inv_depth,
        thumbnail(sampled[0]),
        track,
        support_plane(sampled[0], at, inv_depth),
        floor_at(picture, ground_contact(edit)) if edit.shadow else None,
    )


def _object_depth(
    edit: Insert, sampled: list[np.ndarray], scale: Calibration, things: Mapping[str, float]
) -> float:
    first = sampled[0]
    match edit.at:
        case None:
            height, width = first.shape
            x, y = ground_contact(edit)
            row, column = (
                min(max(int(part * size), 0), size - 1) for part, size in ((y, height), (x, width))
            )
            reach = max(round(0.01 * min(height, width)), 1)
            around = first[
                max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1
            ]
            return float(np.median(around))
        case AtBehind():
            if not isinstance(edit.at.behind, str):
                return plane_behind_point(first, *edit.at.behind)
        case AtFront():
            if not isinstance(edit.at.front, str):
                return plane_before_point(first, *edit.at.front)
    if (name := named_at(edit)) is not None:
        # Where the clip does not show it, no frame gets the object.
        return beside_thing(edit, things.get(name, 0.0))
    assert not isinstance(edit.at, AtBehind | AtFront)
    try:
        return resolve_planes([edit.at], sampled, first, scale)[0]
    except JobError as error:
        raise JobError(str(error).replace("layers.at", "edit.at")) from error
