"""A shot's mosaic: where frames of a moving camera lie on one canvas, by chained homographies."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

_FEATURES = 3000
_LEAST = 15
"""Fewer agreeing matches than this say nothing about the camera."""
_SHARE = 0.3
"""Part of the matches that a homography has to explain: what moves in front has some of its own."""
_SIDE = 1080
"""Short side in pixels above which features are found on a reduced copy."""
_BACK = 3
"""A frame that does not fit the one before is tried on so many earlier ones."""
_ALSO = 5
"""A frame's place is fitted to the matches with so many of the frames that lie there already."""
_LARGEST = 4.0
"""Area of the canvas at most, as a multiple of a frame's."""


@dataclass(frozen=True)
class Marks:
    """Features of one picture (SIFT, Lowe 2004)."""

    points: np.ndarray
    """float32 [P,2], x and y in pixels."""
    descriptors: np.ndarray
    """float32 [P,128]."""


def find_marks(rgb: np.ndarray, known: np.ndarray, count: int = _FEATURES) -> Marks:
    """Features at the known pixels, strongest first.

    Args:
        rgb: uint8 [H,W,3].
        known: bool [H,W].
        count: at most so many.
    """
    share = min(_SIDE / min(known.shape), 1.0)
    grey, mask = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), known.astype(np.uint8)
    if share < 1:
        size = (round(known.shape[1] * share), round(known.shape[0] * share))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
    keypoints, descriptors = cv2.SIFT.create(count).detectAndCompute(grey, mask)
    if descriptors is None:
        return Marks(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32))
    points = np.array([keypoint.pt for keypoint in keypoints], np.float32)
    scale = np.array(known.shape[::-1], np.float32) / np.array(grey.shape[::-1], np.float32)
    return Marks((points + 0.5) * scale - 0.5, descriptors)


def matched(one: Marks, other: Marks) -> tuple[np.ndarray, np.ndarray]:
    """Points float32 [M,2] of both that look alike, by Lowe's ratio test of 0.75."""
    if min(len(one.points), len(other.points)) < _LEAST:
        return np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32)
    pairs = cv2.BFMatcher().knnMatch(one.descriptors, other.descriptors, k=2)
    good = [best for best, second in pairs if best.distance < 0.75 * second.distance]
    return (
        one.points[[match.queryIdx for match in good]],
        other.points[[match.trainIdx for match in good]],
    )


def homography(start: np.ndarray, end: np.ndarray) -> np.ndarray | None:
    """Homography float64 [3,3] that takes points to points (USAC_MAGSAC at 2 pixels).

    None where too few agree, or where it turns a square over or makes it four times as large.
    """
    if len(start) < _LEAST:
        return None
    found, agree = cv2.findHomography(start, end, cv2.USAC_MAGSAC, 2.0, None, 5000, 0.9999)
    if found is None or agree.sum() < max(_LEAST, _SHARE * len(start)):
        return None
    middle = start.mean(axis=0)
    square = middle + np.array([[-50, -50], [50, -50], [50, 50], [-50, 50]])
    moved = cv2.perspectiveTransform(square[None].astype(np.float64), found)[0]
    area = cv2.contourArea(moved.astype(np.float32), oriented=True) / 1e4
    return found if 1 / 16 < area < 16 else None


@dataclass(frozen=True)
class Mosaic:
    """Where the frames of a shot lie on one canvas."""

    size: tuple[int, int]
    """Height and width of the canvas in pixels."""
    onto: tuple[np.ndarray | None, ...]
    """For each frame, the homography float64 [3,3] from its pixels to the canvas's; None: it does
    not fit."""
    cut: float
    """Part of the wanted pixels that lies outside the canvas."""


