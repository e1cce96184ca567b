"""Method ``plate`` of ``layers.fill``: the far layer as other frames of the shot show it.

A clean plate is made once per shot in the calibration pass. It is the same for all of its frames,
so a far layer cannot flicker. Where the camera stands still it has a frame's geometry. Where the
camera turns, shakes or moves before what is about flat, it is a mosaic (``layers.fill.mosaic``).
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from raydepth.camera.mosaic import Marks, find_marks
from raydepth.camera.motion import camera_motion, is_still
from raydepth.layers.fill.mosaic import make_mosaic, masked_median, place_mosaic
from raydepth.layers.fill.protocol import Filler

_FEW = 0.1
"""What fewer of the sampled frames than this part show is not used: a passing hand, an error of a
mask."""
_ALIKE = 0.02
"""Part of a frame's far pixels that may differ from the plate by more than ``_LEVELS`` for the two
to count as one picture."""
_LEVELS = 24
_MARKS = 3000
"""Features of a mosaic in an area like a frame's."""
_PARALLAX = 12.0
"""Grey levels by which a mosaic, once evened, differs from what a frame shows around its hole where
it does not fit."""


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
    known: np.ndarray | None = None
    """bool [H,W]: where a mosaic is not empty; None: everywhere."""
    frame: tuple[int, int] | None = None
    """Height and width of the frames that a mosaic was made of; None: the plate's own."""
    remark: str = ""
    """What is to be said of it on every frame; empty where nothing."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames that it is for."""
        return self.frame or (self.rgb.shape[0], self.rgb.shape[1])

    @cached_property
    def marks(self) -> Marks:
        """Features of a mosaic, by which frames are laid on it."""
        area = self.seen.size / (self.size[0] * self.size[1])
        return find_marks(self.rgb, self.seen, count=round(_MARKS * max(area, 1)))


def make_plate(
    frames: Sequence[np.ndarray], holes: Sequence[np.ndarray], rest: Filler
) -> Plate | str:
    """The per-pixel median of a shot's far pixels.

    Args:
        frames: uint8 [H,W,3], sampled over the shot, in the order of time. A folder's images may
            have several sizes: the plate is made of the commonest one's, the first of those that
            are equally common.
        holes: bool [H,W] each, the near layers dilated: what of a frame is not far.
        rest: fills what no frame shows.

    Returns:
        The plate, or why there is none: in the frames' own geometry where the camera stands still,
        else a mosaic.
    """
    sampled = len(frames)
    ((size, alike),) = Counter(hole.shape for hole in holes).most_common(1)
    if 2 * alike <= sampled:
        return f"pictures of several sizes: only {alike} of {sampled} sampled ones share one"
    frames = [frame for frame, hole in zip(frames, holes, strict=True) if hole.shape == size]
    holes = [hole for hole in holes if hole.shape == size]
    if all(hole.all() for hole in holes):
        return "no sampled frame shows anything behind the near layers"
    placed = _as_they_are(frames, holes)
    if placed is None:
        made = make_mosaic(frames, holes, rest, _FEW)
        if isinstance(made, str):
            return made
        return Plate(made.rgb, made.seen, False, made.known, size, made.remark)
    rgb, seen = masked_median(placed, few=math.ceil(_FEW * len(placed)))
    if not seen.all():
        rgb = np.where(seen[..., None], rgb, rest(rgb, ~seen))
    return Plate(rgb, seen, True)


def _as_they_are(
    frames: Sequence[np.ndarray], holes: Sequence[np.ndarray]
) -> list[tuple[np.ndarray, np.ndarray]] | None:
    """The frames of a camera that stands still, with their known pixels; None where it moves.

    Frames of which that cannot be told are left out; there have to be fewer of them than others.
    """
    best = min(range(len(frames)), key=lambda i: np.count_nonzero(holes[i]))
    placed = [(frames[best], ~holes[best])]
    for index, (frame, hole) in enumerate(zip(frames, holes, strict=True)):
        if index == best:
            continue
        motion = camera_motion(frame, ~hole, *placed[0])
        if motion is None:
            continue
        if not is_still(motion, hole.shape):
            return None
        placed.append((frame, ~hole))
    return placed if 2 * len(placed) > len(frames) else None


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
        plate, self.note, self.refused = self._plate_of(rgb), "", False
        self.shown = None
        if isinstance(plate, str):
            self.note = f"no plate, hole filled by {self.rest.name}: {plate}"
            return self._without(rgb, hole)
        if plate.still:
            self._say_shown(plate, plate.seen, hole)
            return plate.rgb
        known = np.ones_like(plate.seen) if plate.known is None else plate.known
        placed = place_mosaic(plate.rgb, plate.seen, known, plate.marks, rgb, hole)
        if placed is None:
            self.note = (
                f"no plate, hole filled by {self.rest.name}: the camera's motion to this frame "
                "was not found"
            )
            return self._without(rgb, hole)
        picture = np.where((hole & placed.known)[..., None], placed.rgb, rgb)
        if (hole & ~placed.known).any():
            rest = self.rest(picture, hole & ~placed.known)
            picture = np.where(placed.known[..., None], picture, rest)
        self._say_shown(plate, placed.seen & placed.known, hole)
        if placed.apart > _PARALLAX:
            self.note = "; ".join(
                filter(
                    None,
                    (
                        self.note,
                        "what other frames show fits this one badly around the hole "
                        f"({placed.apart:.0f} grey levels): the camera moves before several depths",
                    ),
                )
            )
        return picture

    def behind(self, rgb: np.ndarray, hole: np.ndarray) -> np.ndarray | None:
        """See Filler; where the plate shows nothing, it is the frame."""
        plate = self._plate_of(rgb)
        if isinstance(plate, str):
            return None
        if plate.still:
            return np.where(plate.seen[..., None], plate.rgb, rgb)
        known = np.ones_like(plate.seen) if plate.known is None else plate.known
        placed = place_mosaic(plate.rgb, plate.seen, known, plate.marks, rgb, hole)
        return None if placed is None else np.where(placed.seen[..., None], placed.rgb, rgb)

    def _without(self, rgb: np.ndarray, hole: np.ndarray) -> np.ndarray:
        picture = self.rest(rgb, hole)
        self.refused = self.rest.refused
        self.note = "; ".join(filter(None, (self.note, self.rest.note)))
        return picture

    def _say_shown(self, plate: Plate, shown: np.ndarray, hole: np.ndarray) -> None:
        self.shown = shown
        unseen = np.count_nonzero(hole & ~shown) / np.count_nonzero(hole)
        if unseen:
            self.note = (
                f"{unseen:.1%} of the hole is shown by too few sampled frames: filled by "
                f"{self.rest.name}"
            )
        self.note = "; ".join(filter(None, (self.note, plate.remark)))

    def _plate_of(self, rgb: np.ndarray) -> Plate | str:
        """The shot's plate, or why a frame cannot be filled from it."""
        if isinstance(self.plate, str) or self.plate.size == rgb.shape[:2]:
            return self.plate
        (height, width), (high, wide) = self.plate.size, rgb.shape[:2]
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
