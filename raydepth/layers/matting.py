"""Alpha matting: foreground estimation at a layer's edges, where pixels mix both sides."""

import cv2
import numpy as np

WIDTH = 2
"""Pixels inside a hard edge that may be mixed with what was behind it."""
_FROM = 6.0
"""Distance in pixels over which colours are carried into the edge."""
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


def _carried(colour: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean colour of the known pixels around each pixel, float32 [H,W,3], and where there are any.

    Nearer pixels count more.
    """
    weight = known.astype(np.float32)
    total, mass = np.zeros_like(colour), np.zeros_like(weight)
    for sigma, trust in ((_FROM / 4, 1.0), (_FROM / 2, 1e-3)):
        blurred = cv2.GaussianBlur(weight, (0, 0), sigma)
        total += trust * cv2.GaussianBlur(colour * weight[..., None], (0, 0), sigma)
        mass += trust * blurred
    return total / np.maximum(mass, 1e-12)[..., None], mass > 1e-6
