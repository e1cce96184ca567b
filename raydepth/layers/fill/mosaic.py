"""A plate for a camera that moves: the shot's mosaic without its near layers, and its way back into
each frame.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from raydepth.camera.mosaic import Marks, Mosaic, find_marks, homography, lay_out, matched
from raydepth.layers.fill.protocol import Filler

_BAND = 64
"""Rows of the canvas that are made at a time, so that memory does not grow with the mosaic."""
_SMALL = 256
"""Short side in pixels at which frames' brightness is compared."""
_REACH = (6.0, 24.0, 96.0)
"""Standard deviations in pixels over which the difference to a frame's surroundings is carried
into its hole; the wider ones count where the narrower ones know nothing."""
_MOVED = 24.0
"""Grey levels beyond the median difference above which a pixel shows something else than the
mosaic."""
_CONTEXT = 64
"""Pixels around what no frame shows that the filler sees at least."""


@dataclass(frozen=True)
class MosaicPicture:
    """A shot's mosaic."""

    rgb: np.ndarray
    """uint8 [H,W,3]; zeros where ``known`` is not set."""
    seen: np.ndarray
    """bool [H,W]: shown by frames."""
    known: np.ndarray
    """bool [H,W]: shown, or filled as it is needed."""
    remark: str
    """What was cut or left out; empty where nothing was."""


def make_mosaic(
    frames: Sequence[np.ndarray], holes: Sequence[np.ndarray], rest: Filler, few: float
) -> MosaicPicture | str:
    """The per-pixel median of what frames of a moving camera show outside their holes.

    Args:
        frames: uint8 [H,W,3], in the order of time.
        holes: bool [H,W] each.
        rest: fills what lies in the frames' holes and no frame shows, once, on the mosaic.
        few: what a smaller part than this of the frames that cover a pixel show there does not
            count.

    Returns:
        The mosaic, or why there is none.
    """
    laid = lay_out(frames, [~hole for hole in holes], holes)
    there = [i for i, motion in enumerate(laid.onto) if motion is not None]
    if 2 * len(there) <= len(frames):
        return (
            f"the camera moves: only {len(there)} of {len(frames)} sampled frames lie on one plane"
        )
    frames, holes = [frames[i] for i in there], [holes[i] for i in there]
    onto = [motion for motion in laid.onto if motion is not None]
    gains = _gains(frames, holes, onto, laid)
    rgb = np.zeros((*laid.size, 3), np.uint8)
    seen, needed = np.zeros(laid.size, bool), np.zeros(laid.size, bool)
    clear = [(~hole).astype(np.uint8) * 255 for hole in holes]
    hidden = [hole.astype(np.uint8) * 255 for hole in holes]
    for top in range(0, laid.size[0], _BAND):
        rows = slice(top, min(top + _BAND, laid.size[0]))
        size = (laid.size[1], rows.stop - rows.start)
        placed = [
            _in_band(*parts, top, size)
            for parts in zip(frames, clear, hidden, onto, gains, strict=True)
        ]
        shown = [(picture, bare) for picture, bare, _ in placed]
        covered = np.stack([bare | hole for _, bare, hole in placed]).sum(0)
        count = np.stack([bare for _, bare in shown]).sum(0)
        rgb[rows] = masked_median(shown)[0]
        seen[rows] = count >= np.maximum(np.ceil(few * covered), 1)
        needed[rows] = np.logical_or.reduce([hole for _, _, hole in placed])
    missing = needed & ~seen
    rgb = fill_parts(rgb, seen, missing, rest)
    rgb[~(seen | missing)] = 0
    remark = f"the mosaic is cut: {laid.cut:.0%} of what is hidden lies outside" * (laid.cut > 5e-3)
    return MosaicPicture(rgb, seen, seen | missing, remark)


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


