"""Picture files that edits bring in: an object with alpha, a picture that covers the frame."""

import io
import math
import warnings
from functools import lru_cache
from typing import IO

import numpy as np
from PIL import Image

from raydepth.errors import JobError
from raydepth.files import storage
from raydepth.files.ranges import StorageError

warnings.filterwarnings(
    "ignore", category=Image.DecompressionBombWarning
)  # MAX_PIXELS is the limit here

MAX_PIXELS = 2**27
"""Pixels of a frame at most, 16384 x 8192: a few bytes can announce any size, and its memory would
be asked for."""

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
"""What may be behind the endings of IMAGE_SUFFIXES. Pillow goes by content and knows more, among it
EPS, which runs Ghostscript."""

_TURNED = frozenset({5, 6, 7, 8})
"""EXIF orientations that swap width and height."""

_EXIF_ORIENTATION = 0x0112


def picture_size(file: str) -> tuple[int, int]:
    """Height and width of a picture as displayed, from its header.

    Raises:
        StorageError: storage did not give a picture that it has.
        OSError: it cannot be read.
    """
    try:
        with _open(storage.open_file(file) if storage.is_remote(file) else file) as image:
            turned = image.getexif().get(_EXIF_ORIENTATION) in _TURNED
            return image.size if turned else image.size[::-1]
    except StorageError:
        raise
    except Exception as error:  # Pillow's readers raise whatever their parsing runs into
        raise OSError(f"{file}: {error}") from error


def read_image(file: str, height: int, width: int) -> np.ndarray:
    """Reads an image upright and at the given size.

    EXIF orientation is applied. Alpha is dropped, not composited over a colour. 16-bit images are
    scaled to 8 bits. Grey images get three equal channels. Embedded colour profiles are not
    applied.

    Returns:
        uint8 [height, width, 3], RGB.

    Raises:
        OSError: the file can't be read, is damaged, is too large or an animation, or holds 32-bit
            floats, which are no colours.
    """
    try:
        with _open(
            io.BytesIO(storage.read_bytes(file)) if storage.is_remote(file) else file
        ) as image:
            rgb = _rgb(image)
            orientation = image.getexif().get(_EXIF_ORIENTATION)
    except Exception as error:  # as above
        raise OSError(f"image can't be read: {error}") from error
    if orientation in _TRANSPOSE:
        rgb = rgb.transpose(_TRANSPOSE[orientation])
    if rgb.size != (width, height):
        kernel = Image.Resampling.BOX if height < rgb.height else Image.Resampling.BICUBIC
        rgb = rgb.resize((width, height), kernel)
    return np.array(rgb)


def _open(file: str | IO[bytes]) -> Image.Image:
    """An image whose pixels are not read yet; raises ValueError where they should not be."""
    image = Image.open(file, formats=IMAGE_FORMATS)
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise ValueError(
            f"{image.width}x{image.height} pixels, at most {MAX_PIXELS} are read: scale it down "
            "first"
        )
    if image.format in ("PNG", "WEBP") and (pictures := getattr(image, "n_frames", 1)) > 1:
        image.close()
        raise ValueError(f"an animation of {pictures} pictures; convert it to a video")
    return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("its pixels are 32-bit floats, expected 8 or 16 bits")
    if image.mode.startswith("I"):  # 16 bits, which convert() would clip instead of scale
        image = Image.fromarray(np.clip(np.asarray(image) / 257 + 0.5, 0, 255).astype(np.uint8))
    if "transparency" in image.info:  # dropped like alpha, on the way that Pillow doesn't warn of
        image = image.convert("RGBA")
    return image.convert("RGB")


_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_object(path: str) -> np.ndarray:
    """An object's premultiplied colour 0..255 and alpha 0..1, float32 [h,w,4].

    It is cropped to where alpha is not 0.

    Raises:
        JobError: the file cannot be read, has no alpha, or is transparent everywhere.
    """
    rgba, has_alpha = _read_rgba(path)
    if not has_alpha:
        raise JobError(
            f"edit.object: {path} has no alpha; expected an RGBA picture whose alpha says where "
            "the object is: set "
            "edit.segment to have it cut out by a segmentation model, or cut it out in a paint "
            "program and save it as PNG"
        )
    alpha = rgba[..., 3:].astype(np.float32) / 255
    rows, columns = (np.flatnonzero(alpha[..., 0].any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        raise JobError(f"edit.object: {path} is transparent everywhere; expected an object in it")
    cropped = np.concatenate([rgba[..., :3] * alpha, alpha], axis=2)
    return np.ascontiguousarray(cropped[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def read_opaque(path: str) -> np.ndarray:
    """The picture of an object that is yet to be cut out, uint8 [h,w,3].

    Raises:
        JobError: the file cannot be read, or is cut out already.
    """
    rgba, _ = _read_rgba(path)
    if (rgba[..., 3] < 255).any():
        raise JobError(
            f"edit.segment: {path} (edit.object) has transparent pixels, so it is cut out; leave "
            "segment out"
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
    """A picture scaled and cropped to cover a frame (height, width): uint8 [H,W,3], read-only.

    Raises:
        OSError: it cannot be read.
    """
    height, width = picture_size(path)
    picture = crop_middle(read_image(path, *cover_size(height, width, frame)), frame)
    picture.setflags(write=False)
    return picture


def parse_colour(text: str) -> np.ndarray:
    """``#rrggbb`` as uint8 [3]."""
    return np.array([int(text[i : i + 2], 16) for i in (1, 3, 5)], np.uint8)


def to_linear(rgb: np.ndarray) -> np.ndarray:
    """8-bit sRGB [...] to linear light, float32 0..1 (IEC 61966-2-1)."""
    value = np.asarray(rgb, np.float32) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(
        np.float32
    )


def to_srgb(light: np.ndarray) -> np.ndarray:
    """Linear light [...] to sRGB, uint8; what is brighter than white is cut off."""
    light = light.clip(0, 1)
    value = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(value * 255).astype(np.uint8)
