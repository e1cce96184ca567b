"""Method ``plate`` of ``layers.fill``: what lies behind the near layers as other frames of the clip show it (step 5).

A clean plate is made once per clip in the calibration pass and the same for all of its frames, so a far layer cannot
flicker. The camera may stand still, or move so that a homography takes one frame to another (it turns, or shakes slightly).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from raydepth.deglad.fill import Filler

_FEW = 0.1
"""What fewer of the sampled frames than this part show is not believed: a passing hand, a mask's slip."""
STILL_PX = 0.5
"""A camera whose far pixels stay within this is still: no pixel is resampled."""
_FEATURES = 12
"""Fewer corners or matched features than this say nothing about the camera."""
_ALIKE_LEVELS = 6.0
"""Two pictures whose median difference in grey levels is below this show the same."""
_ALIKE = 0.02
"""Part of a frame's far pixels that may differ from the plate by more than ``_LEVELS`` for the two to count as one picture."""
_LEVELS = 24


@dataclass(frozen=True)
class Plate:
    """A clip without its near layers."""

    rgb: np.ndarray
    """uint8 [H,W,3]; where no sampled frame shows anything, another filler's work, the same for all frames."""
    seen: np.ndarray
    """bool [H,W]: shown by one sampled frame in ten at least."""
    still: bool
    """Whether the camera stands still: then the plate lies on every frame as it is."""


def make_plate(frames: Sequence[np.ndarray], holes: Sequence[np.ndarray], rest: Filler) -> Plate | str:
    """The per-pixel median of a clip's far pixels.

    Args:
        frames: uint8 [H,W,3], sampled over the clip.
        holes: bool [H,W] each, the near layers dilated: what of a frame is not far.
        rest: fills what no frame shows.

    Returns:
        The plate in the geometry of the frame that shows most of the far side, or why there is none.
    """
    best = min(range(len(frames)), key=lambda i: np.count_nonzero(holes[i]))
    reference, known = frames[best], ~holes[best]
    placed = [(reference, known)]
    still = True
    for index, (frame, hole) in enumerate(zip(frames, holes, strict=True)):
        if index == best:
            continue
        motion = camera_motion(frame, ~hole, reference, known)
        if motion is None:
            continue
        if not _is_still(motion, hole.shape):
            still = False
            size = hole.shape[::-1]
            frame = cv2.warpPerspective(frame, motion, size, flags=cv2.INTER_LINEAR)
            hole = cv2.warpPerspective((hole * 255).astype(np.uint8), motion, size, borderValue=255) > 0
        placed.append((frame, ~hole))
    if not known.any():
        return "no sampled frame shows anything behind the near layers"
    if 2 * len(placed) <= len(frames):
        return f"the camera moves: only {len(placed)} of {len(frames)} sampled frames lie on one plane"
    rgb, seen = masked_median(placed, few=math.ceil(_FEW * len(placed)))
    if not seen.all():
        rgb = np.where(seen[..., None], rgb, rest(rgb, ~seen))
    return Plate(rgb, seen, still)


