"""The hole behind the near layers: where it is, its filling, the depth under it (step 5)."""

import cv2
import numpy as np

from raydepth.layers.fill.protocol import Filler


def fill_hole(
    filler: Filler, rgb: np.ndarray, near: np.ndarray, dilate: int
) -> tuple[np.ndarray, np.ndarray]:
    """Fills what the near layers hide; outside the hole the frame stays, bit for bit, whoever
    fills.

    Args:
        filler: as ``Filler``.
        rgb: uint8 [H,W,3].
        near: float32 [H,W], alpha of the near layers.
        dilate: pixels by which the hole is larger than ``near > 0`` (an ellipse), so that mixed
            edge pixels go too.

    Returns:
        background uint8 [H,W,3] and hole bool [H,W]. An empty hole, or one without any pixel to
        fill from, leaves the frame as it is. Where only the dilation would swallow the last known
        pixels, the hole is not dilated.
    """
    hole = find_hole(near, dilate)
    return filled(filler, rgb, hole), hole


def filled(
    filler: Filler, rgb: np.ndarray, hole: np.ndarray, avoided: np.ndarray | None = None
) -> np.ndarray:
    """A frame uint8 [H,W,3] with a hole bool [H,W] filled, from pixels that are not avoided.

    A hole without any pixel to fill from leaves the frame as it is.
    """
    unknown = hole if avoided is None or (hole | avoided).all() else hole | avoided
    if not hole.any() or hole.all():
        return rgb.copy()
    return np.where(hole[..., None], filler(rgb, unknown), rgb)


def find_hole(near: np.ndarray, dilate: int) -> np.ndarray:
    """The hole bool [H,W] behind near layers of alpha float32 [H,W]; see fill_hole."""
    hole = near > 0
    if dilate > 0 and hole.any():
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * dilate + 1, 2 * dilate + 1))
        dilated = cv2.dilate(hole.astype(np.uint8), kernel).astype(bool)
        hole = hole if dilated.all() else dilated
    return hole


def far_depth(inv_depth: np.ndarray, hole: np.ndarray, plane: float) -> np.ndarray:
    """Continues the far side's inverse depth under the hole, smoothly and from the far side only.

    A push-pull pyramid (Gortler et al. 1996) gives every pixel of the hole a mean of the known far
    pixels around it; on each level some sweeps of diffusion bring it close to the harmonic
    solution, which has no extremum inside the hole.

    Args:
        inv_depth: float32 [H,W].
        hole: bool [H,W], where the near layers hide it.
        plane: the farthest plane.

    Returns:
        float32 [H,W]: the depth itself outside the hole, and everywhere strictly farther than the
        plane. Without any known far pixel it is flat, at the frame's farthest depth.
    """
    behind = np.nextafter(np.float32(plane), np.float32(-np.inf))
    known = ~hole & (inv_depth < np.float32(plane))
    if not known.any():
        return np.full_like(inv_depth, min(behind, inv_depth.min()))
    low, high = inv_depth[known].min(), inv_depth[known].max()
    levels = [(np.where(known, inv_depth, 0).astype(np.float32), known.astype(np.float32))]
    while min(levels[-1][1].shape) > 1 and not levels[-1][1].all():
        value, weight = levels[-1]
        size = (-(-weight.shape[1] // 2), -(-weight.shape[0] // 2))
        mass = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
        mean = cv2.resize(value * weight, size, interpolation=cv2.INTER_AREA) / np.maximum(
            mass, 1e-12
        )
        levels.append((mean, (mass > 0).astype(np.float32)))
    value, weight = levels.pop()
    filled = np.where(weight > 0, value, (value * weight).sum() / weight.sum()).astype(np.float32)
    for value, weight in reversed(levels):
        filled = cv2.resize(filled, weight.shape[::-1], interpolation=cv2.INTER_LINEAR)
        for _ in range(4):
            filled = np.where(weight > 0, value, filled)
            filled = cv2.blur(filled, (3, 3), borderType=cv2.BORDER_REPLICATE)
        filled = np.where(weight > 0, value, filled)
    return np.where(known, inv_depth, filled.clip(low, high))
