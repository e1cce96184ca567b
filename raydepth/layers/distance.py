"""Distances to the edge of a mask, the same bits on every call."""

import cv2
import numpy as np


def distance_to_outside(inside: np.ndarray) -> np.ndarray:
    """Euclidean distance of each pixel to the nearest one outside, float32 [H,W] in pixels.

    Where nothing is outside, OpenCV gives distances beyond any picture's size. Its build with
    Intel's primitives gives one of two results, by the place of the picture in memory. So they are
    left out here.

    Args:
        inside: uint8 [H,W], 0 outside.
    """
    before = cv2.ipp.useIPP()
    cv2.ipp.setUseIPP(False)
    try:
        return cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    finally:
        cv2.ipp.setUseIPP(before)
