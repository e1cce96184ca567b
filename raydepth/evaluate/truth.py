"""An edited picture against the true edit, for worlds that can be rendered both ways.

``edited`` and ``truth`` are uint8 [H,W,3] sRGB; ``visible`` is bool [H,W], where the near layer or
the object is seen in the truth. Results are floats, NaN where nothing could be measured.
Whole-picture RMSE and SSIM are those of ``evaluate.image``.
"""

from typing import NamedTuple

import cv2
import numpy as np
from skimage.color import rgb2lab

from raydepth.evaluate.image import rmse, ssim

RING = 4
"""Pixels inside the edge over which colour is compared."""
_TELLING = 24.0
"""Grey levels by which two pictures must differ at a pixel for a third to count as one or the
other."""


class Scores(NamedTuple):
    """One edited picture against its truth; lower is better but for ``ssim`` and ``occlusion``."""

    rmse: float
    """Grey levels, whole picture."""
    ssim: float
    """Whole picture, Wang et al. 2004."""
    lab_gap: float
    """Mean CIE76 difference of the ring's pixels."""
    lab_shift: float
    """CIE76 difference of the ring's mean colours."""
    seam: float
    """Grey levels, see ``seam_error``."""
    occlusion: float
    """Share 0..1, see ``occlusion_correctness``; NaN where no object was inserted."""
    background_rmse: float
    """Grey levels, over the pixels that the true edit leaves as they were given."""


def score(
    edited: np.ndarray,
    truth: np.ndarray,
    *,
    visible: np.ndarray,
    given: np.ndarray,
    occlusion: float,
) -> Scores:
    """All metrics of one picture.

    Args:
        edited: the method's picture.
        truth: the picture that the edit should give.
        visible: where the near layer or the object is seen in the truth.
        given: the picture that stays around the edit: the frame, or the new background.
        occlusion: as ``occlusion_correctness`` gave it, or NaN.
    """
    ring = inner_ring(visible)
    same = (truth == given).all(axis=-1) & ~visible
    return Scores(
        rmse=rmse(edited, truth),
        ssim=ssim(edited, truth),
        lab_gap=lab_gap(edited, truth, ring),
        lab_shift=lab_shift(edited, truth, ring),
        seam=seam_error(edited, truth, visible),
        occlusion=occlusion,
        background_rmse=rmse(edited, truth, same),
    )


def inner_ring(visible: np.ndarray, width: int = RING) -> np.ndarray:
    """The pixels inside a mask at most ``width`` from its edge, bool [H,W].

    The picture's border is no edge.
    """
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    # cv2.erode takes what lies beyond the picture for inside.
    return visible & (cv2.erode(visible.astype(np.uint8), kernel) == 0)


def lab_gap(edited: np.ndarray, truth: np.ndarray, ring: np.ndarray) -> float:
    """Mean colour difference Delta E*ab = |Lab - Lab'| over the ring's pixels.

    It is CIE76 (CIE 15:1976, white D65), pixel by pixel, so a wrong light, a blur and a grain all
    count. Lab is scikit-image's, as OpenCV's is off by up to 1.5 % of a difference between
    neighbouring greys.
    """
    if not ring.any():
        return float("nan")
    difference = rgb2lab(edited[ring]) - rgb2lab(truth[ring])
    return float(np.linalg.norm(difference, axis=-1).mean(dtype=np.float64))


def lab_shift(edited: np.ndarray, truth: np.ndarray, ring: np.ndarray) -> float:
    """Delta E*ab of the ring's two mean Lab colours; never above ``lab_gap``.

    It measures a wrong light alone, as grain and blur cancel.
    """
    if not ring.any():
        return float("nan")
    difference = (rgb2lab(edited[ring]) - rgb2lab(truth[ring])).mean(axis=0, dtype=np.float64)
    return float(np.linalg.norm(difference))


def edge_jumps(picture: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """How much steeper a picture is across a mask's edge than on either side of it.

    The result is one value an edge, in grey levels. An edge is two neighbours in a row or column
    (b, c) of which the mask holds one. With their neighbours a b | c d on the same sides of the
    edge, the jump is |c - b| - (|b - a| + |d - c|) / 2, where |.| is the root mean square of the
    channels. A straight step of height h has the jump h, a constant slope 0. Edges whose neighbours
    do not exist, or lie across another edge, are left out.

    Returns:
        float32 [E], in the order of rows, then columns; empty without an edge.
    """
    jumps = []
    for turned in (False, True):
        image, mask = (x.swapaxes(0, 1) if turned else x for x in (picture, visible))
        step = np.sqrt(np.square(np.diff(image.astype(np.float32), axis=1)).mean(axis=-1))
        change = mask[:, 1:] != mask[:, :-1]
        edge = change[:, 1:-1] & ~change[:, :-2] & ~change[:, 2:]
        jumps.append((step[:, 1:-1] - (step[:, :-2] + step[:, 2:]) / 2)[edge])
    return np.concatenate(jumps)


def seam_error(edited: np.ndarray, truth: np.ndarray, visible: np.ndarray) -> float:
    """Seam score: mean of |jump - true jump| over the mask's edges, in grey levels.

    See ``edge_jumps``. It compares with the truth's own jumps, since an object before a wall has an
    edge. So 0 is perfect, and both a wrong seam and a washed-out edge count. The definition is
    raydepth's; the paper judges seams by eye.
    """
    jumps, true_jumps = edge_jumps(edited, visible), edge_jumps(truth, visible)
    return float(np.abs(jumps - true_jumps).mean(dtype=np.float64)) if jumps.size else float("nan")


def occlusion_correctness(
    edited: np.ndarray,
    *,
    shown: np.ndarray,
    hidden: np.ndarray,
    visible: np.ndarray,
    box: np.ndarray,
) -> float:
    """Share of pixels of an object's amodal box where the right one of object and scene is seen.

    A pixel shows the object if its colour is nearer to ``shown`` than to ``hidden``. Where these
    two look alike the pixel does not count.

    Args:
        edited: the method's picture.
        shown: the scene with the whole object before everything.
        hidden: the scene without the object.
        visible: where the truth shows the object.
        box: bool [H,W], the object's amodal box.
    """
    picture, front, back = (x.astype(np.float32) for x in (edited, shown, hidden))
    telling = box & (np.sqrt(np.square(front - back).mean(axis=-1)) >= _TELLING)
    if not telling.any():
        return float("nan")
    seen = np.square(picture - front).sum(axis=-1) < np.square(picture - back).sum(axis=-1)
    return float((seen == visible)[telling].mean())
