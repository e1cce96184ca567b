"""Picture files that edits bring in: an object with alpha, a picture that covers the frame."""

import io
import math
from functools import lru_cache

import numpy as np
from PIL import Image

from raydepth import storage
from raydepth.frames.images import IMAGE_FORMATS, image_sizes, read_image
from raydepth.job import JobError


def read_object(path: str) -> np.ndarray:
    """An object's picture, float32 [h,w,4]: colour 0..255 times alpha, and alpha 0..1; cut to where alpha is not 0.

    Raises:
        JobError: the file cannot be read, has no alpha, or is transparent everywhere.
    """
    rgba, has_alpha = _read_rgba(path)
    if not has_alpha:
        raise JobError(
            f"edit.object: {path} has no alpha; expected an RGBA picture whose alpha says where the object is: set "
            "edit.segment to have it cut out by a segmentation model, or cut it out in a paint program and save it as PNG"
        )
    alpha = rgba[..., 3:].astype(np.float32) / 255
    rows, columns = (np.flatnonzero(alpha[..., 0].any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        raise JobError(f"edit.object: {path} is transparent everywhere; expected an object in it")
    cut = np.concatenate([rgba[..., :3] * alpha, alpha], axis=2)
    return np.ascontiguousarray(cut[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def read_opaque(path: str) -> np.ndarray:
    """The picture of an object that is yet to be cut out, uint8 [h,w,3].

    Raises:
        JobError: the file cannot be read, or is cut out already.
    """
    rgba, _ = _read_rgba(path)
    if (rgba[..., 3] < 255).any():
        raise JobError(
            f"edit.segment: {path} (edit.object) has transparent pixels, so it is cut out; leave segment out"
        )
    return np.ascontiguousarray(rgba[..., :3])


def _read_rgba(path: str) -> tuple[np.ndarray, bool]:
    """An object's picture uint8 [h,w,4], and whether it has an alpha channel of its own."""
    try:
        with Image.open(io.BytesIO(storage.read_bytes(path)), formats=IMAGE_FORMATS) as image:
            has_alpha = "A" in image.getbands() or "transparency" in image.info
            return np.asarray(image.convert("RGBA")), has_alpha
    except (OSError, ValueError) as error:
        raise JobError(f"edit.object: {path} cannot be read as a picture: {error}") from error


def cover_size(height: int, width: int, frame: tuple[int, int]) -> tuple[int, int]:
    """The (height, width) at which a picture of this size just covers a frame (height, width)."""
    scale = max(frame[0] / height, frame[1] / width)
    return math.ceil(height * scale - 1e-6), math.ceil(width * scale - 1e-6)


def crop_middle(picture: np.ndarray, frame: tuple[int, int]) -> np.ndarray:
    """The middle of a picture [h,w,...] that covers a frame (height, width)."""
    y, x = ((have - want) // 2 for have, want in zip(picture.shape[:2], frame, strict=True))
    return np.ascontiguousarray(picture[y : y + frame[0], x : x + frame[1]])


@lru_cache(maxsize=16)
def read_cover(path: str, frame: tuple[int, int]) -> np.ndarray:
    """A picture scaled and cropped to cover a frame (height, width): uint8 [H,W,3], not to be written to.

    Raises:
        OSError: it cannot be read.
    """
    height, width = (int(side) for side in image_sizes([path])[0])
    picture = crop_middle(read_image(path, *cover_size(height, width, frame)), frame)
    picture.setflags(write=False)
    return picture


def parse_colour(text: str) -> np.ndarray:
    """``#rrggbb`` as uint8 [3]."""
    return np.array([int(text[i : i + 2], 16) for i in (1, 3, 5)], np.uint8)


def to_linear(rgb: np.ndarray) -> np.ndarray:
    """8-bit sRGB [...] to linear light, float32 0..1 (IEC 61966-2-1)."""
    value = np.asarray(rgb, np.float32) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


def to_srgb(light: np.ndarray) -> np.ndarray:
    """Linear light [...] to sRGB, uint8; what is brighter than white is cut off."""
    light = light.clip(0, 1)
    value = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(value * 255).astype(np.uint8)
