"""The one depth convention: inverse depth, larger = nearer, on one scale for a whole clip."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raydepth.depth.settings import DepthKind

NEAREST_M = 1e-3
"""Metres closer than this count as this, so that inverse depth stays finite."""

_FITS = 0.12
"""Median residual of the fit above which two maps have too little in common."""
_SCALES = (0.5, 2.0)
"""Scales outside these are no variation of one estimator."""


def to_inverse(raw: np.ndarray, kind: DepthKind) -> np.ndarray:
    """Turns an estimator's numbers into unnormalised inverse depth, larger = nearer.

    Relative depth is only affine in depth, so no division is justified; its sign is changed.

    Args:
        raw: float [...] in the kind's unit: ``disparity_rel`` (any scale, larger = nearer),
            ``depth_m`` (metres) or ``depth_rel`` (any scale, 0 = near).
        kind: what the numbers are.

    Returns:
        float32 of the same shape: the disparity itself, 1 / max(metres, 1e-3), or minus the
            relative depth. NaN stays NaN.
    """
    raw = np.asarray(raw, dtype=np.float32)
    if kind == "depth_m":
        return np.float32(1) / np.maximum(raw, np.float32(NEAREST_M))
    return -raw if kind == "depth_rel" else raw


@dataclass(frozen=True)
class Calibration:
    """How one clip's raw estimates become ``inv_depth``: (raw inverse depth - lo) / (hi - lo).

    Attributes:
        estimator: name of the model that the numbers came from.
        kind: what its numbers are.
        lo: raw inverse depth that becomes 0, the far end of the clip's robust range.
        hi: raw inverse depth that becomes 1, its near end; always larger than ``lo``.
    """

    estimator: str
    kind: DepthKind
    lo: float
    hi: float

    def normalise(self, raw: np.ndarray) -> np.ndarray:
        """Raw estimates [...] to ``inv_depth`` float32 [...]: robust range to 0..1, unclipped."""
        return self.normalise_inverse(to_inverse(raw, self.kind))

    def normalise_inverse(self, raw_inverse: np.ndarray | float) -> np.ndarray:
        """Unnormalised inverse depth [...] to ``inv_depth`` float32 [...]."""
        return ((np.asarray(raw_inverse, dtype=np.float64) - self.lo) / (self.hi - self.lo)).astype(
            np.float32
        )

    def raw_inverse(self, inv_depth: np.ndarray | float) -> np.ndarray:
        """The way back: ``inv_depth`` [...] to unnormalised inverse depth, float64 [...]."""
        return self.lo + np.asarray(inv_depth, dtype=np.float64) * (self.hi - self.lo)

    def metres(self, inv_depth: np.ndarray | float) -> np.ndarray:
        """``inv_depth`` [...] to metres, float64 [...]; inf at an inverse depth of 0 or less.

        Raises:
            ValueError: the kind is not metric.
        """
        if self.kind != "depth_m":
            raise ValueError(f"{self.estimator} gives {self.kind}, which has no metres")
        inverse = self.raw_inverse(inv_depth)
        return np.divide(1.0, inverse, out=np.full_like(inverse, np.inf), where=inverse > 0)


def calibrate(raw: Sequence[np.ndarray], *, estimator: str, kind: DepthKind) -> Calibration:
    """Fixes a clip's scale: the 2 %..98 % range of all pixels of its sampled frames.

    One range for the clip, instead of one for each frame, keeps video from flickering
    (Depth-Anything-V2#85).

    Args:
        raw: float [H,W] maps in the kind's unit, as the estimator gave them; pixels that are not
            finite are left out. Maps of different sizes are legal.
        estimator: name of the model.
        kind: what its numbers are.

    Raises:
        ValueError: no map holds a finite pixel.
    """
    inverse = [to_inverse(frame, kind).ravel() for frame in raw]
    pixels = (
        np.concatenate([frame[np.isfinite(frame)] for frame in inverse])
        if inverse
        else np.empty(0, np.float32)
    )
    if not pixels.size:
        raise ValueError(
            f"{estimator} gave no finite depth in {len(inverse)} sampled frames, so the clip has "
            "no scale"
        )
    lo, hi = (float(value) for value in np.quantile(pixels.astype(np.float64), (0.02, 0.98)))
    if hi - lo <= 1e-6 * max(
        abs(lo), abs(hi), 1e-6
    ):  # a constant map: float32 noise must not become depth
        middle, half = (lo + hi) / 2, 0.5 * max(abs(lo), abs(hi), 1e-6)
        lo, hi = middle - half, middle + half
    return Calibration(estimator=estimator, kind=kind, lo=lo, hi=hi)


def fit_scale_and_shift(reference: np.ndarray, inv_depth: np.ndarray) -> tuple[float, float] | None:
    """Scale and shift that align one frame's inverse depths to another's.

    They are a least-squares fit without the worst points, because estimates vary from frame to
    frame by scale and shift. Most of a scene is static, so the points that moved are among those
    left out.

    Args:
        reference: float [n], n >= 2, of one frame.
        inv_depth: float [n], at the same points of the scene in the other.

    Returns:
        None where the two have too little in common.
    """
    terms = np.column_stack([reference, np.ones_like(reference)]).astype(np.float64)
    here = inv_depth.astype(np.float64)
    used = np.ones(len(here), bool)
    for _ in range(8):
        (scale, offset), *_ = np.linalg.lstsq(terms[used], here[used], rcond=None)
        rest = np.abs(terms @ (scale, offset) - here)
        used = rest <= max(1.5 * float(np.median(rest)), 0.01)
    if np.median(rest) > _FITS or not _SCALES[0] <= scale <= _SCALES[1]:
        return None
    return float(scale), float(offset)
