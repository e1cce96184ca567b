"""Upsampling guided by the full-size frame, for pictures, alphas and depth."""

import math
from collections.abc import Callable

import cv2
import numpy as np

WINDOW = 7
"""Pixels of the low grid over which a picture is compared with its guide."""
FLAT = 4.0
"""Variance in squared 8-bit levels below which a guide counts as flat: noise is no edge."""
STEEPEST = 4.0
"""A detail of the guide is enhanced at most so much (a strong grade), and never turned around."""

_ALL = slice(None)


class Enlarged:
    """A float32 [h,w] or [h,w,C] array on a finer grid of the same extent, band by band.

    It is bicubic with continued borders. A whole enlarged frame is never held in memory: columns
    are resized at once, rows for the requested band.
    """

    def __init__(self, low: np.ndarray, size: tuple[int, int], columns: slice = _ALL) -> None:
        """Resizes the columns.

        Args:
            low: what to enlarge.
            size: (H, W) of the finer grid.
            columns: those of it that are wanted.
        """
        self._height = size[0]
        wide = cv2.resize(low, (size[1], len(low)), interpolation=cv2.INTER_CUBIC)
        self._wide = np.ascontiguousarray(wide[:, columns])

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Rows [start, stop) of the enlarged array's wanted columns, float32."""
        height = len(self._wide)
        position = (np.arange(rows.start, rows.stop) + 0.5) * height / self._height - 0.5
        base = np.floor(position).astype(int)
        x = position - base
        a = -0.75  # Keys' kernel with OpenCV's parameter, as the columns have it
        band = np.zeros((len(base), *self._wide.shape[1:]), np.float32)
        for tap in range(-1, 3):
            d = np.abs(x - tap)
            near = ((a + 2) * d - (a + 3)) * d * d + 1
            far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
            weight = np.where(d <= 1, near, far).astype(np.float32)
            part = self._wide[np.clip(base + tap, 0, height - 1)]
            part *= weight.reshape(-1, *[1] * (part.ndim - 1))
            band += part
        return band


def detail_gain(
    low: np.ndarray, guide: np.ndarray, *, prior: float, steepest: float = STEEPEST
) -> np.ndarray:
    """How far the guide's finer detail belongs to a picture too, per pixel.

    It is the slope of the local fit times its r squared. The fit is that of Fast Guided Filter (He
    and Sun, 2015), whose residual is not smoothed away here. Where the picture is the guide, the
    gain is 1. Where it is the guide graded, it is the grade's slope. Where it shows something else,
    it is about 0.

    Args:
        low: float32 [h,w] or [h,w,C].
        guide: float32 of the same shape, 8-bit levels.
        prior: slope assumed where the guide is flat: 1 for pictures, 0 for masks and depth.
        steepest: bound of the slope.

    Returns:
        float32 of the same shape.
    """

    def mean(values: np.ndarray) -> np.ndarray:
        return cv2.boxFilter(values, -1, (WINDOW, WINDOW), borderType=cv2.BORDER_REFLECT_101)

    mean_low, mean_guide = mean(low), mean(guide)
    covariance = mean((low - mean_low) * (guide - mean_guide)) + prior * FLAT
    variance = mean((guide - mean_guide) ** 2) + FLAT
    own = mean((low - mean_low) ** 2) + (prior**2 * FLAT or np.float32(1e-6))
    bound = 0.0 if prior else -steepest
    return np.clip(covariance / variance, bound, steepest) * np.minimum(
        covariance**2 / (variance * own), 1
    )


class Guided:
    """Arrays of one frame enlarged to full size, with the frame's detail where it is theirs.

    Args:
        guide: uint8 [h,w,3], the frame at low resolution.
        full: uint8 [H,W,3], the frame at full size.
        columns: of the full-size frame, those that are wanted.
    """

    def __init__(self, guide: np.ndarray, full: np.ndarray, columns: slice = _ALL) -> None:
        self._guide, self._full = guide.astype(np.float32), full[:, columns]
        self._size, self._columns = full.shape[:2], columns
        self._smooth = self._enlarged(self._guide)

    def _enlarged(self, low: np.ndarray) -> Enlarged:
        return Enlarged(low, self._size, self._columns)

    def picture(self, low: np.ndarray) -> Callable[[slice], np.ndarray]:
        """Enlarges a picture, uint8 or float32 [h,w,3] in 8-bit levels.

        Returns rows -> float32 [rows,W,3], not clipped. The frame itself stays itself.
        """
        low = low.astype(np.float32)
        if np.array_equal(low, self._guide):
            return lambda rows: self._full[rows].astype(np.float32)
        smooth, gain = self._enlarged(low), self._enlarged(detail_gain(low, self._guide, prior=1.0))
        return lambda rows: smooth[rows] + gain[rows] * (self._full[rows] - self._smooth[rows])

    def mask(self, low: np.ndarray) -> Callable[[slice], np.ndarray]:
        """Enlarges an alpha, float32 [h,w] in 0..1; its edges go where the frame's are.

        Returns rows -> float32 [rows,W], 0..1.
        """
        return self._plane(low, 0.0, 1.0)

    def depth(self, low: np.ndarray) -> Callable[[slice], np.ndarray]:
        """Enlarges inverse depth, float32 [h,w]; its edges go where the frame's are.

        Returns rows -> float32 [rows,W] in the same range.
        """
        return self._plane(low, float(low.min()), float(low.max()))

    def _plane(self, low: np.ndarray, least: float, most: float) -> Callable[[slice], np.ndarray]:
        if least == most or (low == low.flat[0]).all():
            return lambda rows: np.full(
                (rows.stop - rows.start, self._full.shape[1]), low.flat[0], np.float32
            )
        grey = self._guide @ _LUMA
        # Eight levels of contrast at least make an edge of the whole range.
        gain = self._enlarged(detail_gain(low, grey, prior=0.0, steepest=(most - least) / 8))
        smooth = self._enlarged(low)
        return lambda rows: np.clip(
            smooth[rows] + gain[rows] * ((self._full[rows] - self._smooth[rows]) @ _LUMA),
            least,
            most,
        )


_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def bands(height: int, rows: int = 64) -> list[slice]:
    """Cuts a frame's rows into bands; what is made of one is independent of the others."""
    count = math.ceil(height / rows)
    return [slice(i * height // count, (i + 1) * height // count) for i in range(count)]
