"""Alpha matting: foreground estimation at a layer's edges, where pixels mix both sides."""

from collections.abc import Sequence

import cv2
import numpy as np

WIDTH = 2
"""Pixels inside a hard edge that may be mixed with what was behind it."""
_FROM = 6.0
"""Distance in pixels over which colours are carried into the edge."""
_NEAR = ((_FROM / 4, 1.0), (_FROM / 2, 1e-3))
_FAR = (*_NEAR, (2 * _FROM, 1e-6))
"""Standard deviations of the blurs that carry colours, and what they count; the second for mattes,
which are soft over more pixels than a mask's edge."""
_REACH = 32
"""Pixels around a matte's edge that its colours may come from."""
_COARSE = 8.0
"""Standard deviation in pixels from which on a blur is made on a coarser grid."""
_APART = 24.0
"""Grey levels by which the two sides must differ for a mixture to be told from either."""
_TELLING = 44.0
"""Grey levels of difference between the two sides at which a pixel's colour and the edge's
position have the same weight."""
_SMOOTH = 1.0
"""Standard deviation in pixels of the blur that gives a hard mask's edge its course between
pixels."""


def decontaminate(
    rgb: np.ndarray, alpha: np.ndarray, width: int = WIDTH
) -> tuple[np.ndarray, np.ndarray]:
    """Alpha matting of a layer's edge pixels: estimates their foreground colour and alpha.

    The foreground F comes from the layer's inside and the background B from outside. Both are
    carried into the edge by a normalised blur. A mixed pixel C = a F + (1 - a) B gives a = (C -
    B)(F - B) / |F - B|^2. It is bounded by the alpha that the pixel had, and the layer gets F.
    Where F and B are alike nothing is changed, since nothing would be seen. A layer that is too
    thin to have an inside keeps its colour.

    Args:
        rgb: uint8 [H,W,3], the frame.
        alpha: float32 [H,W], 0..1, hard or soft.
        width: pixels that the edge reaches inward from where alpha falls below 1.

    Returns:
        rgb uint8 [H,W,3] and alpha float32 [H,W], changed at the edge only; alpha never grows.
    """
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    # The picture's border is no edge: cv2.erode takes what lies beyond it for inside.
    inside = cv2.erode((alpha >= 1).astype(np.uint8), kernel) > 0
    outside = cv2.erode((alpha <= 0).astype(np.uint8), kernel) > 0
    edge = (alpha > 0) & ~inside
    if not (edge.any() and inside.any() and outside.any()):
        return rgb, alpha
    colour = rgb.astype(np.float32)
    front, know_front = _carried(colour, inside)
    behind, know_behind = _carried(colour, outside)
    across = front - behind
    apart = (across**2).sum(axis=-1)
    share = ((colour - behind) * across).sum(axis=-1) / np.maximum(apart, 1e-6)
    share = np.rint(share.clip(0, 1) * 255) / np.float32(255)  # a whole pixel stays exactly whole
    mixed = edge & know_front & know_behind & (apart > _APART**2)
    clean = np.where(mixed[..., None], np.rint(front).astype(np.uint8), rgb)
    return clean, np.where(mixed, np.minimum(alpha, share), alpha).astype(np.float32)


