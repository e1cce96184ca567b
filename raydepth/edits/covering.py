"""What covers an inserted object in one frame: things that are nearer, whole, and what of the scene
is nearer.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from raydepth.batch import Batch
from raydepth.edits.clip import ClipEdit
from raydepth.edits.place import Placement, beside_thing, named_at
from raydepth.edits.settings import AtBehind, Insert
from raydepth.layers.fill.hole import far_depth
from raydepth.layers.things.layering import mattes

_HALO = 5
"""Pixels around a thing whose depth is smeared with the thing's own."""

_NEAREST, _CLEARLY = 0.95, 0.05
"""The quantile of a thing's own depth, and the inverse depth more than it, that the scene must
exceed to be before what is beside the thing."""


@dataclass(frozen=True)
class ObjectDepth:
    """Where an object is in depth in one frame, as inverse depths."""

    own: float
    things: float
    """A thing that is nearer than this covers the object."""
    scene: float
    """The scene outside of things covers the object where it is nearer than this."""


def depth_in_frame(
    edit: Insert, clip: ClipEdit, batch: Batch, row: int, motion: np.ndarray
) -> ObjectDepth:
    """The object's depth in a frame.

    Beside a thing that is named it is just behind or before that thing, frame by frame. What covers
    it must be nearer than the thing too, so depth that wavers between the two covers nothing; the
    scene must be nearer than most of what the map says of the thing, as maps carry things' depth
    into what is around them.

    Args:
        edit: the job's section.
        clip: what ``fix_edit`` fixed.
        batch: columns after the layer stage.
        row: of the frame.
        motion: float64 [2,3], the camera's since the first frame.
    """
    depth, contact = clip.in_frame(batch["inv_depth"][row], motion)
    name = named_at(edit)
    thing = np.nan if name is None else _things(batch, row)[name]
    if not np.isfinite(thing):
        return ObjectDepth(depth, depth, contact)
    depth = beside_thing(edit, thing)
    limit = max(depth, thing)
    scene = limit if clip.front is None else max(limit, contact)
    matte = batch["thing_alpha"][row, list(batch["thing_names"][row]).index(name)]
    if (own := batch["inv_depth"][row][matte >= 0.5]).size:
        scene = max(scene, float(np.quantile(own, _NEAREST)) + _CLEARLY)
    return ObjectDepth(depth, limit, scene)


def covering(
    edit: Insert,
    batch: Batch,
    row: int,
    at: Placement,
    depth: ObjectDepth,
    window: tuple[slice, ...],
    is_nearer: Callable[[np.ndarray, float], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """How much of every pixel of a frame is before the object, and how much of it is a thing.

    A thing covers the object with its whole matte or not at all, as its one depth says. One that
    the object is behind by name always does, one that it is before by name never. An object without
    ``at`` stands on what is under its foot, so a thing there counts as scene.

    Args:
        edit: the job's section.
        batch: columns after the thing stage.
        row: of the frame.
        at: where the object stands.
        depth: of the object.
        window: rows and columns around the object.
        is_nearer: from a map float32 [H,W] and an inverse depth, where the map, cleaned, is nearer.

    Returns:
        Two shares float32 [H,W], multiples of 1/65536.
    """
    known, named = _things(batch, row), named_at(edit)
    names = [name for name in known if edit.at is not None or not _under(batch, row, at, name)]
    shares = mattes(batch, row, names)
    before = np.zeros(batch["inv_depth"].shape[1:], np.float32)
    for name, share in zip(names, shares, strict=True):
        if isinstance(edit.at, AtBehind) if name == named else known[name] > depth.things:
            before += share
    things = shares.sum(axis=0, dtype=np.float32)
    scene = batch["inv_depth"][row]
    if things[window].any():
        scene = scene.copy()
        scene[window] = without_things(scene[window], things[window])
    return before + (1 - things) * is_nearer(scene, depth.scene), things


def without_things(inv_depth: np.ndarray, things: np.ndarray) -> np.ndarray:
    """A scene's depth float32 [H,W] as if its things, a share float32 [H,W], were not there.

    Pixels of a thing, and those next to it, are no nearer than what is around and goes on there:
    estimators smear a thing's depth over its edge.
    """
    size = 2 * _HALO + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    around = cv2.dilate((things > 0).astype(np.uint8), kernel) > 0
    return np.minimum(inv_depth, far_depth(inv_depth, around, np.inf))


def _things(batch: Batch, row: int) -> dict[str, float]:
    """The things' inverse depths by name."""
    pairs = zip(batch["thing_names"][row], batch["thing_inv_depth"][row], strict=True)
    return {str(name): float(depth) for name, depth in pairs}


def _under(batch: Batch, row: int, at: Placement, name: str) -> bool:
    """Whether the object's foot is on a thing."""
    alpha = batch["thing_alpha"][row, list(batch["thing_names"][row]).index(name)]
    y, x = (
        min(max(int(part), 0), size - 1)
        for part, size in zip(at.contact[::-1], alpha.shape, strict=True)
    )
    return bool(alpha[y, x] >= 0.5)
