"""Guided filter of depth (``depth.guided``): moves edges of depth to the picture's edges."""

import cv2
import numpy as np

_SIDE = 256
"""Short side in pixels at which the filter's coefficients are computed; they are enlarged for
larger frames."""
_REACH = 1 / 32
"""Radius of the windows as a part of that side: about the smear of a network's edges."""
_EPS = 2e-3
"""Variance of colours 0..1 below which a window is one surface."""


def guided_filter(rgb: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Smooths a map along a picture's surfaces and sharpens it at the picture's edges.

    In every window the map is fitted by an affine function of the three colours. A pixel takes the
    mean of its windows' fits (He et al. 2010, eq. 14-16). The coefficients come from a reduced copy
    and are enlarged (fast guided filter, He and Sun 2015), so the cost hardly grows with the frame.

    Args:
        rgb: uint8 [H,W,3].
        value: float32 [H,W].

    Returns:
        float32 [H,W]. Affine in ``value``; a constant map stays as it is.
    """
    height, width = value.shape
    share = min(_SIDE / min(height, width), 1.0)
    size = (max(round(width * share), 1), max(round(height * share), 1))
    guide = rgb.astype(np.float32) / 255
    small = cv2.resize(guide, size, interpolation=cv2.INTER_AREA)
    target = cv2.resize(value, size, interpolation=cv2.INTER_AREA)
    slope, offset, _ = guided_fit(small, target, max(round(min(size) * _REACH), 1), _EPS)
    if size != (width, height):
        slope = cv2.resize(slope, (width, height), interpolation=cv2.INTER_LINEAR)
        offset = cv2.resize(offset, (width, height), interpolation=cv2.INTER_LINEAR)
    return (slope * guide).sum(axis=-1) + offset


def guided_fit(
    guide: np.ndarray, target: np.ndarray, reach: int, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The guided filter's affine functions of the three colours, mean over a pixel's windows.

    Args:
        guide: float32 [H,W,3], colours 0..1.
        target: float32 [H,W].
        reach: pixels from a window's middle to its edge.
        eps: variance of colours below which a window is one surface.

    Returns:
        Slope float32 [H,W,3] and offset float32 [H,W], and how much of the target's variance in a
        pixel's window the colours explain, float32 [H,W]; 0 where it has none.
    """

    def mean(picture: np.ndarray) -> np.ndarray:
        return cv2.blur(picture, (2 * reach + 1, 2 * reach + 1), borderType=cv2.BORDER_REFLECT)

    middle, level = mean(guide), mean(target)
    with_target = mean(guide * target[..., None]) - middle * level[..., None]
    products = mean(
        np.stack([guide[..., i] * guide[..., j] for i, j in _PAIRS], axis=-1).astype(np.float32)
    )
    rr, rg, rb, gg, gb, bb = (
        products[..., k] - middle[..., i] * middle[..., j] + (eps if i == j else 0)
        for k, (i, j) in enumerate(_PAIRS)
    )
    # The inverse of a symmetric 3 x 3 matrix by its cofactors.
    c00, c01, c02 = gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb
    c11, c12, c22 = rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg
    x, y, z = (with_target[..., k] for k in range(3))
    slope = np.stack(
        [c00 * x + c01 * y + c02 * z, c01 * x + c11 * y + c12 * z, c02 * x + c12 * y + c22 * z], -1
    )
    slope /= (rr * c00 + rg * c01 + rb * c02)[..., None]
    offset = level - (slope * middle).sum(axis=-1)
    variance = mean(target * target) - level * level
    explained = (slope * with_target).sum(axis=-1) / np.maximum(variance, 1e-4)
    return mean(slope), mean(offset), explained.clip(0, 1)


_PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
