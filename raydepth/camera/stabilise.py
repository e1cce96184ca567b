"""Temporal stabilisation of depth, for clips whose camera stands still.

Estimators give the same wall another depth in every frame. Where the camera stands still, a static
pixel has the same colours again in other frames. So reference frames, sampled over the whole clip
in the calibration pass, vote on the depth of such pixels. A frame's result depends on the frame and
the reference frames alone, not on its neighbours, its batch or its part.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from raydepth.camera.motion import camera_motion
from raydepth.depth.calibrate import fit_scale_and_shift

SIDE = 256
"""Short side in pixels of the reference frames; networks see about as much."""
_ALIKE = 20.0
"""Grey levels by which two views of one thing differ: noise, compression, a shadow's edge."""
_PATCH = 5
"""Side in pixels of the neighbourhood whose colours are compared."""
_OWN = 0.1
"""Weight of a frame's own depth; a reference frame of the same colours has up to 1."""
_SURE = 0.5
"""Sum of the references' weights from which on they correct a frame's own depth."""
_NEAR_BY = 0.12
"""Standard deviation, as a part of the short side, over which that correction is carried into
pixels that no reference shows."""
_EVERY = 13
"""Of the pixels of which a scale is fitted, every 13th counts."""


@dataclass(frozen=True)
class ReferenceFrames:
    """Reference frames of a clip whose camera stands still, at reduced size."""

    rgb: np.ndarray
    """uint8 [n,h,w,3]."""
    inv_depth: np.ndarray
    """float32 [n,h,w], on one scale."""

    def stabilise(self, rgb: np.ndarray, inv_depth: np.ndarray) -> np.ndarray:
        """A frame's depth after a vote of the reference frames that show the same colours there.

        First the depth is aligned to theirs by scale and shift (least squares without the worst
        pixels). Then the local offset between both is removed. Last it is averaged with them,
        weighted by how alike the colours are (a bilateral filter over the clip, after Tomasi and
        Manduchi 1998). Pixels that no reference frame shows keep their own aligned depth.

        Args:
            rgb: uint8 [H,W,3], the frame.
            inv_depth: float32 [H,W], normalised.

        Returns:
            float32 [H,W].
        """
        height, width = inv_depth.shape
        size = self.inv_depth.shape[2:0:-1]
        small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        own = cv2.resize(inv_depth, size, interpolation=cv2.INTER_AREA)
        expected, weight = _voted(small, self)
        sure = weight >= _SURE
        own = _rescaled(own, expected, sure)
        # Not next to what moves: there its depth is smeared across its edge.
        clear = cv2.erode(sure.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(np.float32)
        sigma = _NEAR_BY * min(size)
        mass = cv2.GaussianBlur(clear, (0, 0), sigma)
        off = cv2.GaussianBlur((expected - own) * clear, (0, 0), sigma) / np.maximum(mass, 1e-3)
        held = (weight * expected + _OWN * (own + off)) / (weight + _OWN)
        if held.shape == inv_depth.shape:
            return held
        return cv2.resize(held, (width, height), interpolation=cv2.INTER_LINEAR)


def gather(
    frames: Sequence[np.ndarray], inv_depths: Sequence[np.ndarray]
) -> ReferenceFrames | None:
    """Makes reference frames of a clip's sampled frames, their depths aligned to one scale.

    None where the camera moves.

    Args:
        frames: uint8 [H,W,3], the clip's first frame first.
        inv_depths: float32 [H,W] each, normalised.
    """
    size = _small(frames[0].shape[:2])
    first, everywhere = frames[0], np.ones(frames[0].shape[:2], bool)
    static = [
        (
            cv2.resize(frame, size, interpolation=cv2.INTER_AREA),
            cv2.resize(depth, size, interpolation=cv2.INTER_AREA),
        )
        for frame, depth in zip(frames, inv_depths, strict=True)
        if frame.shape == first.shape and _stands(frame, first, everywhere)
    ]
    if 2 * len(static) <= len(frames):
        return None
    references = ReferenceFrames(
        np.stack([rgb for rgb, _ in static]), np.stack([depth for _, depth in static])
    )
    for _ in range(2):
        depths = []
        for index, (rgb, depth) in enumerate(
            zip(references.rgb, references.inv_depth, strict=True)
        ):
            others = ReferenceFrames(
                np.delete(references.rgb, index, 0), np.delete(references.inv_depth, index, 0)
            )
            expected, weight = _voted(rgb, others)
            depths.append(_rescaled(depth, expected, weight >= _SURE))
        references = ReferenceFrames(references.rgb, np.stack(depths))
    return references


def _voted(rgb: np.ndarray, references: ReferenceFrames) -> tuple[np.ndarray, np.ndarray]:
    """Mean depth of the reference frames that look like a frame, and the sum of their weights.

    Both are float32 [h,w].
    """
    total, mass = np.zeros(rgb.shape[:2], np.float32), np.zeros(rgb.shape[:2], np.float32)
    for other, depth in zip(references.rgb, references.inv_depth, strict=True):
        red, green, blue = cv2.split(cv2.absdiff(rgb, other))
        apart = cv2.blur(cv2.max(cv2.max(red, green), blue), (_PATCH, _PATCH))
        weight = cv2.LUT(apart, _WEIGHT)
        cv2.accumulateProduct(weight, depth, total)
        cv2.accumulate(weight, mass)
    return total / np.maximum(mass, 1e-6), mass


_WEIGHT = np.exp(-((np.arange(256) / _ALIKE) ** 2)).astype(np.float32)


def _rescaled(inv_depth: np.ndarray, expected: np.ndarray, sure: np.ndarray) -> np.ndarray:
    """A map aligned to another by scale and shift, fitted where the other is reliable.

    The map stays as it is where too few pixels are reliable.
    """
    there, here = expected[sure][::_EVERY], inv_depth[sure][::_EVERY]
    fitted = fit_scale_and_shift(there, here) if len(there) >= 12 else None
    if fitted is None:
        return inv_depth
    scale, offset = fitted
    return ((inv_depth - offset) / scale).astype(np.float32)


def _stands(frame: np.ndarray, first: np.ndarray, everywhere: np.ndarray) -> bool:
    motion = camera_motion(frame, everywhere, first, everywhere)
    return motion is not None and np.array_equal(motion, np.eye(3))


def _small(shape: tuple[int, int]) -> tuple[int, int]:
    """Width and height of the reference frames for frames of (height, width)."""
    share = min(SIDE / min(shape), 1.0)
    return max(round(shape[1] * share), 1), max(round(shape[0] * share), 1)
