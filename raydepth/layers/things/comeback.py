"""Finds a thing that has left the picture when it comes back: what differs from the place without
it, in its size and colours.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from raydepth.camera.motion import camera_motion
from raydepth.layers.things.look import Look, is_alike

_DIFFERENT = 28
"""Grey levels by which a pixel differs from the place without the thing."""
_SIZES = (0.3, 2.5)
"""Parts of its usual area that it may have when it is back."""


@dataclass(frozen=True)
class Vacancy:
    """A frame after the thing has left."""

    rgb: np.ndarray
    """uint8 [H,W,3]."""
    others: np.ndarray
    """bool [H,W]: other things there, grown a little."""


def newcomer(
    vacancy: Vacancy, rgb: np.ndarray, others: np.ndarray, look: Look, area: float
) -> np.ndarray | None:
    """What has come into a frame uint8 [H,W,3] and may be the thing: bool [H,W]; else None.

    The camera's motion since then is taken out. What differs hangs together, has about the thing's
    area, and its colours.

    Args:
        vacancy: the place without it.
        rgb: the frame.
        others: bool [H,W], other things in it, grown a little.
        look: how the thing looks.
        area: its usual area in pixels.
    """
    motion = camera_motion(vacancy.rgb, ~vacancy.others, rgb, ~others)
    if motion is None:
        return None
    size = rgb.shape[1::-1]
    there = cv2.warpPerspective(vacancy.rgb, motion, size)
    known = cv2.warpPerspective((~vacancy.others).astype(np.uint8), motion, size) > 0
    apart = cv2.absdiff(cv2.GaussianBlur(rgb, (5, 5), 0), cv2.GaussianBlur(there, (5, 5), 0))
    changed = (apart.max(axis=2) > _DIFFERENT) & known & ~others
    reach = np.ones((3, 3), np.uint8)
    opened = cv2.morphologyEx(changed.astype(np.uint8), cv2.MORPH_OPEN, reach)
    closed = cv2.morphologyEx(opened, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(closed)
    sizes = stats[1:, cv2.CC_STAT_AREA]
    for label in 1 + np.argsort(-sizes, kind="stable"):
        if not _SIZES[0] * area <= sizes[label - 1] <= _SIZES[1] * area:
            continue
        found = labels == label
        if is_alike(look, rgb, found):
            return found
    return None
