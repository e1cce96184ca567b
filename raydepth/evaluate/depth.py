"""Depth against ground truth: alignment as the estimator's kind demands, then metrics.

Estimates are float32 [H,W] in the unit of their kind. Truth is float32 [H,W] in metres, with NaN or
0 where there is no reading. The metrics take metric depth and a bool mask [H,W] of the pixels that
count, and give NaN where none does.
"""

from dataclasses import dataclass

import numpy as np

from raydepth.depth.settings import DepthKind

NEAREST = 1e-3
"""Smallest depth in metres and smallest disparity in 1/metres that a ratio or a logarithm ever
sees."""


@dataclass(frozen=True)
class Aligned:
    """An estimate brought to metres."""

    depth: np.ndarray
    """float64 [H,W], metres."""
    scale: float
    shift: float


def readings(estimate: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Bool [H,W]: where the estimate is finite and the truth has a reading (finite and above 0)."""
    return np.isfinite(estimate) & np.isfinite(truth) & (np.nan_to_num(truth) > 0)


def align(
    estimate: np.ndarray,
    truth: np.ndarray,
    kind: DepthKind,
    depth_range: tuple[float, float] | None = None,
) -> Aligned:
    """Aligns an estimate to metres, in the one way that its kind allows.

    ``depth_m`` is metric already: scale 1, shift 0, nothing is fitted or clipped. ``disparity_rel``
    is fitted to 1/truth by least squares, clipped at 1e-3 and inverted. ``depth_rel`` is fitted to
    the truth itself (Ranftl et al. 2020, MiDaS, eq. 4; Ke et al. 2024, Marigold, section 4). Both
    are then clipped to ``depth_range`` in metres, by default the range of the frame's own readings.
    Scale and shift are NaN where the frame has fewer than two readings.
    """
    depth = estimate.astype(np.float64)
    if kind == "depth_m":
        return Aligned(depth, 1.0, 0.0)
    valid = readings(estimate, truth)
    if np.count_nonzero(valid) < 2:
        return Aligned(np.full_like(depth, np.nan), float("nan"), float("nan"))
    truth = truth.astype(np.float64)
    target = truth[valid] if kind == "depth_rel" else 1.0 / truth[valid]
    source = depth[valid]
    centred = source - source.mean()
    # A constant map has no scale: the best fit is the mean reading.
    scale = (
        float(np.sum(centred * (target - target.mean())) / np.sum(centred**2))
        if np.ptp(source) > 0
        else 0.0
    )
    shift = float(target.mean() - scale * source.mean())
    depth = scale * depth + shift
    if kind == "disparity_rel":
        depth = 1.0 / np.maximum(depth, NEAREST)
    low, high = depth_range or (truth[valid].min(), truth[valid].max())
    return Aligned(np.clip(depth, low, high), scale, shift)


def rmse(depth: np.ndarray, truth: np.ndarray, valid: np.ndarray) -> float:
    """Root of the mean squared difference in metres, over one frame's valid pixels."""
    return _mean(np.square(depth[valid] - truth[valid].astype(np.float64))) ** 0.5


def abs_rel(depth: np.ndarray, truth: np.ndarray, valid: np.ndarray) -> float:
    """Mean of |depth - truth| / truth."""
    actual = truth[valid].astype(np.float64)
    return _mean(np.abs(depth[valid] - actual) / actual)


def delta(depth: np.ndarray, truth: np.ndarray, valid: np.ndarray, k: int = 1) -> float:
    """Share of pixels with max(depth / truth, truth / depth) < 1.25^k (Eigen et al. 2014)."""
    actual, estimated = truth[valid].astype(np.float64), np.maximum(depth[valid], NEAREST)
    return _mean(np.maximum(estimated / actual, actual / estimated) < 1.25**k)


def silog(depth: np.ndarray, truth: np.ndarray, valid: np.ndarray) -> float:
    """Scale-invariant logarithmic error, 100 sqrt(mean d^2 - (mean d)^2), as KITTI defines it.

    d = ln depth - ln truth.
    """
    d = np.log(np.maximum(depth[valid], NEAREST)) - np.log(truth[valid].astype(np.float64))
    return 100.0 * max(_mean(d * d) - _mean(d) ** 2, 0.0) ** 0.5 if d.size else float("nan")


def sample_pairs(valid: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Flat indices int64 [count,2] of random pairs of valid pixels, with replacement.

    [0,2] if fewer than two are valid.
    """
    where = np.flatnonzero(valid)
    if len(where) < 2:
        return np.zeros((0, 2), np.int64)
    return where[np.random.default_rng(seed).integers(0, len(where), (count, 2))]


def order_accuracy(
    inv_depth: np.ndarray, truth: np.ndarray, pairs: np.ndarray, ratio: float = 1.1
) -> float:
    """Share of point pairs whose nearer point is nearer in the estimate too.

    It is the accuracy of DA-2K (Yang et al. 2024).

    Args:
        inv_depth: estimate [H,W] of any scale, larger = nearer.
        truth: metres [H,W].
        pairs: flat indices [P,2] of pixels with a reading.
        ratio: pairs whose true depths differ by less than this factor have no clear order and don't
            count.
    """
    first, second = truth.ravel()[pairs].astype(np.float64).T
    clear = np.maximum(first, second) >= ratio * np.minimum(first, second)
    one, other = inv_depth.ravel()[pairs][clear].T
    return _mean(np.where(first[clear] < second[clear], one > other, one < other))


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if values.size else float("nan")