def fill_parts(
    rgb: np.ndarray, known: np.ndarray, missing: np.ndarray, filler: Filler
) -> np.ndarray:
    """Fills what is missing piece by piece, each with the known pixels around it.

    So a filler never sees the empty part of a canvas as one huge hole.

    Args:
        rgb: uint8 [H,W,3].
        known: bool [H,W].
        missing: bool [H,W], what is to be filled; the rest of what is not known stays.
        filler: is given windows of the picture.
    """
    filled = rgb.copy()
    joined = cv2.dilate(missing.astype(np.uint8), np.ones((33, 33), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(joined)
    for label, (x, y, wide, high, _) in list(enumerate(stats))[1:]:
        margin = max(_CONTEXT, max(wide, high) // 2)
        rows = slice(max(y - margin, 0), y + high + margin)
        columns = slice(max(x - margin, 0), x + wide + margin)
        hole = ~known[rows, columns]
        part = missing[rows, columns] & (labels[rows, columns] == label)
        if hole.all():
            continue
        picture = filler(filled[rows, columns], hole)
        filled[rows, columns][part] = picture[part]
    return filled


@dataclass(frozen=True)
class Placed:
    """The mosaic in one frame."""

    rgb: np.ndarray
    """uint8 [H,W,3], in the brightness of the frame's surroundings."""
    seen: np.ndarray
    """bool [H,W]: shown by other frames."""
    known: np.ndarray
    """bool [H,W]: inside the mosaic."""
    apart: float
    """Median difference in grey levels from what the frame itself shows around its hole."""


def place_mosaic(
    rgb: np.ndarray,
    seen: np.ndarray,
    known: np.ndarray,
    marks: Marks,
    frame: np.ndarray,
    hole: np.ndarray,
) -> Placed | None:
    """Warps the mosaic into a frame and evens it with the frame's own surroundings.

    Args:
        rgb: uint8 [H,W,3], the mosaic.
        seen: bool [H,W], where frames show it.
        known: bool [H,W], where it is not empty.
        marks: of the mosaic, where it is seen.
        frame: uint8 [h,w,3].
        hole: bool [h,w], neither empty nor full.

    Returns:
        The mosaic in the frame; None where the frame does not fit it.
    """
    motion = homography(*matched(marks, find_marks(frame, ~hole)))
    if motion is None:
        return None
    size = hole.shape[::-1]
    picture = cv2.warpPerspective(rgb, motion, size, flags=cv2.INTER_LINEAR)
    shown, inside = (
        cv2.warpPerspective(mask.astype(np.uint8) * 255, motion, size) == 255
        for mask in (seen, known)
    )
    return even_with(picture, shown, inside, frame, hole)


def even_with(
    picture: np.ndarray, shown: np.ndarray, inside: np.ndarray, frame: np.ndarray, hole: np.ndarray
) -> Placed:
    """Brings a picture of what is behind to a frame's light, so that no rim of the hole is seen.

    The difference around the hole is carried into it by normalised blurs. What differs clearly, as
    something moved there, does not count.
    """
    ring = cv2.dilate(hole.astype(np.uint8), np.ones((49, 49), np.uint8)) > 0
    around = ring & ~hole & shown
    difference = frame.astype(np.float32) - picture
    if not around.any():
        return Placed(picture, shown, inside, 0.0)
    middle = np.median(difference[around], axis=0)
    odd = np.abs(difference - middle).max(axis=2)
    weight = (around & (odd <= np.median(odd[around]) + _MOVED)).astype(np.float32)
    total, mass = np.zeros_like(difference), np.zeros_like(weight)
    for trust, sigma in zip((1.0, 1e-3, 1e-6), _REACH, strict=True):
        total += trust * cv2.GaussianBlur(difference * weight[..., None], (0, 0), sigma)
        mass += trust * cv2.GaussianBlur(weight, (0, 0), sigma)
    carried = np.where((mass > 1e-9)[..., None], total / np.maximum(mass, 1e-9)[..., None], middle)
    even = np.clip(np.rint(picture + carried), 0, 255).astype(np.uint8)
    left = np.abs(frame.astype(np.float32) - even).mean(axis=2)[around]
    return Placed(even, shown, inside, float(np.median(left)))


def _in_band(
    frame: np.ndarray,
    clear: np.ndarray,
    hidden: np.ndarray,
    onto: np.ndarray,
    gain: np.ndarray,
    top: int,
    size: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A frame, its clear pixels and its hole in a band of the canvas that begins at row ``top``;
    the masks given are uint8, 0 or 255.
    """
    motion = np.array([[1, 0, 0], [0, 1, -top], [0, 0, 1.0]]) @ onto
    picture = cv2.warpPerspective(frame, motion, size, flags=cv2.INTER_LINEAR)
    if not np.allclose(gain, 1, atol=2e-3):
        picture = np.clip(np.rint(picture * gain), 0, 255).astype(np.uint8)
    bare = cv2.warpPerspective(clear, motion, size) == 255
    hole = cv2.warpPerspective(hidden, motion, size) > 0
    return picture, bare, hole


def _gains(
    frames: Sequence[np.ndarray],
    holes: Sequence[np.ndarray],
    onto: Sequence[np.ndarray],
    laid: Mosaic,
) -> list[np.ndarray]:
    """By frame, what its channels are multiplied by to have the middle one's brightness: float32
    [3] each.
    """
    share = min(_SMALL / min(laid.size), 1.0)
    size = (math.ceil(laid.size[1] * share), math.ceil(laid.size[0] * share))
    scale = np.diag([share, share, 1.0])
    total = np.zeros((size[1], size[0], 3), np.float32)
    count = np.zeros((size[1], size[0]), np.float32)
    gains = [np.ones(3, np.float32)] * len(frames)
    middle = len(frames) // 2
    for index in sorted(range(len(frames)), key=lambda i: abs(i - middle)):
        motion = scale @ onto[index]
        small = cv2.warpPerspective(
            cv2.blur(frames[index], (3, 3)), motion, size, flags=cv2.INTER_LINEAR
        ).astype(np.float32)
        clear = cv2.warpPerspective((~holes[index]).astype(np.uint8) * 255, motion, size) == 255
        both = clear & (count > 0)
        before = total / np.maximum(count, 1)[..., None]
        both &= ((small > 16) & (small < 240) & (before > 16) & (before < 240)).all(axis=2)
        if np.count_nonzero(both) >= 64:
            gains[index] = np.clip(np.median(before[both] / small[both], axis=0), 0.5, 2.0)
        total += clear[..., None] * small * gains[index]
        count += clear
    return gains
