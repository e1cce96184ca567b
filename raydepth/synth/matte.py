"""Matte extraction: 8-bit layers of a rendered picture that recompose it exactly."""

from __future__ import annotations

import numpy as np


def alpha_over(front: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """Composites an RGBA picture over an opaque one in whole numbers.

    That is round((alpha front + (255 - alpha) behind) / 255).

    Args:
        front: uint8 [H, W, 4], colour not multiplied with alpha.
        behind: uint8 [H, W, 3].

    Returns:
        uint8 [H, W, 3].
    """
    alpha = front[..., 3:].astype(np.int64)
    return ((2 * (alpha * front[..., :3] + (255 - alpha) * behind) + 255) // 510).astype(np.uint8)


def extract_matte(
    picture: np.ndarray, behind: np.ndarray, coverage: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Extracts layers with soft edges, such that ``alpha_over(front, back) == picture``.

    Hard alpha would alias, and the renderer's own colours do not add up in 8 bits. So alpha is the
    coverage. The back is `behind` wherever that leaves a front colour in 0..255, and else the
    nearest value that does (where nothing covers it, the picture's own). The front is the colour
    that is then missing, (255 picture - (255 - alpha) back) / alpha. Rounding it to whole numbers
    moves the sum by at most alpha / 510 < 1/2, so the rounded sum is the picture.

    Args:
        picture: What both layers together look like, uint8 [H, W, 3].
        behind: What the back layer looks like alone, uint8 [H, W, 3].
        coverage: Share of each pixel that the front layer covers, float [H, W] in 0..1.

    Returns:
        Front uint8 [H, W, 4] (black where it is clear) and back uint8 [H, W, 3].
    """
    alpha = np.rint(255 * coverage).astype(np.int64)[..., None]
    whole, clear = picture.astype(np.int64), 255 - alpha
    least = -(-255 * (whole - alpha) // np.maximum(clear, 1))  # rounded up
    most = 255 * whole // np.maximum(clear, 1)
    back = np.where(clear > 0, np.clip(behind, np.maximum(least, 0), np.minimum(most, 255)), behind)
    missing = 255 * whole - clear * back
    front = np.where(alpha > 0, (2 * missing + alpha) // np.maximum(2 * alpha, 1), 0)
    return np.concatenate([front, alpha], axis=-1).astype(np.uint8), back.astype(np.uint8)
