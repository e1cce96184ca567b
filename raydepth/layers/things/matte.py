"""From a thing's mask at tracking size to its matte in a frame."""

import cv2
import numpy as np


def matte(rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The matte of a thing: its mask brought to the picture's size, soft over a pixel or two of
    the mask's edge.

    Args:
        rgb: uint8 [H,W,3].
        mask: float32 [h,w], 0..1, at any size of the same aspect.

    Returns:
        float32 [H,W], 0..1.
    """
    height, width = rgb.shape[:2]
    if mask.shape == (height, width):
        return np.asarray(mask, np.float32)
    smaller = height < mask.shape[0]
    kernel = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    resized = cv2.resize(np.asarray(mask, np.float32), (width, height), interpolation=kernel)
    return resized.clip(0, 1)