def matte_edges(
    rgb: np.ndarray, near: np.ndarray, width: int = WIDTH
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Alpha matting along the edge of a hard mask, with foreground and background on both sides.

    A pixel there is F = a N + (1 - a) B. N and B are carried into it from either side, as in
    ``decontaminate``. Two cues give the share a: the three colours, and the position of the edge. A
    hard mask shows that position in steps only, so it is taken from where the blurred mask is 1/2,
    over half a pixel on either side. The more N and B differ, the more the colours count: with a
    distance D between them, by D^2 / (D^2 + 44^2).

    Args:
        rgb: uint8 [H,W,3], the frame.
        near: float32 [H,W], a hard mask; with soft edges everything stays as it is.
        width: pixels inside the edge that may be mixed, as masks are not exact; outside it is one.

    Returns:
        Foreground uint8 [H,W,3], its alpha float32 [H,W], and background uint8 [H,W,3], changed
        near the edge only.
    """
    front, alpha, back = rgb.copy(), near.copy(), rgb.copy()
    inside, outside = (
        cv2.erode(mask.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0
        for mask, reach in ((near >= 1, width), (near <= 0, 1))
    )
    if ((near > 0) & (near < 1)).any():
        return front, alpha, back
    colour = rgb.astype(np.float32)
    own, know_own = _carried(colour, inside)
    other, know_other = _carried(colour, outside)
    edge = ~inside & ~outside & know_own & know_other
    across = (own - other)[edge]
    apart = (across**2).sum(axis=-1)
    share = ((colour - other)[edge] * across).sum(axis=-1) / np.maximum(apart, 1e-6)
    smooth = cv2.GaussianBlur(near, (0, 0), _SMOOTH)
    course = 0.5 + (smooth - 0.5) / np.maximum(np.hypot(*np.gradient(smooth)), 1e-3)
    trust = apart / (apart + _TELLING**2)
    share = trust * share.clip(0, 1) + (1 - trust) * course[edge].clip(0, 1)
    alpha[edge] = np.rint(share * 255) / np.float32(255)
    share = alpha[edge][:, None]
    left = (colour[edge] - (1 - share) * other[edge]) / np.maximum(share, 1 / 255)
    front[edge], back[edge] = np.rint(left.clip(0, 255)), np.rint(other[edge])
    return front, alpha, back


def foreground(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The foreground colour of a matte's mixed pixels, uint8 [H,W,3]; elsewhere the frame's.

    A mixed pixel is C = a F + (1 - a) B. B is carried into it from outside, and F from inside, by a
    normalised blur, as in ``decontaminate``. F is then the C - (1 - a) B over a where most of the
    pixel is foreground, and the carried one where little of it is: the share of the former is a^2.
    Where the matte has no inside or outside near by, the pixel stays as it is.

    Args:
        rgb: uint8 [H,W,3], the frame.
        alpha: float32 [H,W], 0..1, a matte that is believed.
    """
    mixed = (alpha > 0) & (alpha < 1)
    if not mixed.any():
        return rgb.copy()
    spans = (np.flatnonzero(mixed.any(axis=axis)) for axis in (1, 0))
    window = tuple(slice(max(found[0] - _REACH, 0), found[-1] + _REACH + 1) for found in spans)
    clean = rgb.copy()
    clean[window] = _solved(rgb[window], alpha[window])
    return clean


def _solved(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    # Mattes are not exact to the pixel, and pictures are blurred: the sides are taken a step away.
    kernel = np.ones((3, 3), np.uint8)
    inside = cv2.erode((alpha >= 1).astype(np.uint8), kernel) > 0
    outside = cv2.erode((alpha <= 0).astype(np.uint8), kernel) > 0
    colour = rgb.astype(np.float32)
    own, know_own = _carried(colour, inside, _FAR)
    other, know_other = _carried(colour, outside, _FAR)
    mixed = (alpha > 0) & ~inside & know_own & know_other
    share = alpha[mixed][:, None]
    solved = (colour[mixed] - (1 - share) * other[mixed]) / np.maximum(share, 1 / 255)
    trust = share**2
    clean = rgb.copy()
    clean[mixed] = np.rint((trust * solved + (1 - trust) * own[mixed]).clip(0, 255))
    return clean


def faded(alpha: np.ndarray, width: float) -> np.ndarray:
    """A layer's alpha float32 [H,W] that fades in from its edges over about 2 x ``width`` pixels.

    It is 2 (a * G) - 1 with a Gaussian G of standard deviation ``width``, which is 0 where a
    straight edge is. So nothing outside the layer is seen.
    """
    inside = 2 * cv2.GaussianBlur(alpha, (0, 0), width, borderType=cv2.BORDER_REPLICATE) - 1
    whole = np.rint(inside.clip(0, 1) * 2**16) / np.float32(
        2**16
    )  # 1 where the blur of ones is 1 but for its last bits
    return np.minimum(alpha, whole).astype(np.float32)


def _carried(
    colour: np.ndarray, known: np.ndarray, blurs: Sequence[tuple[float, float]] = _NEAR
) -> tuple[np.ndarray, np.ndarray]:
    """Mean colour of the known pixels around each pixel, float32 [H,W,3], and where there are any.

    Nearer pixels count more: blurs are standard deviations, and what they count.
    """
    weight = known.astype(np.float32)
    total, mass = np.zeros_like(colour), np.zeros_like(weight)
    for sigma, trust in blurs:
        mass += trust * _blurred(weight, sigma)
        total += trust * _blurred(colour * weight[..., None], sigma)
    return total / np.maximum(mass, 1e-12)[..., None], mass > blurs[-1][1] * 1e-3


def _blurred(values: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian blur; a wide one on a grid that is four times coarser."""
    if sigma < _COARSE:
        return cv2.GaussianBlur(values, (0, 0), sigma)
    size = values.shape[1::-1]
    small = cv2.resize(values, [max(side // 4, 1) for side in size], interpolation=cv2.INTER_AREA)
    return cv2.resize(cv2.GaussianBlur(small, (0, 0), sigma / 4), size)
