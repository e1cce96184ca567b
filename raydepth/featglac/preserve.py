"""Preservation: what must stay the source's, on the latent grid while sampling and exactly, in pixels, at the end."""

import cv2
import numpy as np
import torch
import torch.nn.functional as F

FEATHER = 4
"""Width in pixels of the paste-back's soft edge; below the default dilation of the hole, so it stays off the near layer."""


def latent_region(region: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Takes a region float32 [N,H,W] to latent cells, float32 [N,1,h,w]: a cell may change as far as any pixel of it may."""
    return F.adaptive_max_pool2d(region[:, None], size)


def paste_back(
    source: np.ndarray, edited: np.ndarray, region: np.ndarray, feather: int = FEATHER
) -> np.ndarray:
    """Puts the source's pixels back outside the region, with a soft edge inside it.

    Args:
        source: uint8 [N,H,W,3].
        edited: uint8 [N,H,W,3].
        region: float32 [N,H,W], 0..1.
        feather: pixels from the region's edge inward over which the edit fades in; the picture's border is no edge.

    Returns:
        uint8 [N,H,W,3]; equal to the source, bit for bit, wherever the region is 0.
    """
    result = source.copy()
    for n in range(len(source)):
        inside = region[n] > 0
        # To the nearest pixel outside; where there is none, OpenCV gives distances beyond any picture's size.
        distance = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        share = region[n] * np.clip(distance / (feather + 1), 0, 1)
        mixed = source[n] + share[..., None] * (edited[n].astype(np.float32) - source[n])
        result[n][inside] = np.rint(mixed[inside]).astype(np.uint8)
    return result
