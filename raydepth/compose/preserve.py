"""Preservation of the source: on the latent grid while sampling, and exactly, in pixels."""

from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from raydepth.compose.fullsize.paste import FEATHER, fade
from raydepth.edits.plan import EditPlan

if TYPE_CHECKING:
    import torch


def latent_region(region: "torch.Tensor", size: tuple[int, int]) -> "torch.Tensor":
    """A region float32 [N,H,W] on latent cells, float32 [N,1,h,w], by max pooling.

    A cell may change as far as any pixel of it may.
    """
    import torch.nn.functional as F  # which pasting does without

    return F.adaptive_max_pool2d(region[:, None], size)


def restrict_to_edge_band(
    plan: EditPlan, source: np.ndarray, band: int
) -> tuple[EditPlan, np.ndarray]:
    """Restricts the region to the harmonised edge band and to what was inpainted.

    Inside the layers the naive composite is exactly what the edit specifies, and a model could only
    lose detail of it. So the model gets the layers' edges and inpainted pixels only.

    Args:
        plan: of N frames.
        source: uint8 [N,H,W,3], the frames.
        band: pixels on either side of an edge.

    Returns:
        The plan with a smaller region, and the pictures uint8 [N,H,W,3] that stand outside of it:
        the composites in the frames.
    """
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * band + 1, 2 * band + 1))
    harmonised = np.zeros(plan.region.shape, bool) if plan.inpainted is None else plan.inpainted > 0
    for layer in plan.stack.weights()[:-1] > 0:
        for row, seen in enumerate(layer.astype(np.uint8)):
            harmonised[row] |= cv2.dilate(seen, kernel) > cv2.erode(seen, kernel)
    ground = paste_back(source, plan.stack.flatten(), plan.region)
    return replace(plan, region=plan.region * harmonised), ground


def paste_back(
    source: np.ndarray, edited: np.ndarray, region: np.ndarray, feather: int = FEATHER
) -> np.ndarray:
    """Puts the source's pixels back outside the region, with a soft edge inside it.

    Args:
        source: uint8 [N,H,W,3].
        edited: uint8 [N,H,W,3].
        region: float32 [N,H,W], 0..1.
        feather: pixels from the region's edge inward over which the edit fades in; the picture's
            border is no edge.

    Returns:
        uint8 [N,H,W,3]; equal to the source, bit for bit, wherever the region is 0.
    """
    result = source.copy()
    for n in range(len(source)):
        inside = region[n] > 0
        share = fade(region[n], feather)
        mixed = source[n] + share[..., None] * (edited[n].astype(np.float32) - source[n])
        result[n][inside] = np.rint(mixed[inside]).astype(np.uint8)
    return result
