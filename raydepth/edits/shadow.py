"""A soft contact shadow: a blurred ellipse on the floor at an object's ground contact."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from raydepth.edits.place import Placement

_FLAT = 0.32
"""Depth of the ellipse as a part of its width: a floor seen from a little above."""
_WIDE = 0.62
"""Half its width as a part of the object's width, to where it has faded out."""
_BEFORE = 0.1
"""Inverse depth by which the floor before the contact may be nearer than the object."""
_UNLIKE = 40.0
"""Grey levels by which a pixel may differ from the floor's middle colour, or more where the floor
itself varies more."""
_OFF = 0.03
"""Inverse depth by which a pixel may miss the floor's plane, fading out until twice that."""
_AROUND = 0.05
"""Distance from the contact, as a part of the frame's short side, within which the floor's colours
are taken."""


@dataclass(frozen=True)
class Floor:
    """The colours of what an object stands on, by which later frames tell what covers it."""

    colour: tuple[float, ...]
    """Their median, 0..255."""
    spread: float
    """Grey levels by which a pixel of it may differ from that."""


def floor_at(rgb: np.ndarray, contact: tuple[float, float]) -> Floor | None:
    """The floor around a ground contact in a frame uint8 [H,W,3]; None outside the frame.

    The contact is x, y as fractions of width and height.
    """
    height, width = rgb.shape[:2]
    reach = max(round(_AROUND * min(height, width)), 1)
    x, y = int(contact[0] * width), int(contact[1] * height)
    around = rgb[
        max(y - reach, 0) : max(y + reach + 1, 0), max(x - reach, 0) : max(x + reach + 1, 0)
    ]
    pixels = around.reshape(-1, 3).astype(np.float32)
    if not len(pixels):
        return None
    colour = np.median(pixels, axis=0)
    unlike = np.abs(pixels - colour).max(axis=1)
    return Floor(tuple(colour.tolist()), max(3 * float(np.median(unlike)), _UNLIKE))


def contact_shadow(
    rgb: np.ndarray,
    inv_depth: np.ndarray,
    at: "Placement",
    object_inv_depth: float,
    known: Floor | None = None,
) -> np.ndarray:
    """How much of the light a shadow of strength 1 takes away: float32 [H,W], 0..1.

    It lies only where the floor is seen. A plane's inverse depth is affine in picture coordinates.
    So the floor is what lies on the affine map fitted to the pixels around the ground contact, with
    outliers removed repeatedly. Where depth is too coarse to separate an object from the floor that
    it stands on, colour does.

    Args:
        rgb: uint8 [H,W,3], the frame.
        inv_depth: float32 [H,W] of the scene.
        at: where the object stands.
        object_inv_depth: its inverse depth.
        known: the floor; None: its colour is that of the pixels around the ground contact.
    """
    shadow = np.zeros_like(inv_depth)
    height, width = inv_depth.shape
    reach = _WIDE * at.width
    x0, x1 = max(int(at.contact[0] - reach), 0), min(math.ceil(at.contact[0] + reach) + 1, width)
    y0, y1 = max(int(at.contact[1] - reach), 0), min(math.ceil(at.contact[1] + reach) + 1, height)
    if x1 <= x0 or y1 <= y0:
        return shadow
    y, x = np.mgrid[y0:y1, x0:x1].astype(np.float32) + 0.5
    x, y = x - at.contact[0], y - at.contact[1]
    c, s = math.cos(at.turn), math.sin(at.turn)
    along, across = c * x + s * y, c * y - s * x + 0.3 * _FLAT * reach
    inside = np.clip(1 - np.hypot(along / reach, across / (_FLAT * reach)), 0, 1)
    soft = inside * inside * (3 - 2 * inside)
    part = inv_depth[y0:y1, x0:x1]
    terms = np.stack([np.ones_like(x), x / reach, y / reach], axis=-1)
    colour = rgb[y0:y1, x0:x1].astype(np.float32)
    like = np.ones(part.shape, bool)
    if known is not None:
        unlike = np.abs(colour - np.array(known.colour, np.float32)).max(axis=-1)
        like = unlike < 2 * known.spread
    floor = (np.abs(part - object_inv_depth) < 0.25) & (soft > 0) & like
    miss = np.full(part.shape, np.inf, np.float32)
    for _ in range(5):
        if floor.sum() < 12:
            return shadow
        plane = np.linalg.lstsq(terms[floor], part[floor], rcond=None)[0]
        miss = np.abs(part - terms @ plane)
        floor = (miss < max(2 * float(np.median(miss[floor])), _OFF / 3)) & (soft > 0) & like
    if known is None:
        unlike = np.abs(colour - np.median(colour[floor], axis=0)).max(axis=-1)
    spread = max(3 * float(np.median(unlike[floor])), _UNLIKE) if known is None else known.spread
    on_floor = np.clip(2 - miss / _OFF, 0, 1) * np.clip(2 - unlike / spread, 0, 1)
    on_floor *= part <= object_inv_depth + _BEFORE
    shadow[y0:y1, x0:x1] = soft * cv2.blur(on_floor.astype(np.float32), (3, 3)) * (on_floor > 0)
    return shadow
