"""Flow-warped error of an edited clip: how far a frame differs from the one before, warped."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

_STEEPNESS = np.array([1, 2, 3, 4, 6, 8, 11, 16, 22, 32, 45, 64], np.float32)
"""Bounds in grey levels a pixel of the classes of slope within which two clips' errors are
compared."""
_PRESETS = {
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}


@dataclass(frozen=True)
class Warped:
    """One step of a clip, from a frame to the next; arrays [H,W] of the later frame."""

    error: np.ndarray
    """float32: |later frame - earlier one warped onto it|, mean over the channels, in grey
    levels."""
    seen: np.ndarray
    """bool: shown by both frames, as far as the flow can tell."""
    steep: np.ndarray
    """int64: class of the later frame's slope, 0..12."""
    start: np.ndarray
    """float32 [H,W,2]: where each pixel was in the earlier frame, x and y."""


def warp_step(
    earlier: np.ndarray, later: np.ndarray, preset: Literal["fast", "medium"] = "medium"
) -> Warped:
    """Warps a frame bilinearly onto the next by dense flow between them.

    The flow is DIS (Kroeger et al. 2016) with one of its authors' presets. A pixel counts
    where forward and backward flow agree, |f + b|^2 < 0.01 (|f|^2 + |b|^2) + 0.5 (Sundaram et al.
    2010, eq. 5; the check of Lai et al. 2018, section 3.3), and where it was inside the frame.
    There is no motion boundary test.

    Args:
        earlier: uint8 [H,W,3].
        later: uint8 [H,W,3].
        preset: ``fast`` takes a fifth of the time of ``medium``.
    """
    before, after = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (earlier, later))
    dis = cv2.DISOpticalFlow.create(_PRESETS[preset])
    back, forth = dis.calc(after, before, None), dis.calc(before, after, None)
    height, width = before.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    start = np.stack([x, y], axis=-1) + back
    warped = at(earlier, start)
    returned = at(forth, start)
    seen = _squared(back + returned) < 0.01 * (_squared(back) + _squared(returned)) + 0.5
    for axis, last in enumerate((width - 1, height - 1)):
        seen &= (start[..., axis] >= 0) & (start[..., axis] <= last)
    error = np.abs(warped.astype(np.float32) - later).mean(axis=-1)
    slope = np.hypot(
        *(cv2.Sobel(after, cv2.CV_32F, 1 - axis, axis, scale=1 / 8) for axis in (0, 1))
    )
    return Warped(error, seen, np.digitize(slope, _STEEPNESS), start)


def in_region(step: Warped, earlier: np.ndarray, later: np.ndarray) -> np.ndarray:
    """The step's pixels that count and lie in a region in both frames, bool [H,W].

    Regions are bool [H,W].
    """
    return step.seen & later & (at(earlier.astype(np.uint8), step.start) > 0)


def flow_warped_error(steps: Sequence[Warped], counted: Sequence[np.ndarray]) -> float:
    """Mean error in grey levels over these pixels of all steps; NaN where there are none.

    Args:
        steps: of one clip.
        counted: bool [H,W] for each step.
    """
    values = np.concatenate([step.error[mask] for step, mask in zip(steps, counted, strict=True)])
    return float(values.mean()) if values.size else float("nan")


def expected_error(
    steps: Sequence[Warped], counted: Sequence[np.ndarray], reference: Sequence[Warped]
) -> float:
    """The error that a reference clip has where its picture is equally steep.

    Warping by parts of a pixel costs steep edges more than plain walls, in any clip. So the
    reference's mean error is taken for each class of slope, and weighted as the classes occur among
    the pixels that count. Classes that the reference does not have are left out; NaN where it has
    none of them.

    Args:
        steps: of the clip that is judged.
        counted: its pixels that count, bool [H,W] for each step.
        reference: of the reference clip, all of whose seen pixels count.
    """
    classes = len(_STEEPNESS) + 1
    steep = np.concatenate([step.steep[step.seen] for step in reference])
    error = np.concatenate([step.error[step.seen] for step in reference])
    have = np.bincount(steep, minlength=classes)
    mean = np.bincount(steep, error, classes) / np.maximum(have, 1)
    wanted = sum(
        np.bincount(step.steep[mask], minlength=classes)
        for step, mask in zip(steps, counted, strict=True)
    ) * (have > 0)
    return float((wanted * mean).sum() / wanted.sum()) if np.any(wanted) else float("nan")


def _squared(vectors: np.ndarray) -> np.ndarray:
    return vectors[..., 0] ** 2 + vectors[..., 1] ** 2


def at(values: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Values [H,W,...] at points float32 [H,W,2] (x, y), bilinearly."""
    return cv2.remap(
        values, points[..., 0], points[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
