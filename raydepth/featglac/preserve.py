"""Preservation: what must stay the source's, on the latent grid while sampling and exactly, in pixels, at the end."""

import numpy as np
import torch
import torch.nn.functional as F

from raydepth.fullsize.paste import FEATHER, fade


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
        share = fade(region[n], feather)
        mixed = source[n] + share[..., None] * (edited[n].astype(np.float32) - source[n])
        result[n][inside] = np.rint(mixed[inside]).astype(np.uint8)
    return result
