"""From a thing's mask at tracking size to its matte in a frame, at working or at source size."""

import cv2
import numpy as np

from raydepth.depth.guided import guided_fit

_STEP = np.float32(2**16)
"""Mattes are multiples of 1 / this, so that sums of shares are exact in float32."""
_RING = 2.0
"""Half the ring's width in pixels of the mask."""
_LEAST = 1 / 128
"""Half the ring's width at least, as a part of the picture's short side: what a model's outline
errs by, and hair reaches."""
_EPS = 2e-4
"""Variance of colours 0..1 below which a window is one surface."""
_COEFFICIENTS = 5.0
"""Half the ring's width in pixels at which the filter's coefficients are computed."""
_CLEAR = 0.12
"""Shares nearer to 0 or 1 than this are wholly so: what is left of textures on either side."""


def matte(rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The matte of a thing: hard inside and outside, and in a ring around the edge as the picture
    has it.

    The ring is as wide as the mask is coarse. In it the mask is an affine function of the colours,
    window by window (guided filter, He et al. 2010; coefficients on a reduced copy, He and Sun
    2015), which is what a mixture of two colours is: so it is soft in hair and motion blur, and as
    sharp as the picture elsewhere. Where the two sides are alike the colours explain little of the
    mask, and its own smoothed outline is taken that far.

    Args:
        rgb: uint8 [H,W,3].
        mask: float32 [h,w], 0..1, at any size of the same aspect.

    Returns:
        float32 [H,W], 0..1, multiples of 1/65536.
    """
    height, width = rgb.shape[:2]
    mask = np.asarray(mask, np.float32)
    result = np.zeros((height, width), np.float32)
    hard = mask >= 0.5
    if not hard.any() or hard.all():
        result[:] = hard.any()
        return result
    scale = max(height / mask.shape[0], width / mask.shape[1])
    half = max(_RING * scale, _LEAST * min(height, width))
    rows, columns = _window(hard, (height, width), round(3 * half) + 2)
    course = _course(mask, (height, width), max(scale, 1.0))[rows, columns]
    inner = (course >= 0.5).astype(np.uint8)
    near = np.minimum(
        cv2.distanceTransform(inner, cv2.DIST_L2, 5)
        + cv2.distanceTransform(1 - inner, cv2.DIST_L2, 5),
        1e6,
    )
    share = min(_COEFFICIENTS / half, 1.0)
    size = (max(round(inner.shape[1] * share), 1), max(round(inner.shape[0] * share), 1))
    guide = rgb[rows, columns].astype(np.float32) / 255
    slope, offset, explained = (
        _enlarged(values, inner.shape)
        for values in guided_fit(
            cv2.resize(guide, size, interpolation=cv2.INTER_AREA),
            cv2.resize(course, size, interpolation=cv2.INTER_AREA),
            max(round(half * share), 1),
            _EPS,
        )
    )
    own = ((slope * guide).sum(axis=-1) + offset - _CLEAR) / (1 - 2 * _CLEAR)
    own = explained * own.clip(0, 1) + (1 - explained) * course
    # The filter fades out at the ring's rims, where the mask is sure.
    trust = np.clip(2 - 2 * near / half, 0, 1)
    alpha = trust * own + (1 - trust) * inner
    result[rows, columns] = np.rint(alpha * _STEP) / _STEP
    return result


def _course(mask: np.ndarray, size: tuple[int, int], scale: float) -> np.ndarray:
    """The mask's outline without its steps, half a pixel soft on either side: float32 [H,W]."""
    smooth = cv2.GaussianBlur(mask, (0, 0), 1.0)
    smooth = cv2.resize(
        smooth, size[::-1], interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    )
    steep = np.hypot(*np.gradient(smooth))
    return (0.5 + (smooth - 0.5) / np.maximum(steep, 1e-3)).clip(0, 1).astype(np.float32)


def _window(hard: np.ndarray, size: tuple[int, int], margin: int) -> tuple[slice, slice]:
    """Rows and columns of a picture that a mask of another size reaches, with a margin."""
    spans = []
    for axis, side in enumerate(size):
        there = np.nonzero(hard.any(axis=1 - axis))[0]
        scale = side / hard.shape[axis]
        start = int(max(np.floor(there[0] * scale) - margin, 0))
        spans.append(slice(start, int(min(np.ceil((there[-1] + 1) * scale) + margin, side))))
    return spans[0], spans[1]


def _enlarged(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if values.shape[:2] == shape:
        return values
    return cv2.resize(values, shape[::-1], interpolation=cv2.INTER_LINEAR)
