"""Scale-and-shift alignment of a frame's depth to the first frame's.

Estimates vary from frame to frame; an inserted object should not move with them.
"""

import cv2
import numpy as np

from raydepth.depth.calibrate import fit_scale_and_shift

_GRID = 36
"""Short side of the grid on which the two are compared."""
_SAME = 0.02
"""Median difference of inverse depth below which the scales are the same."""


def thumbnail(inv_depth: np.ndarray) -> tuple[tuple[float, ...], ...]:
    """A small copy of a map float32 [H,W] that is kept with the clip, with 4 decimals."""
    height, width = inv_depth.shape
    share = min(_GRID / min(height, width), 1.0)
    size = (max(round(width * share), 1), max(round(height * share), 1))
    small = cv2.resize(inv_depth, size, interpolation=cv2.INTER_AREA)
    return tuple(tuple(round(float(value), 4) for value in row) for row in small)


def align_scale_and_shift(
    reference: tuple[tuple[float, ...], ...], inv_depth: np.ndarray, motion: np.ndarray
) -> tuple[float, float]:
    """Scale and shift from the first frame's inverse depth to this frame's.

    They come from ``fit_scale_and_shift``. They are (1, 0) where the scales agree, or where the
    frames have too little in common.

    Args:
        reference: ``thumbnail`` of the clip's first frame.
        inv_depth: float32 [H,W] of this frame.
        motion: float64 [2,3], pixels of the first frame -> pixels of this one.
    """
    first = np.array(reference, np.float32)
    rows, columns = first.shape
    height, width = inv_depth.shape
    y, x = np.mgrid[:rows, :columns].astype(np.float64) + 0.5
    points = (
        np.stack([x * width / columns, y * height / rows], axis=-1) @ motion[:, :2].T + motion[:, 2]
    )
    inside = ((points >= 0) & (points < (width, height))).all(axis=-1)
    if inside.sum() < 12:
        return 1.0, 0.0
    smooth = cv2.blur(inv_depth, (max(width // columns, 1), max(height // rows, 1)))
    at = points[inside].astype(int)
    there, here = first[inside].astype(np.float64), smooth[at[:, 1], at[:, 0]].astype(np.float64)
    if np.median(np.abs(here - there)) < _SAME:
        return 1.0, 0.0
    return fit_scale_and_shift(there, here) or (1.0, 0.0)
