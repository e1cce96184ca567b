"""Pixels at a layer's edge, which show both sides: split into the layer's own colour and its share,
without what was behind it.
"""

import cv2
import numpy as np

WIDTH = 2
"""Pixels inside a hard edge that may be mixed with what was behind it."""
_FROM = 6.0
"""Distance in pixels over which colours are carried into the rim."""
_APART = 24.0
"""Grey levels by which the two sides must differ for a mixture to be told from either."""
_TELLING = 44.0
"""Grey levels of difference between the two sides at which a pixel's colour and the edge's course
have the same say on shares."""
_SMOOTH = 1.0
"""Standard deviation in pixels of the blur that gives a hard mask's edge its course between
pixels."""


def decontaminate(
    rgb: np.ndarray, alpha: np.ndarray, width: int = WIDTH
) -> tuple[np.ndarray, np.ndarray]:
    """Splits the mixed pixels of a layer's rim into the layer's colour and its share.

    The colour F comes from the layer's inside, that behind it B from outside, both carried into the
    rim by a normalised blur. A pixel C = a F + (1 - a) B there gives a = (C - B)(F - B) / |F -
    B|^2, bounded by the alpha that it had, and the layer gets F. Where the sides look alike nothing
    is changed: there is nothing to see. What has no inside (a thin thing) keeps its colour.

    Args:
        rgb: uint8 [H,W,3], the frame.
        alpha: float32 [H,W], 0..1, hard or soft.
        width: pixels that the rim reaches inward from where alpha falls below 1.

    Returns:
        rgb uint8 [H,W,3] and alpha float32 [H,W], both as they were but for the rim; alpha never
        grows.
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
    """Splits a frame's pixels along the edge of a hard mask, on both sides of it, into what is
    near, its share, and what is behind.

    A pixel there is F = a N + (1 - a) B. N and B are carried into it from either side, as in
    ``decontaminate``. The share a follows from the three colours, and from the course of the edge,
    of which a hard mask shows steps: half a pixel on either side of where the blurred mask is 1/2.
    The more N and B differ, the more the colours have a say; with a distance D between them, D^2 /
    (D^2 + 44^2).

    Args:
        rgb: uint8 [H,W,3], the frame.
        near: float32 [H,W], a hard mask; with soft edges everything stays as it is.
        width: pixels inside the edge that may be mixed, as masks are not exact; outside it is one.

    Returns:
        What is near uint8 [H,W,3], its alpha float32 [H,W], and what is behind uint8 [H,W,3]: as
        they were given but for pixels that near the edge.
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
    """A layer's alpha float32 [H,W] that rises from 0 at its edges to what it was over about 2 x
    ``width`` pixels inside.

    Nothing outside the layer is seen: 2 (a * G) - 1, with a Gaussian of this standard deviation, is
    0 where a straight edge is.
    """
    inside = 2 * cv2.GaussianBlur(alpha, (0, 0), width, borderType=cv2.BORDER_REPLICATE) - 1
    whole = np.rint(inside.clip(0, 1) * 2**16) / np.float32(
        2**16
    )  # 1 where the blur of ones is 1 but for its last bits
    return np.minimum(alpha, whole).astype(np.float32)


def _carried(colour: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean colour of the known pixels around each, float32 [H,W,3], nearer ones counting more;
    and where there are any.
    """
    weight = known.astype(np.float32)
    total, mass = np.zeros_like(colour), np.zeros_like(weight)
    for sigma, trust in ((_FROM / 4, 1.0), (_FROM / 2, 1e-3)):
        blurred = cv2.GaussianBlur(weight, (0, 0), sigma)
        total += trust * cv2.GaussianBlur(colour * weight[..., None], (0, 0), sigma)
        mass += trust * blurred
    return total / np.maximum(mass, 1e-12)[..., None], mass > 1e-6