def lay_out(
    frames: Sequence[np.ndarray], known: Sequence[np.ndarray], wanted: Sequence[np.ndarray]
) -> Mosaic:
    """Registers frames into one mosaic.

    It begins at the middle frame. Each next one is laid on a neighbour that it fits, then fitted
    once more to the matches with several of those that lie there already, so that errors do not add
    up along the chain.

    Args:
        frames: uint8 [H,W,3], in the order of time.
        known: bool [H,W] each, the pixels that tell of the camera.
        wanted: bool [H,W] each, the pixels that the mosaic is for: where all that the frames show
            is too large, the canvas is cut to these.

    Returns:
        The mosaic; its canvas has the scale of the middle frame and four times its area at most.
    """
    marks = [find_marks(rgb, mask) for rgb, mask in zip(frames, known, strict=True)]
    middle = len(frames) // 2
    placed: dict[int, np.ndarray] = {middle: np.eye(3)}
    for order, step in ((range(middle + 1, len(frames)), -1), (range(middle - 1, -1, -1), 1)):
        for index in order:
            motion = _placed(marks, placed, index, step)
            if motion is not None:
                placed[index] = motion
    shape = frames[middle].shape[:2]
    covered = _bounds([_corners(shape, motion) for motion in placed.values()])
    box, largest = covered, _LARGEST * shape[0] * shape[1]
    asked = [
        _moved(np.argwhere(wanted[index])[::17, ::-1], motion)
        for index, motion in placed.items()
        if wanted[index].any()
    ]
    if _area(box) > largest and asked:
        margin = min(shape) / 8
        low, high = _bounds(asked)
        box = (np.maximum(low - margin, covered[0]), np.minimum(high + margin, covered[1]))
    if _area(box) > largest:
        centre, sides = (box[0] + box[1]) / 2, box[1] - box[0]
        sides = sides * np.sqrt(largest / _area(box))
        box = (centre - sides / 2, centre + sides / 2)
    low, high = np.floor(box[0]), np.ceil(box[1])
    shift = np.array([[1, 0, -low[0]], [0, 1, -low[1]], [0, 0, 1.0]])
    width, height = (max(int(side), 1) for side in high - low)
    onto = tuple(shift @ placed[i] if i in placed else None for i in range(len(frames)))
    inside = [((points >= low) & (points <= high)).all(axis=1) for points in asked]
    cut = 1 - float(np.concatenate(inside).mean()) if inside else 0.0
    return Mosaic((height, width), onto, cut)


def _placed(
    marks: Sequence[Marks], placed: dict[int, np.ndarray], index: int, step: int
) -> np.ndarray | None:
    """A frame's homography to the middle frame, by neighbours on the side of ``step``."""
    near = [index + step * k for k in range(1, _BACK + 1) if index + step * k in placed]
    first = None
    for other in near:
        start, end = matched(marks[index], marks[other])
        found = homography(start, end)
        if found is not None:
            first = other, placed[other] @ found
            break
    if first is None:
        return None
    neighbour, motion = first
    starts, ends = [start], [_moved(end, placed[neighbour])]
    others = sorted(set(placed) - {neighbour}, key=lambda other: (abs(other - index), other))
    spread = others[:: max(1, -(-len(others) // _ALSO))]
    for other in spread:
        start, end = matched(marks[index], marks[other])
        if len(start) >= _LEAST:
            starts.append(start)
            ends.append(_moved(end, placed[other]))
    again = homography(np.concatenate(starts), np.concatenate(ends))
    return motion if again is None else again


def _moved(points: np.ndarray, motion: np.ndarray) -> np.ndarray:
    moved = cv2.perspectiveTransform(points[None].astype(np.float64), motion)[0]
    return moved.astype(np.float32)


def _corners(shape: tuple[int, ...], motion: np.ndarray) -> np.ndarray:
    height, width = shape
    return _moved(np.array([[0, 0], [width, 0], [width, height], [0, height]]), motion)


def _bounds(points: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper corner float64 [2] of point sets."""
    whole = np.concatenate(points).astype(np.float64)
    return whole.min(axis=0), whole.max(axis=0)


def _area(box: tuple[np.ndarray, np.ndarray]) -> float:
    return float(np.prod(np.maximum(box[1] - box[0], 0)))