def masked_median(
    placed: Sequence[tuple[np.ndarray, np.ndarray]], few: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Median of pictures uint8 [H,W,3] where their masks bool [H,W] are set: uint8 [H,W,3], and where ``few`` are at least.

    Per channel; of an even number of values the mean of the middle two.
    """
    masks = np.stack([mask for _, mask in placed])
    count = masks.sum(0)
    rgb = np.zeros_like(placed[0][0])
    for rows in np.array_split(np.arange(len(rgb)), max(1, len(rgb) // 64)):  # what is sorted stays small
        values = np.stack([picture[rows] for picture, _ in placed]).astype(np.int16)
        values[~masks[:, rows]] = 256  # behind every level
        values.sort(0)
        low, high = np.maximum(count[rows] - 1, 0) // 2, count[rows] // 2
        pair = [
            np.take_along_axis(values, k[None, ..., None], 0)[0]
            for k in (low, np.minimum(high, len(placed) - 1))
        ]
        rgb[rows] = np.where(count[rows][..., None] > 0, (pair[0] + pair[1] + 1) // 2, 0)
    return rgb, count >= few


def camera_motion(
    frame: np.ndarray, known: np.ndarray, onto: np.ndarray, onto_known: np.ndarray
) -> np.ndarray | None:
    """The homography float64 [3,3] that takes a frame's far pixels onto another's; None where none does.

    Exactly the identity where the camera has not moved: the pictures agree as they lie, or the corners of one are found
    where they were (Lucas-Kanade flow, there and back). Otherwise a homography between matched features (SIFT; RANSAC, 2
    pixels) that explains at least half of them, under which the pictures agree clearly better than as they lie.

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
    if motion is None or _is_still(motion, known.shape):
        return motion if motion is None else np.eye(3)
    size = known.shape[::-1]
    moved_known = cv2.warpPerspective(known.astype(np.uint8), motion, size) > 0
    under = _difference(cv2.warpPerspective(grey, motion, size), moved_known, onto_grey, onto_known)
    return motion if under is not None and under < max(_ALIKE_LEVELS, apart / 2) else None


def _stands_still(grey: np.ndarray, known: np.ndarray, onto: np.ndarray) -> bool:
    # Windows that lie on far pixels of both only, and no pyramid: what moves in front must not carry corners away.
    window = (13, 13)
    clear = cv2.erode(known.astype(np.uint8), np.ones(window), borderType=cv2.BORDER_REPLICATE)
    corners = cv2.goodFeaturesToTrack(grey, 400, 0.01, 7, mask=clear)
    if corners is None or len(corners) < _FEATURES:  # a bare wall
        return bool(np.median(cv2.absdiff(grey, onto)[known]) < _ALIKE_LEVELS)
    there, found, _ = cv2.calcOpticalFlowPyrLK(grey, onto, corners, None, winSize=window, maxLevel=0)
    back, returned, _ = cv2.calcOpticalFlowPyrLK(onto, grey, there, None, winSize=window, maxLevel=0)
    away = np.linalg.norm(there - corners, axis=2)[:, 0]
    away[(found[:, 0] == 0) | (returned[:, 0] == 0) | (np.linalg.norm(back - corners, axis=2)[:, 0] > 1)] = (
        np.inf
    )
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


class PlateFiller(Filler):
    """Shows the clip's plate in the hole, carried into frames of a moving camera."""

    def __init__(
        self, plates: Callable[[str], Plate | str], rest: Filler, plate: Plate | str = "no clip"
    ) -> None:
        """Args: plates: by video id, a clip's plate, or why it has none; rest: where there is none; plate: the clip's."""
        self.plates, self.rest, self.plate = plates, rest, plate

    def for_clip(self, video: str) -> "PlateFiller":
        """See Filler."""
        return PlateFiller(self.plates, self.rest, self.plates(video))

    def __call__(self, rgb: np.ndarray, hole: np.ndarray) -> np.ndarray:
        """See Filler; ``note`` says what part of the hole is not the plate's, and why."""
        plate, self.note = self.plate, ""
        if isinstance(plate, str):
            self.note = f"no plate, hole filled by {self.rest.name}: {plate}"
            return self.rest(rgb, hole)
        picture, seen = plate.rgb, plate.seen
        if not plate.still:
            motion = camera_motion(plate.rgb, plate.seen, rgb, ~hole)
            if motion is None:
                self.note = f"no plate, hole filled by {self.rest.name}: the camera's motion to this frame was not found"
                return self.rest(rgb, hole)
            size = hole.shape[::-1]
            picture = cv2.warpPerspective(picture, motion, size, flags=cv2.INTER_LINEAR)
            inside = cv2.warpPerspective(np.full(hole.shape, 255, np.uint8), motion, size) == 255
            seen = inside & (cv2.warpPerspective((seen * 255).astype(np.uint8), motion, size) == 255)
            picture = np.where((hole & inside)[..., None], picture, rgb)
            if (hole & ~inside).any():
                picture = np.where(inside[..., None], picture, self.rest(picture, hole & ~inside))
        unseen = np.count_nonzero(hole & ~seen) / np.count_nonzero(hole)
        if unseen:
            self.note = (
                f"{unseen:.1%} of the hole is shown by too few sampled frames: filled by {self.rest.name}"
            )
        return picture

    def still_picture(self, rgb: np.ndarray, hole: np.ndarray) -> np.ndarray | None:
        """The plate, where it may stand for the far layer of this frame in all its parts; None where it may not.

        The camera must be still, and what the frame itself shows of the far side must be the plate but for noise: nothing
        far moves, the light is the same. Such frames share one reference lane.
        """
        plate = self.plate
        if isinstance(plate, str) or not plate.still:
            return None
        levels = np.abs(plate.rgb.astype(np.int16) - rgb).max(2)[~hole & plate.seen]
        return plate.rgb if levels.size and np.mean(levels > _LEVELS) <= _ALIKE else None


def _is_still(motion: np.ndarray, shape: tuple[int, ...]) -> bool:
    height, width = shape
    corners = np.array([[[0, 0]], [[width, 0]], [[0, height]], [[width, height]]], np.float64)
    return bool(np.abs(cv2.perspectiveTransform(corners, motion) - corners).max() <= STILL_PX)


def _difference(a: np.ndarray, a_known: np.ndarray, b: np.ndarray, b_known: np.ndarray) -> float | None:
    """Median difference in grey levels of two pictures uint8 [H,W] where both are known; None where nowhere is."""
    both = a_known & b_known
    return float(np.median(cv2.absdiff(a, b)[both])) if both.any() else None
