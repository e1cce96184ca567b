"""How far away a thing is: one inverse depth a frame, steady over time."""

import cv2
import numpy as np

from raydepth.layers.things.ground import find_ground

_MEDIAN_OF = 5
"""Samples over which depth is smoothed."""
_MEAN_OF = 9
"""Medians over which depth is averaged then, with weights that fall off to both sides: estimators
waver more slowly than samples come."""
_STANDS = 0.6
"""Share of the samples that must show a thing on the ground, so that the ground places it."""
_APART = 0.15
"""A thing whose own depth is farther from the ground's at its foot does not stand there."""


def measure_depth(inv_depth: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """A thing's depth in one frame, by its own pixels and by the ground at its foot.

    Args:
        inv_depth: float32 [H,W], normalised.
        mask: bool [H,W], not empty.

    Returns:
        The median over the eroded mask, and the ground's inverse depth at the lowest point of the
        mask; NaN where there is no ground, the foot is out of the picture, or the thing is
        elsewhere.
    """
    if not np.isfinite(inv_depth).all():
        return float("nan"), float("nan")
    own = _own_depth(inv_depth, mask)
    height, width = mask.shape
    rows, columns = np.nonzero(mask)
    foot = float(np.quantile(rows, 0.98))
    if rows.max() >= height - 2:
        return own, float("nan")
    around = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    ground = find_ground(inv_depth, around)
    if ground is None:
        return own, float("nan")
    x = float(np.median(columns[rows >= foot]))
    there = float(ground.at((x + 0.5) / width, (foot + 0.5) / height))
    return own, there if abs(there - own) <= _APART else float("nan")


def _own_depth(inv_depth: np.ndarray, mask: np.ndarray) -> float:
    inner, side = mask.astype(np.uint8), max(3, round(0.1 * np.sqrt(mask.sum())) | 1)
    eroded = cv2.erode(inner, np.ones((side, side), np.uint8)) > 0
    return float(np.median(inv_depth[eroded if eroded.any() else mask]))


def steady_depth(samples: np.ndarray) -> np.ndarray:
    """A thing's depth in every frame of a shot.

    The ground's depth is taken where most samples have it, else the thing's own: changing between
    the two would make it jump. The median of five samples goes over time, then a mean of nine;
    between samples it is linear.

    Args:
        samples: float64 [n,2], as ``measure_depth`` gave them; NaN in frames without.

    Returns:
        float32 [n]; before the first sample the first, behind the last the last; all NaN where
        there is no sample.
    """
    own, ground = samples.T
    measured, standing = np.isfinite(own), np.isfinite(ground)
    chosen = own
    if measured.any() and standing.sum() >= _STANDS * measured.sum():
        chosen = ground
    rows = np.flatnonzero(np.isfinite(chosen))
    if not rows.size:
        return np.full(len(samples), np.nan, np.float32)
    values = np.median(_windows(chosen[rows], _MEDIAN_OF), 1)
    values = _windows(values, _MEAN_OF) @ (np.bartlett(_MEAN_OF + 2)[1:-1] * 2 / (_MEAN_OF + 1))
    return np.interp(np.arange(len(samples)), rows, values).astype(np.float32)


def _windows(values: np.ndarray, length: int) -> np.ndarray:
    """The values [n] around each value, [n,length]; beyond the ends they go on mirrored."""
    padded = np.pad(values, length // 2, mode="symmetric")
    return np.lib.stride_tricks.sliding_window_view(padded, length)
