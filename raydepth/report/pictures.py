"""The five panels of a frame: input, depth, near layer, background, edited."""

from collections.abc import Mapping

import cv2
import numpy as np

PANELS = ("rgb", "depth", "near", "background", "edited")
LONG_SIDE = 960
"""Panels are scaled down to this many pixels at most; figures are measured on the originals, never
on panels."""
_ACCENT = (196, 224, 64)  # B, G, R of the outline around what was inpainted
_INK = (32, 24, 16)


def panels(
    stored: Mapping[str, bytes],
    *,
    depth_offset: float | None,
    depth_scale: float | None,
    dilate: int,
    work_side: int | None = None,
) -> dict[str, bytes]:
    """Makes the JPEG panels that the stored pictures allow.

    Args:
        stored: encoded pictures by kind: ``rgb``, ``background``, ``edited`` (8-bit colour),
            ``near`` (8-bit grey alpha), ``depth`` (16-bit grey); any may be missing.
        depth_offset: inverse depth at PNG value 0; None where unknown, then the picture's own range
            is shown.
        depth_scale: inverse depth per PNG value.
        dilate: pixels by which the near mask was dilated to become the hole.
        work_side: short side of the pictures that those pixels are counted in, as stored ones can
            be larger; None: theirs.

    Returns:
        JPEG bytes by panel; a panel whose picture is missing or unreadable is left out.
    """
    decoded = {kind: _decode(data) for kind, data in stored.items()}
    pictures = {kind: _fit(picture) for kind, picture in decoded.items() if picture is not None}
    made = {
        kind: picture
        for kind, picture in pictures.items()
        if kind in ("rgb", "background", "edited")
    }
    if "depth" in pictures:
        made["depth"] = colour_depth(
            pictures["depth"].astype(np.float32), depth_offset, depth_scale
        )
    if "near" in pictures:
        near_side = min(decoded["near"].shape)  # type: ignore[union-attr]  # it is there, as it could be fitted
        alpha = pictures["near"].astype(np.float32) / 255.0
        white = np.full((*alpha.shape, 3), 255, np.uint8)
        made["near"] = on_checkerboard(pictures.get("rgb", white), alpha)
        if "background" in made:
            dilated = round(dilate * min(alpha.shape) / (work_side or near_side))
            made["background"] = outline_hole(made["background"], alpha, dilated)
    return {kind: _jpeg(made[kind]) for kind in PANELS if kind in made}


def colour_depth(values: np.ndarray, offset: float | None, scale: float | None) -> np.ndarray:
    """Inverse depth as BGR uint8 [H,W,3]: inferno over the clip's normalised 0..1, near = bright.

    It is legible without colour.
    """
    if offset is None or scale is None or not np.isfinite([offset, scale]).all():
        offset, scale = -float(values.min()), 1.0
        scale = 1.0 / max(float(values.max()) + offset, 1.0)
        offset *= scale
    shown = np.clip(offset + scale * values, 0.0, 1.0)
    return cv2.applyColorMap((shown * 255).round().astype(np.uint8), cv2.COLORMAP_INFERNO)


def on_checkerboard(picture: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """A layer over the checkerboard that means "nothing here", BGR uint8 [H,W,3]."""
    height, width = alpha.shape
    side = max(min(height, width) // 24, 4)
    squares = (np.arange(height)[:, None] // side + np.arange(width)[None] // side) % 2
    board = np.where(squares, 236, 210).astype(np.float32)[..., None]
    return (alpha[..., None] * picture + (1 - alpha[..., None]) * board).round().astype(np.uint8)


def outline_hole(background: np.ndarray, alpha: np.ndarray, dilate: int) -> np.ndarray:
    """The background with a line around the hole that was filled, BGR uint8 [H,W,3]."""
    hole = cv2.dilate((alpha > 0).astype(np.uint8), _disc(dilate))
    # Bands outside the hole, not contours: a contour would also run along the picture's own border.
    width = max(min(hole.shape) // 80, 1)
    accent = cv2.dilate(hole, _disc(width))
    ink = cv2.dilate(accent, _disc(max(width // 2, 1)))
    drawn = background.copy()
    drawn[(ink > 0) & (accent == 0)] = _INK
    drawn[(accent > 0) & (hole == 0)] = _ACCENT
    return drawn


def _disc(radius: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))


def _decode(data: bytes) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # more pixels announced than OpenCV reads
        return None


def _fit(picture: np.ndarray) -> np.ndarray:
    """A picture reduced to a panel's size, on which lines are then equally wide."""
    height, width = picture.shape[:2]
    scale = LONG_SIDE / max(height, width)
    if scale >= 1:
        return picture
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _jpeg(picture: np.ndarray) -> bytes:
    quality = [
        cv2.IMWRITE_JPEG_QUALITY,
        90,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    return cv2.imencode(".jpg", picture, quality)[1].tobytes()
