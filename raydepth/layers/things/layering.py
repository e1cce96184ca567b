"""Things as layers: what an edit asks of the layer stage, and the things' shares of a frame."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from raydepth.batch import Batch

STEP = np.float32(2**16)
"""Shares are multiples of 1 / this, as those of ``layers.stack.alpha_masks``."""


@dataclass(frozen=True)
class Layering:
    """What an edit makes of things, as the layer stage needs it."""

    needs: tuple[str, ...] = ()
    """Things that the edit speaks of: a frame without one of them is left alone."""
    lifts: tuple[str, ...] = ()
    """Things that are the near layers, in the place of what is nearer than the planes."""
    beside: bool = False
    """Whether every thing is a layer of its own beside those between the planes."""
    removes: tuple[str, ...] = ()
    """Names of layers that are taken away. Where none is, the hole is behind all near layers."""

    shadow: bool = False
    """Whether the shadow of what is lifted goes with it."""
    grow_down: float = 0.0
    """By what part of its height the hole of what is lifted is drawn downward."""

    def removed_things(self, names: Sequence[str]) -> list[str]:
        """Those of a job's things behind which the far layer is to be seen: all where ``lifts`` or
        ``beside`` make layers of them and nothing is removed.
        """
        if self.beside:
            return [name for name in names if not self.removes or name in self.removes]
        return list(self.lifts)

    def removes_between(self, layers: Iterable[str]) -> bool:
        """Whether what is hidden by a near layer between planes is to be seen."""
        if self.beside:
            return not self.removes or any(name in self.removes for name in layers)
        return not self.lifts


def missing(batch: Batch, row: int, names: Iterable[str]) -> dict[str, str]:
    """Those of these things that are ``lost`` or ``absent`` in a frame, and which of it."""
    if not (names := tuple(names)):
        return {}
    states = dict(zip(batch["thing_names"][row], batch["thing_state"][row], strict=True))
    return {name: states[name] for name in names if states[name] in ("lost", "absent")}


def mattes(batch: Batch, row: int, names: Iterable[str]) -> np.ndarray:
    """The mattes of these things in a frame, float32 [T,H,W], as shares that can be added up.

    They are multiples of 1/65536 and sum to at most 1. Where mattes overlap the nearer thing has
    what it shows, and the farther one at most what is left. Along the edge between two things that
    touch, both shares stay whole, so nothing of what is behind shines through.
    """
    known = [str(name) for name in batch["thing_names"][row]]
    wanted = sorted(
        (known.index(name) for name in names),
        key=lambda t: (-np.nan_to_num(batch["thing_inv_depth"][row, t], nan=-np.inf), known[t]),
    )
    left = np.ones(batch["thing_alpha"].shape[2:], np.float32)
    shares = np.zeros((len(known), *left.shape), np.float32)
    for t in wanted:
        shares[t] = np.minimum(np.rint(batch["thing_alpha"][row, t].clip(0, 1) * STEP) / STEP, left)
        left -= shares[t]
    return shares[[known.index(name) for name in names]]


def beside_planes(things: np.ndarray, between: np.ndarray) -> np.ndarray:
    """A partition of things and, of what they leave, of the layers between the planes.

    Args:
        things: float32 [T,H,W], from ``mattes``.
        between: float32 [K+1,H,W], from ``alpha_masks``.

    Returns:
        float32 [T+K+1,H,W], multiples of 1/65536 that sum to exactly 1 at every pixel.
    """
    left = 1 - things.sum(axis=0, dtype=np.float32)
    nearer = np.rint(np.cumsum(between, axis=0) * left * STEP) / STEP
    return np.concatenate([things, np.diff(nearer, axis=0, prepend=np.float32(0))])


def find_avoided(
    batch: Batch, row: int, removed: Sequence[str], behind: float, dilate: int
) -> np.ndarray:
    """Pixels bool [H,W] of things that stay and are nearer than something removed, dilated.

    They are not what is behind it, so nothing is filled from them.

    Args:
        batch: columns of the thing stage.
        row: of the frame.
        removed: names of the things that are removed.
        behind: what else is removed is nearer than this; inf: nothing is.
        dilate: pixels.
    """
    depths = dict(zip(batch["thing_names"][row], batch["thing_inv_depth"][row], strict=True))
    behind = min([behind, *(depths[name] for name in removed if depths[name] == depths[name])])
    others = [name for name, depth in depths.items() if name not in removed and depth > behind]
    if not others:
        return np.zeros(batch["thing_alpha"].shape[2:], bool)
    found = (batch["thing_alpha"][row][np.isin(batch["thing_names"][row], others)] > 0).any(axis=0)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * dilate + 1, 2 * dilate + 1))
    return cv2.dilate(found.astype(np.uint8), kernel) > 0
