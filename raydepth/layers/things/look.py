"""What a thing looks like, to find it again after it was hidden or lost."""

from dataclasses import dataclass

import cv2
import numpy as np

_MATCHES = 12
"""Features that must agree on one place, turn and size."""
_SHARE = 0.4
"""Of the matched features, those that must."""
_SCALES = (0.4, 2.5)
_ALIKE = 0.6
"""Least overlap of two colour histograms."""


@dataclass(frozen=True)
class Look:
    """A thing as it was seen in one frame."""

    mask: np.ndarray
    """bool [H,W]."""
    points: np.ndarray
    """float32 [P,2] of its features (SIFT)."""
    marks: np.ndarray
    """float32 [P,128]."""
    colours: np.ndarray
    """float32 [512], histogram of its colours, of sum 1."""


def remember(rgb: np.ndarray, mask: np.ndarray) -> Look:
    """A thing's look, from a frame uint8 [H,W,3] and its mask bool [H,W]."""
    points, marks = _features(rgb, mask)
    return Look(mask, points, marks, _colours(rgb, mask))


def expect(look: Look, rgb: np.ndarray) -> np.ndarray | None:
    """Where a thing should be in another frame: its mask moved, turned and scaled as its features
    are found there, bool [H,W]; None where too few agree.
    """
    if len(look.points) < _MATCHES:
        return None
    points, marks = _features(rgb, None)
    if len(points) < _MATCHES:
        return None
    pairs = cv2.BFMatcher().knnMatch(look.marks, marks, k=2)
    good = [
        pair[0] for pair in pairs if len(pair) == 2 and pair[0].distance < 0.75 * pair[1].distance
    ]
    if len(good) < _MATCHES:
        return None
    start = look.points[[match.queryIdx for match in good]]
    end = points[[match.trainIdx for match in good]]
    cv2.setRNGSeed(0)
    motion, inliers = cv2.estimateAffinePartial2D(start, end, ransacReprojThreshold=4.0)
    if motion is None or inliers.sum() < max(_MATCHES, _SHARE * len(good)):
        return None
    if not _SCALES[0] <= float(np.hypot(motion[0, 0], motion[1, 0])) <= _SCALES[1]:
        return None
    size = look.mask.shape[::-1]
    moved = cv2.warpAffine(look.mask.astype(np.uint8), motion, size, flags=cv2.INTER_NEAREST) > 0
    return moved if moved.any() else None


def is_alike(look: Look, rgb: np.ndarray, mask: np.ndarray) -> bool:
    """Whether what a mask shows has the thing's colours."""
    return float(np.minimum(look.colours, _colours(rgb, mask)).sum()) >= _ALIKE


def _features(rgb: np.ndarray, mask: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    within = None if mask is None else mask.astype(np.uint8)
    points, marks = cv2.SIFT.create(1500).detectAndCompute(grey, within)
    if marks is None:
        return np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32)
    return np.array([point.pt for point in points], np.float32), marks


def _colours(rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    bins = (rgb[mask] >> 5).astype(np.int64)
    counts = np.bincount(bins @ np.array([64, 8, 1]), minlength=512)
    return (counts / max(int(counts.sum()), 1)).astype(np.float32)
