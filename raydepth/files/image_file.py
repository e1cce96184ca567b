"""The one reader of picture files: frames, objects, backgrounds, depth maps and true edits.

All of them have the same limits, are turned upright in the same way, and are refused in the same
words.
"""

import io
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from raydepth.files import storage

warnings.filterwarnings(
    "ignore", category=Image.DecompressionBombWarning
)  # MAX_PIXELS is the limit here

MAX_PIXELS = 2**27
"""Pixels of a picture at most, 16384 x 8192: a few bytes can announce any size, and its memory
would be asked for."""
MAX_BYTES = 8 * MAX_PIXELS + 2**24
"""Bytes of a picture file at most: four channels of 16 bits, stored plainly, and metadata."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
"""What may be behind the endings of IMAGE_SUFFIXES. Pillow goes by content and knows more, among it
EPS, which runs Ghostscript."""
NUMBER_FORMATS = ("PNG", "TIFF")
"""What may hold numbers instead of colours."""

_EXIF_ORIENTATION = 0x0112
_TURNED = frozenset({5, 6, 7, 8})
"""Orientations that swap width and height."""
_TIFF_SUBFILE, _TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_BITS, _TIFF_PHOTOMETRIC = 254, 256, 257, 258, 262
_TIFF_SAMPLE_FORMAT = 339
_REDUCED_OR_MASK = 0b101
"""Bits of a TIFF's NewSubfileType: a smaller copy of another page, or a mask for one."""

_NUMBERS = frozenset({"I", "I;16", "I;16B", "I;16L", "F"})
"""Pillow's modes of one channel with more than 8 bits."""

