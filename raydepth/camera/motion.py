"""Motion of the camera between two frames of a clip."""

import cv2
import numpy as np

STILL_PX = 0.5
"""Pixels; a camera whose far pixels stay within this is still, and no pixel is resampled."""
_FEATURES = 12
"""Fewer corners or matched features than this say nothing about the camera."""
_ALIKE_LEVELS = 6.0
"""Two pictures whose median difference in grey levels is below this show the same."""


def camera_motion(
    frame: np.ndarray, known: np.ndarray, onto: np.ndarray, onto_known: np.ndarray
) -> np.ndarray | None:
    """Homography float64 [3,3] from one frame's far pixels to another's; None where none fits.

    The camera stands still where the pictures agree as they are, or where corners of one are found
    in their old place (Lucas-Kanade flow, forward and backward). The result is then exactly the
    identity. Otherwise it is a homography between matched features (SIFT; RANSAC, 2 pixels). It has
    to explain at least half of them, and the pictures have to agree clearly better under it than
    without it.

    Args:
        frame: uint8 [H,W,3].
        known: bool [H,W], its far pixels.
        onto: uint8 [H,W,3].
        onto_known: bool [H,W].
    """
    grey, onto_grey = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (frame, onto))
    apart = _difference(grey, known, onto_grey, onto_known)
    if apart is None:
        return None
    if _stands_still(grey, known & onto_known, onto_grey):
        return np.eye(3)
    motion = _matched_homography(grey, known, onto_grey, onto_known)
    if motion is None or is_still(motion, known.shape):
        return motion if motion is None else np.eye(3)
    size = known.shape[::-1]
    moved_known = cv2.warpPerspective(known.astype(np.uint8), motion, size) > 0
    under = _difference(cv2.warpPerspective(grey, motion, size), moved_known, onto_grey, onto_known)
    return motion if under is not None and under < max(_ALIKE_LEVELS, apart / 2) else None


def _stands_still(grey: np.ndarray, known: np.ndarray, onto: np.ndarray) -> bool:
    # Windows lie on pixels that are far in both, and there is no pyramid, so that motion in front
    # does not move a corner.
    window = (13, 13)
    clear = cv2.erode(known.astype(np.uint8), np.ones(window), borderType=cv2.BORDER_REPLICATE)
    corners = cv2.goodFeaturesToTrack(grey, 400, 0.01, 7, mask=clear)
    if corners is None or len(corners) < _FEATURES:  # a bare wall
        return bool(np.median(cv2.absdiff(grey, onto)[known]) < _ALIKE_LEVELS)
    there, found, _ = cv2.calcOpticalFlowPyrLK(
        grey, onto, corners, None, winSize=window, maxLevel=0
    )
    back, returned, _ = cv2.calcOpticalFlowPyrLK(
        onto, grey, there, None, winSize=window, maxLevel=0
    )
    away = np.linalg.norm(there - corners, axis=2)[:, 0]
    away[
        (found[:, 0] == 0)
        | (returned[:, 0] == 0)
        | (np.linalg.norm(back - corners, axis=2)[:, 0] > 1)
    ] = np.inf
    return bool(np.median(away) <= STILL_PX / 2)


def _matched_homography(
    grey: np.ndarray, known: np.ndarray, onto: np.ndarray, onto_known: np.ndarray
) -> np.ndarray | None:
    sift = cv2.SIFT.create(1000)
    points, marks = sift.detectAndCompute(grey, known.astype(np.uint8))
    onto_points, onto_marks = sift.detectAndCompute(onto, onto_known.astype(np.uint8))
    if min(len(points), len(onto_points)) < _FEATURES:
        return None
    pairs = cv2.BFMatcher().knnMatch(marks, onto_marks, k=2)
    good = [best for best, second in pairs if best.distance < 0.75 * second.distance]  # Lowe 2004
    if len(good) < _FEATURES:
        return None
    start = np.array([points[match.queryIdx].pt for match in good], np.float32)
    end = np.array([onto_points[match.trainIdx].pt for match in good], np.float32)
    motion, inliers = cv2.findHomography(start, end, cv2.RANSAC, 2.0)
    return motion if motion is not None and inliers.sum() >= max(_FEATURES, len(good) / 2) else None


def is_still(motion: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether a homography float64 [3,3] moves no corner of a picture by more than ``STILL_PX``.

    The picture's shape is (height, width).
    """
    height, width = shape
    corners = np.array([[[0, 0]], [[width, 0]], [[0, height]], [[width, height]]], np.float64)
    return bool(np.abs(cv2.perspectiveTransform(corners, motion) - corners).max() <= STILL_PX)


def _difference(
    a: np.ndarray, a_known: np.ndarray, b: np.ndarray, b_known: np.ndarray
) -> float | None:
    """Median difference in grey levels of two pictures uint8 [H,W] where both are known.

    None where no pixel is known in both.
    """
    both = a_known & b_known
    return float(np.median(cv2.absdiff(a, b)[both])) if both.any() else None
