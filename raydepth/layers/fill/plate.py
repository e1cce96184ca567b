"""Method ``plate`` of ``layers.fill``: the far layer as other frames of the shot show it.

A clean plate is made once per shot in the calibration pass. It is the same for all of its frames,
so a far layer cannot flicker. The camera may stand still. It may also turn or shake slightly, so
that a homography takes one frame to another.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from raydepth.camera.motion import camera_motion, is_still
from raydepth.layers.fill.protocol import Filler

_FEW = 0.1
"""What fewer of the sampled frames than this part show is not used: a passing hand, an error of a
mask."""
_ALIKE = 0.02
"""Part of a frame's far pixels that may differ from the plate by more than ``_LEVELS`` for the two
to count as one picture."""
_LEVELS = 24


@dataclass(frozen=True)
class Plate:
    """A shot without its near layers."""

    rgb: np.ndarray
    """uint8 [H,W,3]; what no sampled frame shows is filled by another filler, once for all
    frames."""
    seen: np.ndarray
    """bool [H,W]: shown by one sampled frame in ten at least."""
    still: bool
    """Whether the camera stands still, so that the plate fits every frame as it is."""


def make_plate(
    frames: Sequence[np.ndarray], holes: Sequence[np.ndarray], rest: Filler
) -> Plate | str:
    """The per-pixel median of a shot's far pixels.

    Args:
        frames: uint8 [H,W,3], sampled over the shot. A folder's images may have several sizes: the
            plate is made of the commonest one's, the first of those that are equally common.
        holes: bool [H,W] each, the near layers dilated: what of a frame is not far.
        rest: fills what no frame shows.

    Returns:
        The plate in the geometry of the frame that shows most of the far side, or why there is
        none.
    """
    sampled = len(frames)
    ((size, alike),) = Counter(hole.shape for hole in holes).most_common(1)
    if 2 * alike <= sampled:
        return f"pictures of several sizes: only {alike} of {sampled} sampled ones share one"
    frames = [frame for frame, hole in zip(frames, holes, strict=True) if hole.shape == size]
    holes = [hole for hole in holes if hole.shape == size]
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
        if not is_still(motion, hole.shape):
            still = False
            size = hole.shape[::-1]
            frame = cv2.warpPerspective(frame, motion, size, flags=cv2.INTER_LINEAR)
            hole = (
                cv2.warpPerspective((hole * 255).astype(np.uint8), motion, size, borderValue=255)
                > 0
            )
        placed.append((frame, ~hole))
    if not known.any():
        return "no sampled frame shows anything behind the near layers"
    if 2 * len(placed) <= sampled:
        return f"the camera moves: only {len(placed)} of {sampled} sampled frames lie on one plane"
    rgb, seen = masked_median(placed, few=math.ceil(_FEW * len(placed)))
    if not seen.all():
        rgb = np.where(seen[..., None], rgb, rest(rgb, ~seen))
    return Plate(rgb, seen, still)


def masked_median(
    placed: Sequence[tuple[np.ndarray, np.ndarray]], few: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Median of pictures uint8 [H,W,3] over those whose masks bool [H,W] are set, by channel.

    Returns uint8 [H,W,3], and where at least ``few`` masks are set. Of an even number of values the
    median is the mean of the middle two.
    """
    masks = np.stack([mask for _, mask in placed])
    count = masks.sum(0)
    rgb = np.zeros_like(placed[0][0])
    for rows in np.array_split(
        np.arange(len(rgb)), max(1, len(rgb) // 64)
    ):  # what is sorted stays small
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


class PlateFiller(Filler):
    """Shows the shot's plate in the hole, warped into frames of a moving camera."""

    def __init__(
        self, plates: Callable[[str], Plate | str], rest: Filler, plate: Plate | str = "no clip"
    ) -> None:
        """Keeps the plates.

        Args:
            plates: by shot id, a shot's plate, or why it has none.
            rest: fills where there is no plate.
            plate: the shot's.
        """
        self.plates, self.rest, self.plate = plates, rest, plate

    def for_clip(self, shot: str) -> "PlateFiller":
        """See Filler."""
        return PlateFiller(self.plates, self.rest, self.plates(shot))

    def __call__(self, rgb: np.ndarray, hole: np.ndarray) -> np.ndarray:
        """See Filler; ``note`` says what part of the hole is not the plate's, and why."""
        plate, self.note = self._plate_of(rgb), ""
        if isinstance(plate, str):
            self.note = f"no plate, hole filled by {self.rest.name}: {plate}"
            return self.rest(rgb, hole)
        picture, seen = plate.rgb, plate.seen
        if not plate.still:
            motion = camera_motion(plate.rgb, plate.seen, rgb, ~hole)
            if motion is None:
                self.note = (
                    f"no plate, hole filled by {self.rest.name}: the camera's motion to this frame "
                    "was not found"
                )
                return self.rest(rgb, hole)
            size = hole.shape[::-1]
            picture = cv2.warpPerspective(picture, motion, size, flags=cv2.INTER_LINEAR)
            inside = cv2.warpPerspective(np.full(hole.shape, 255, np.uint8), motion, size) == 255
            seen = inside & (
                cv2.warpPerspective((seen * 255).astype(np.uint8), motion, size) == 255
            )
            picture = np.where((hole & inside)[..., None], picture, rgb)
            if (hole & ~inside).any():
                picture = np.where(inside[..., None], picture, self.rest(picture, hole & ~inside))
        unseen = np.count_nonzero(hole & ~seen) / np.count_nonzero(hole)
        if unseen:
            self.note = (
                f"{unseen:.1%} of the hole is shown by too few sampled frames: filled by "
                f"{self.rest.name}"
            )
        return picture

    def _plate_of(self, rgb: np.ndarray) -> Plate | str:
        """The shot's plate, or why a frame cannot be filled from it."""
        if isinstance(self.plate, str) or self.plate.rgb.shape == rgb.shape:
            return self.plate
        (height, width), (high, wide) = self.plate.rgb.shape[:2], rgb.shape[:2]
        return f"the clip's plate is {width}x{height}, this picture {wide}x{high}"

    def shared_background(self, rgb: np.ndarray, hole: np.ndarray) -> np.ndarray | None:
        """The plate, where it equals the whole far layer of this frame; else None.

        The camera must stand still. What the frame shows of the far layer must be the plate but for
        noise: nothing far moves, and the light is the same. Such frames share one reference lane.
        """
        plate = self._plate_of(rgb)
        if isinstance(plate, str) or not plate.still:
            return None
        levels = np.abs(plate.rgb.astype(np.int16) - rgb).max(2)[~hole & plate.seen]
        return plate.rgb if levels.size and np.mean(levels > _LEVELS) <= _ALIKE else None