_MAGIC = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG", "PNG"),
    (0, b"GIF8", "GIF"),
    (8, b"WEBP", "WEBP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
    (0, b"BM", "BMP"),
)
_FOREIGN = (
    (4, b"ftypavif", "an AVIF picture"),
    (4, b"ftyphe", "an HEIF picture (.heic)"),
    (4, b"ftypmif1", "an HEIF picture (.heic)"),
    (4, b"ftyp", "a video"),
    (0, b"v/1\x01", "an OpenEXR picture"),
    (0, b"#?R", "a Radiance picture (.hdr)"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"%PDF", "a PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"\xff\x0a", "a JPEG XL picture"),
    (4, b"JXL ", "a JPEG XL picture"),
    (4, b"jP  ", "a JPEG 2000 picture"),
    (0, b"version https://git-lfs", "a Git LFS pointer in the file's place"),
    (0, b"<", "markup (SVG, HTML)"),
)


class PictureError(OSError):
    """A file is there, and holds no picture of the kind that is expected."""


class Pixels(NamedTuple):
    """A picture as displayed."""

    rgb: np.ndarray
    """uint8 [h,w,3], not premultiplied."""
    alpha: np.ndarray | None
    """uint8 [h,w]; None: the file does not say what is transparent."""


def picture_size(file: str) -> tuple[int, int]:
    """Height and width of a picture as displayed, from its header.

    Raises:
        OSError: as ``read_pixels``.
    """
    with _opened(file, FORMATS, whole=False) as image:
        height, width = _stored_size(image)
        return (width, height) if _orientation(image) in _TURNED else (height, width)


def read_pixels(file: str) -> Pixels:
    """The colours and alpha of a picture as displayed.

    EXIF and TIFF orientation are applied. 16-bit pictures are scaled to 8 bits, palettes looked up,
    CMYK is converted plainly. Grey pictures get three equal channels. Embedded colour profiles are
    not applied.

    Raises:
        FileNotFoundError: there is no such file.
        StorageError: storage did not give a picture that it has.
        PictureError: the file is damaged or of another format, is larger than MAX_PIXELS or
            MAX_BYTES, holds several pictures (pages, an animation), or numbers that are no colours
            (floats, 32 bits).
        OSError: the file system does not give it.
    """
    with _opened(file, FORMATS) as image:
        orientation = _orientation(image)
        if not image.has_transparency_data:
            return Pixels(_upright(np.array(_colours(image).convert("RGB")), orientation), None)
        rgba = _upright(np.array(_colours(image).convert("RGBA")), orientation)
        return Pixels(np.ascontiguousarray(rgba[..., :3]), rgba[..., 3])


def read_numbers(file: str) -> np.ndarray:
    """The numbers of a PNG or TIFF with one channel as displayed, as they are stored.

    Returns:
        uint16, int32, uint32 or float32 [h,w].

    Raises:
        OSError: as ``read_pixels``; where the file holds colours, or no more than 8 bits, a
            PictureError.
    """
    with _opened(file, NUMBER_FORMATS) as image:
        if image.mode not in _NUMBERS:
            what = {"1": "1 bit", "L": "8 bits", "P": "a palette"}.get(image.mode)
            shape = [image.height, image.width, len(image.getbands())]
            raise ValueError(
                "expected one channel of 16 bits or floats, got "
                f"{what or f'colours ({image.mode}) {shape}'}"
            )
        numbers = np.asarray(image)
        if image.mode == "I" and _tag(image, _TIFF_SAMPLE_FORMAT, 2) == 1:
            numbers = numbers.view(np.uint32)
        return _upright(numbers.astype(numbers.dtype.newbyteorder("=")), _orientation(image))


def read_labels(file: str) -> np.ndarray:
    """The numbers of a picture with one channel, or with a palette, as they are stored and as
    displayed: int64 [h,w]. Of a picture with several equal channels, those of the first.

    Raises:
        OSError: as ``read_pixels``; a PictureError where the file holds colours.
    """
    with _opened(file, FORMATS) as image:
        numbers = np.asarray(image)
        if numbers.ndim == 3 and (numbers[..., :3] == numbers[..., :1]).all():
            numbers = numbers[..., 0]
        if numbers.ndim != 2 or numbers.dtype.kind not in "uib":
            raise ValueError(
                f"expected whole numbers in one channel, or a palette, got {image.mode} "
                f"{list(numbers.shape)}"
            )
        return _upright(numbers.astype(np.int64), _orientation(image))


def open_limited(file: str, *, whole: bool = True) -> IO[bytes]:
    """Opens a file or object of MAX_BYTES at most; of an object, ``whole`` fetches all at once.

    Raises:
        OSError: as ``read_pixels``; a folder, a pipe or a device is a PictureError.
    """
    if not storage.is_remote(file):
        state = os.stat(file)
        if not stat.S_ISREG(state.st_mode):  # a pipe would be waited for without end
            raise PictureError(f"{file}: expected a file, got a folder, a pipe or a device")
        _refuse_large(file, state.st_size)
        return open(file, "rb")
    remote = storage.open_file(file)
    _refuse_large(file, remote.seek(0, os.SEEK_END))
    remote.seek(0)
    if not whole:
        return remote
    with remote:
        return io.BytesIO(remote.read())


@contextmanager
def _opened(file: str, formats: tuple[str, ...], *, whole: bool = True) -> Iterator[Image.Image]:
    """A file's one picture, its pixels loaded or (not ``whole``) only its header read.

    Raises PictureError, also for what is raised within, or what the file system raises.
    """
    with open_limited(file, whole=whole) as content:
        try:
            with Image.open(content, formats=formats) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ValueError(
                        f"{image.width}x{image.height} pixels, at most {MAX_PIXELS} are expected: "
                        "scale it down first"
                    )
                _refuse_several(image)
                if whole:
                    image.load()
                yield image
        except UnidentifiedImageError as error:
            content.seek(0)
            raise PictureError(f"{file}: {_what_came(content.read(64), formats)}") from error
        except Image.DecompressionBombError as error:
            raise PictureError(
                f"{file}: too many pixels, at most {MAX_PIXELS} are expected: scale it down first"
            ) from error
        except storage.StorageError:
            raise
        except Exception as error:  # Pillow's readers raise whatever their parsing runs into
            raise PictureError(f"{file}: {error or type(error).__name__}") from error


def _refuse_large(file: str, size: int) -> None:
    if size > MAX_BYTES:
        raise PictureError(
            f"{file}: {size} bytes, at most {MAX_BYTES} are expected: scale it down first"
        )


def _what_came(head: bytes, formats: tuple[str, ...]) -> str:
    """What a file that begins like this is, what was expected, and what to do."""

    def found(table: tuple[tuple[int, bytes, str], ...]) -> str | None:
        return next((what for at, magic, what in table if head.startswith(magic, at)), None)

    expected = f"expected a picture ({', '.join(formats)})"
    kept = "16 bits or as TIFF with floats" if formats == NUMBER_FORMATS else "8 or 16 bits"
    if not head:
        return f"{expected}, got an empty file; copy it again"
    known = found(_MAGIC)
    if known in formats:
        return (
            f"{expected}, got a {known} that is damaged or of a kind that is not read; save it "
            f"again, for example as PNG with {kept}"
        )
    if other := known or found(_FOREIGN):
        return f"{expected}, got {other}; convert it, for example to PNG with {kept}"
    return f"{expected}, got no picture"


def _refuse_several(image: Image.Image) -> None:
    """Refuses animations and documents, of which the first picture alone is not what is meant.

    A camera's JPEG with further pictures (MPO) is its first one; so is a TIFF with smaller copies
    of its page.
    """
    if image.format == "TIFF":
        page = 1
        while _seek(image, page):
            if not _tag(image, _TIFF_SUBFILE, 0) & _REDUCED_OR_MASK:
                raise ValueError(
                    "a TIFF of several pages, expected one picture; save the page that is meant "
                    "alone, or each as a file of a folder"
                )
            page += 1
        image.seek(0)
    elif image.format != "MPO" and (pictures := getattr(image, "n_frames", 1)) > 1:
        raise ValueError(
            f"an animation of {pictures} pictures; convert it to a video, or save the picture that "
            "is meant alone"
        )


def _seek(image: Image.Image, page: int) -> bool:
    try:
        image.seek(page)
    except EOFError:
        return False
    return True


def _tag(image: Image.Image, number: int, default: int) -> int:
    """A TIFF's first number under a tag; the default where it has none, or is no TIFF."""
    value = getattr(image, "tag_v2", {}).get(number, default)
    return int(value[0] if isinstance(value, tuple) else value)


def _stored_size(image: Image.Image) -> tuple[int, int]:
    """Height and width before turning; some versions of Pillow give a TIFF's turned size."""
    height, width = (_tag(image, tag, 0) for tag in (_TIFF_HEIGHT, _TIFF_WIDTH))
    return (height, width) if height and width else (image.height, image.width)


def _orientation(image: Image.Image) -> object:
    """The orientation that is yet to be undone: Pillow turns a TIFF while it loads it."""
    if image.format == "PNG":
        image.load()  # its EXIF may stand behind the pixels
    try:
        return image.getexif().get(_EXIF_ORIENTATION)
    except Exception:  # a damaged block of metadata says nothing of the pixels
        return None


def _upright(stored: np.ndarray, orientation: object) -> np.ndarray:
    """Pixels [h,w,...] that are stored with an orientation, as displayed."""
    if orientation in _TURNED:
        stored = stored.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        stored = stored[::-1]
    if orientation in (2, 3, 6, 7):
        stored = stored[:, ::-1]
    return np.ascontiguousarray(stored)


def _colours(image: Image.Image) -> Image.Image:
    """An image of a mode that converts to RGB and RGBA without a loss, a clip or a warning."""
    if image.mode == "F":
        raise ValueError("its pixels are 32-bit floats, expected 8 or 16 bits")
    if image.mode == "I" and image.format != "PNG":
        raise ValueError("its pixels are signed or of 32 bits, expected 8 or 16 bits, unsigned")
    if image.mode.startswith("I"):  # 16 bits, which convert() would clip instead of scale
        return _scaled(image)
    if image.mode in ("La", "RGBa"):
        return image.convert(image.mode[:-1] + "A")
    if "transparency" in image.info:
        return image.convert("RGBA")
    return image


def _scaled(image: Image.Image) -> Image.Image:
    """A 16-bit grey image in 8 bits."""
    values, white = np.asarray(image), 2 ** _tag(image, _TIFF_BITS, 16) - 1
    grey = np.rint(values * (255 / white)).clip(0, 255).astype(np.uint8)
    if _tag(image, _TIFF_PHOTOMETRIC, 1) == 0:  # 0 is white, which Pillow heeds up to 8 bits
        grey = 255 - grey
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int):
        return Image.fromarray(grey)
    alpha = np.where(values == transparent, 0, 255).astype(np.uint8)
    return Image.fromarray(np.dstack([grey, alpha]), "LA")
