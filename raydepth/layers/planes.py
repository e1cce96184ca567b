"""Resolves a job's planes to numbers on the shot's scale, once per clip."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from raydepth.depth.calibrate import Calibration
from raydepth.errors import JobError
from raydepth.layers.settings import AtBox, AtMetres, AtPoint, AtQuantile, Plane

_BINS = 128
_SMOOTH = 2.5
"""Standard deviation in bins (2 % of the range) of the smoothing before valleys are looked for."""
_GAP = 0.8
"""A valley counts as a gap when it is lower than this part of the lower peak next to it."""
_MERGE = 1e-3
"""Planes that are closer than this are one plane."""


def resolve_planes(
    planes: Sequence[Plane],
    sampled: Sequence[np.ndarray],
    first: np.ndarray,
    calibration: Calibration,
) -> tuple[float, ...]:
    """Turns the planes that a job asks for into normalised inverse depths.

    Args:
        planes: as in ``layers.at``: ``auto``, a value, quantile, metres, point or box.
        sampled: ``inv_depth`` float32 [H,W] of the frames sampled over the clip (``auto``,
            quantile).
        first: ``inv_depth`` float32 [H,W] of the shot's first frame (point, box).
        calibration: the shot's scale (metres).

    Returns:
        Inverse depths, nearest (largest) first, distinct: planes within 0.001 of each other are
        merged. A pixel belongs to the layer in front of plane d when its ``inv_depth >= d``.

    Raises:
        JobError: metres are asked of a model that has none.
    """
    resolved = sorted(
        (_resolve(plane, sampled, first, calibration) for plane in planes), reverse=True
    )
    distinct = resolved[:1]
    for value in resolved[1:]:
        if distinct[-1] - value > _MERGE:
            distinct.append(value)
    return tuple(distinct)


def _resolve(
    plane: Any, sampled: Sequence[np.ndarray], first: np.ndarray, calibration: Calibration
) -> float:
    match plane:
        case "auto":
            return auto_plane(np.concatenate([frame.ravel() for frame in sampled]))
        case AtQuantile():
            return float(
                np.quantile(np.concatenate([frame.ravel() for frame in sampled]), plane.quantile)
            )
        case AtMetres():
            if calibration.kind != "depth_m":
                raise JobError(
                    "layers.at: metres needs a metric depth model; "
                    f"{calibration.estimator} gives {calibration.kind}"
                )
            return float(calibration.normalise_inverse(1 / plane.metres))
        case AtPoint():
            return plane_behind_point(first, *plane.point)
        case AtBox():
            return plane_behind_box(first, *plane.box)
    return float(plane)


def auto_plane(values: np.ndarray) -> float:
    """The widest gap of the histogram if it has one, Otsu's plane otherwise.

    Otsu's plane (Otsu 1979) lies halfway between the two class means. In real clips that is often
    the slope of the ground: it cuts through surfaces, and a small change of depth moves many pixels
    across it. So the deepest valley between the two class means is taken where it is a real gap, 20
    % lower than the lower of the peaks on its two sides.

    Seen with FastDepth on the sample clips: on ``dog`` Otsu (0.37) loses the person in half of the
    frames, and the valley (0.22) keeps person and dog in all. On ``bikes`` Otsu (0.41) loses the
    cyclist, and the valley (0.25) keeps him. ``cups`` has no gap, and its shallow valley (0.61)
    would lose more of the cups than Otsu (0.45) does.

    Args:
        values: ``inv_depth`` of all sampled pixels, any shape; values outside 0..1 are left out.
    """
    histogram, edges = np.histogram(values, _BINS, (0.0, 1.0))
    centres = (edges[1:] + edges[:-1]) / 2
    if np.count_nonzero(histogram) < 2:
        return float(np.median(values))
    otsu, far_mean, near_mean = _otsu(histogram, centres)
    smooth = _smoothed(histogram)
    between = np.flatnonzero((centres > far_mean) & (centres < near_mean))
    if between.size:
        lowest = smooth[between] <= smooth[between].min() + 1e-3 * smooth.max()
        starts = np.flatnonzero(np.diff(lowest.astype(np.int8), prepend=0) == 1)
        ends = np.flatnonzero(np.diff(lowest.astype(np.int8), append=0) == -1)
        widest = np.argmax(ends - starts)
        valley = between[(starts[widest] + ends[widest]) // 2]
        if smooth[valley] < _GAP * min(smooth[:valley].max(initial=0), smooth[valley:].max()):
            return float(centres[valley])
    return otsu


def plane_behind_point(inv_depth: np.ndarray, x: float, y: float) -> float:
    """The plane just behind the object at a point: the next valley of the frame's histogram.

    The depth at the point is the median of a neighbourhood of 3 % of the short side. Where depth
    falls off without a valley, the plane lies a tenth of the clip's range behind the object.

    Args:
        inv_depth: float32 [H,W] of the shot's first frame.
        x: fraction of the width.
        y: fraction of the height.
    """
    height, width = inv_depth.shape
    row, column = min(int(y * height), height - 1), min(int(x * width), width - 1)
    reach = max(round(0.015 * min(height, width)), 1)
    near_by = inv_depth[
        max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1
    ]
    return _next_valley(inv_depth, float(np.median(near_by)))


def plane_before_point(inv_depth: np.ndarray, x: float, y: float) -> float:
    """The plane just in front of the object at a point; the reverse of ``plane_behind_point``."""
    return -plane_behind_point(-inv_depth, x, y)


def plane_behind_box(inv_depth: np.ndarray, x0: float, y0: float, x1: float, y1: float) -> float:
    """The plane between the object in a box and its surroundings.

    It is Otsu's plane of the box, enlarged by a quarter on each side. The object is the median of
    the box's middle. Where it is not on the near side of that plane, something else in the box is
    nearer. Then the plane lies behind the object as for a point.

    Args:
        inv_depth: float32 [H,W] of the shot's first frame.
        x0: left, fraction of the width.
        y0: top, fraction of the height.
        x1: right.
        y1: bottom.
    """
    height, width = inv_depth.shape

    def crop(grow: float) -> np.ndarray:
        wide, high = grow * (x1 - x0), grow * (y1 - y0)
        left, top = max(int((x0 - wide) * width), 0), max(int((y0 - high) * height), 0)
        right, bottom = int(np.ceil((x1 + wide) * width)), int(np.ceil((y1 + high) * height))
        return inv_depth[min(top, height - 1) : bottom, min(left, width - 1) : right]

    subject = float(np.median(crop(-0.25)))
    around = crop(0.25)
    histogram, edges = np.histogram(around, _BINS)
    if np.count_nonzero(histogram) > 1:
        plane, _, _ = _otsu(histogram, (edges[1:] + edges[:-1]) / 2)
        if plane < subject:
            return plane
    return _next_valley(inv_depth, subject)


def _smoothed(histogram: np.ndarray) -> np.ndarray:
    row = histogram.astype(np.float64)[None]
    return cv2.GaussianBlur(row, (21, 1), _SMOOTH, borderType=cv2.BORDER_REPLICATE)[0]


def _otsu(histogram: np.ndarray, centres: np.ndarray) -> tuple[float, float, float]:
    """Otsu's plane (the middle where several are as good) and the means of the two classes."""
    weight = histogram / histogram.sum()
    below = np.cumsum(weight)[:-1]
    moment = np.cumsum(weight * centres)
    mean = moment[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.nan_to_num((mean * below - moment[:-1]) ** 2 / (below * (1 - below)))
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    split = best[len(best) // 2]
    far_mean, near_mean = moment[split] / below[split], (mean - moment[split]) / (1 - below[split])
    return float((centres[split] + centres[split + 1]) / 2), float(far_mean), float(near_mean)


def _next_valley(inv_depth: np.ndarray, depth: float) -> float:
    """The first valley of a frame's histogram within 0.4 behind ``depth``, or else 0.1 behind it.

    A valley has to be lower than half the object's own peak, or failing that than 80 % of it. The
    motorcycle of skimage's stereo pair has a dip between its engine and its rear wheel that is no
    gap behind it. A valley with less than 2 % of the pixels behind it does not count.
    """
    histogram, edges = np.histogram(inv_depth, _BINS // 2, (depth - 0.4, depth))
    smooth = _smoothed(histogram)
    inner = np.flatnonzero((smooth[1:-1] <= smooth[:-2]) & (smooth[1:-1] < smooth[2:])) + 1
    inner = inner[edges[inner] > np.quantile(inv_depth, 0.02)]
    for low in (0.5, _GAP):
        deep = [i for i in inner if smooth[i] < low * smooth[i:].max()]
        if deep:
            return float((edges[deep[-1]] + edges[deep[-1] + 1]) / 2)
    return depth - 0.1
