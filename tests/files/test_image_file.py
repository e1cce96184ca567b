"""Every picture that comes in goes through one reader: upright, in 8 bits, one picture a file, with
the same limits and words; whether it is a frame, an object, a background, depth or a true edit.
"""

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from raydepth.depth.files import read_depth
from raydepth.edits.planes import PlanesBuilder
from raydepth.edits.scenery import Scenery
from raydepth.edits.settings import Planes
from raydepth.errors import JobError
from raydepth.evaluate.true_edits import TrueEdits
from raydepth.files.image_file import (
    MAX_BYTES,
    PictureError,
    Pixels,
    picture_size,
    read_numbers,
    read_pixels,
)
from raydepth.files.pictures import read_cover, read_object, read_opaque
from raydepth.frames.decode import batches
from raydepth.frames.probe import probe
from raydepth.frames.segments import plan_segments
from raydepth.frames.sources import SourceError

UPRIGHT = np.random.default_rng(5).integers(0, 256, (6, 9, 3), np.uint8)
STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}
"""What is stored with an orientation, by the definition of rows and columns in EXIF and TIFF."""


def save(file: Path, pixels: np.ndarray, orientation: int = 1, **how: object) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(STORED[orientation](pixels))).save(file, exif=exif, **how)
    return file


def frames(file: Path) -> list[dict]:
    return [batch for s in plan_segments(probe(str(file)), size=None) for batch in batches(s, 8)]


def rgba(pixels: np.ndarray) -> np.ndarray:
    return np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(
    ("ending", "how"),
    [
        ("png", {}),
        ("webp", {"lossless": True}),
        ("tif", {}),
        ("tif", {"compression": "tiff_lzw"}),
        ("tif", {"compression": "tiff_deflate"}),
    ],
)
def test_every_reader_turns_a_picture_upright(
    tmp_path: Path, ending: str, how: dict, orientation: int
):
    cut_out = rgba(UPRIGHT)
    cut_out[0, 0, 3] = 254  # or WebP would leave it out
    file = save(tmp_path / f"object.{ending}", cut_out, orientation, **how)
    assert np.array_equal(read_pixels(str(file)).alpha, cut_out[..., 3])
    assert np.allclose(read_object(str(file))[..., :3], UPRIGHT, atol=1.01)
    file = save(tmp_path / f"a.{ending}", UPRIGHT, orientation, **how)
    assert picture_size(str(file)) == (6, 9)
    assert np.array_equal(read_pixels(str(file)).rgb, UPRIGHT)
    assert np.array_equal(read_opaque(str(file)), UPRIGHT)
    assert np.array_equal(read_cover(str(file), (6, 9)), UPRIGHT)
    (batch,) = frames(file)
    assert np.array_equal(batch["rgb"][0], UPRIGHT) and batch["note"][0] == ""
    if ending == "png":
        assert np.array_equal(true_edit(file), UPRIGHT)


def true_edit(file: Path) -> np.ndarray | str:
    batch = {name: np.zeros(1, np.int64) for name in ("frame_index", "pts")}
    batch |= {"path": np.array(["a.mp4"], object), "rgb": np.zeros((1, 6, 9, 3), np.uint8)}
    return TrueEdits(str(file))(batch)[0]


@pytest.mark.parametrize("orientation", STORED)
def test_depth_is_turned_upright(tmp_path: Path, orientation: int):
    depth = np.arange(1000, 1054, dtype=np.uint16).reshape(6, 9)
    for name in ("a.png", "a.tif"):
        file = save(tmp_path / name, depth, orientation)
        assert np.allclose(read_depth(str(file), 0.001), depth / 1000)


def test_a_damaged_block_of_metadata_costs_no_picture(tmp_path: Path):
    file = tmp_path / "a.png"
    Image.fromarray(UPRIGHT).save(file, exif=b"Exif\0\0no TIFF")
    assert np.array_equal(read_pixels(str(file)).rgb, UPRIGHT)


def tiff(values: bytes, width: int, height: int, bits: int, photometric: int = 1) -> bytes:
    """An uncompressed TIFF of one channel."""
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 277: 1}
    tags |= {273: 8, 278: height, 279: len(values)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
    head = struct.pack("<2sHI", b"II", 42, 8 + len(values))
    return head + values + struct.pack("<H", len(tags)) + entries + bytes(4)


WIDE = UPRIGHT.astype(np.uint16) * 257
GREY = WIDE[..., 0]


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bits_become_eight_by_division(tmp_path: Path, ending: str):
    alpha = WIDE[..., :1]
    expected = {
        "rgb": (WIDE[..., ::-1], UPRIGHT, None),
        "rgba": (np.dstack([WIDE[..., ::-1], alpha]), UPRIGHT, UPRIGHT[..., 0]),
        "grey": (GREY, np.repeat(UPRIGHT[..., :1], 3, 2), None),
    }
    for name, (stored, rgb, alpha) in expected.items():
        file = tmp_path / f"{name}.{ending}"
        cv2.imwrite(str(file), stored)
        found = read_pixels(str(file))
        assert np.array_equal(found.rgb, rgb), name
        assert np.array_equal(found.alpha, alpha) if alpha is not None else found.alpha is None


def test_tiffs_of_other_depths_and_with_white_at_zero(tmp_path: Path):
    grey = np.repeat(UPRIGHT[..., :1], 3, 2)
    low, high = (GREY[:, :8] >> 4).reshape(-1, 2).T.astype(int)  # twelve bits, two in three bytes
    packed = np.stack([low >> 4, (low & 15) << 4 | high >> 8, high & 255], 1).astype(np.uint8)
    stored = {
        "12 bits": tiff(packed.tobytes(), 8, 6, 12),
        "inverted": tiff((65535 - GREY).astype("<u2").tobytes(), 9, 6, 16, photometric=0),
        "inverted 8 bits": tiff((255 - UPRIGHT[..., 0]).tobytes(), 9, 6, 8, photometric=0),
    }
    for name, data in stored.items():
        file = tmp_path / f"{name}.tif"
        file.write_bytes(data)
        rgb = read_pixels(str(file)).rgb
        assert np.abs(rgb.astype(int) - grey[:, : rgb.shape[1]]).max() <= 1, name
    assert np.array_equal(read_numbers(str(tmp_path / "12 bits.tif")), GREY[:, :8] >> 4)


def test_modes_of_colour(tmp_path: Path):
    flat = np.full((16, 16, 3), (200, 120, 40), np.uint8)
    image = Image.fromarray(flat)
    image.convert("CMYK").save(tmp_path / "adobe.jpg", quality=100, subsampling=0)  # inverted
    image.convert("CMYK").save(tmp_path / "cmyk.tif")
    image.quantize(4).save(tmp_path / "palette.png")
    image.quantize(4).save(tmp_path / "palette.gif")
    image.save(tmp_path / "camera.jpg", format="MPO", save_all=True, append_images=[image])
    for file in tmp_path.iterdir():
        found = read_pixels(str(file))
        assert np.abs(found.rgb.astype(int) - flat).max() <= 2 and found.alpha is None, file.name
    bilevel = Image.fromarray(UPRIGHT[..., 0] > 127)
    bilevel.save(tmp_path / "1 bit.png")
    expected = np.repeat((UPRIGHT[..., :1] > 127) * np.uint8(255), 3, 2)
    assert np.array_equal(read_pixels(str(tmp_path / "1 bit.png")).rgb, expected)


def test_what_is_transparent_is_kept_for_objects_and_said_of_frames(tmp_path: Path):
    alpha = np.zeros((6, 9), np.uint8)
    alpha[2:5, 3:7] = 255
    folder = tmp_path / "frames"
    folder.mkdir()
    grey = np.ascontiguousarray(UPRIGHT[..., 0] // 2)
    marked = np.where(alpha > 0, grey.astype(np.uint16) * 257, 65535).astype(np.uint16)
    Image.fromarray(np.dstack([UPRIGHT, alpha])).save(folder / "0 rgba.png")
    Image.fromarray(np.dstack([grey, alpha]), "LA").save(folder / "1 grey and alpha.png")
    Image.fromarray(np.where(alpha > 0, grey, 255).astype(np.uint8)).save(
        folder / "2 one grey.png", transparency=255
    )
    Image.fromarray(marked).save(folder / "3 one of 65536 greys.png", transparency=65535)
    for file in sorted(folder.iterdir()):
        assert np.array_equal(read_pixels(str(file)).alpha, alpha), file.name
        assert read_object(str(file)).shape == (3, 4, 4)
        with pytest.raises(JobError, match=r"edit.segment: .*leave segment out"):
            read_opaque(str(file))
    (batch,) = frames(folder)
    assert set(batch["note"]) == {"the picture's transparency is ignored"}
    assert np.array_equal(batch["rgb"][0], UPRIGHT)


# What is refused, by every reader in the same words.


def frame_error(file: Path) -> str:
    with pytest.raises(SourceError) as refused:
        probe(str(file))
    return str(refused.value)


def job_error(read: Callable[[str], object]) -> Callable[[Path], str]:
    def error(file: Path) -> str:
        with pytest.raises(JobError) as refused:
            read(str(file))
        return str(refused.value)

    return error


def depth_error(file: Path) -> str:
    with pytest.raises(ValueError) as refused:
        read_depth(str(file), 0.001)
    return str(refused.value)


def replaced(file: str) -> PlanesBuilder:
    edit = Planes.model_validate({"kind": "planes", "layers": [{"replace": file}, "keep"]})
    return PlanesBuilder(edit, 0)


READERS: dict[str, Callable[[Path], str]] = {
    "input": frame_error,
    "edit.object": job_error(read_object),
    "edit.segment": job_error(read_opaque),
    "edit.source": job_error(lambda file: Scenery(file, "loop")),
    "edit.layers": job_error(replaced),
    "evaluate.truth": lambda file: str(true_edit(file)),
    "depth": depth_error,
}


def several(file: Path, form: str, **how: object) -> Path:
    pictures = [Image.fromarray(rgba(UPRIGHT + np.uint8(shift))) for shift in range(3)]
    pictures[0].save(file, form, save_all=True, append_images=pictures[1:], **how)
    return file


def large(file: Path) -> Path:
    with file.open("wb") as stream:
        stream.write(b"\x89PNG\r\n\x1a\n")
        stream.truncate(MAX_BYTES + 1)
    return file


def written(data: bytes) -> Callable[[Path], Path]:
    def write(file: Path) -> Path:
        file.write_bytes(data)
        return file

    return write


def bomb(file: Path) -> Path:
    header = struct.pack(">IIBBBBB", 12000, 12000, 16, 6, 0, 0, 0)
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", bytes(9)))
    return file


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def half(file: Path) -> Path:
    pixels = np.random.default_rng(1).integers(0, 2**16, (64, 64), np.uint16)
    Image.fromarray(pixels).save(file)
    file.write_bytes(file.read_bytes()[:4000])
    return file


def device(file: Path) -> Path:
    file.symlink_to("/dev/zero")
    return file


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "pages": (lambda file: several(file, "TIFF"), "a TIFF of several pages, expected one picture"),
    "APNG": (
        lambda file: several(file, "PNG"),
        "an animation of 3 pictures; convert it",
    ),
    "HEIF": (written(b"\0\0\0\x18ftypheic" + bytes(40)), "got an HEIF picture (.heic); convert it"),
    "a video": (written(b"\0\0\0\x18ftypisom" + bytes(40)), "got a video; convert it"),
    "EXR": (written(b"v/1\x01" + bytes(40)), "got an OpenEXR picture; convert it"),
    "LFS": (written(b"version https://git-lfs.github.com/spec/v1\n"), "got a Git LFS pointer"),
    "empty": (written(b""), "got an empty file; copy it again"),
    "text": (written(b"no picture at all"), "got no picture"),
    "bomb": (bomb, "12000x12000 pixels, at most"),
    "large": (large, f"{MAX_BYTES + 1} bytes, at most"),
    "truncated": (half, ""),
    "a device": (device, "got a folder, a pipe or a device"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.timeout(30)
def test_what_is_no_single_picture_is_refused_everywhere(tmp_path: Path, name: str, reader: str):
    make, words = REFUSED[name]
    file = make(tmp_path / "picture.png")
    if (name, reader) == ("a device", "depth"):
        with pytest.raises(FileNotFoundError, match="no depth file"):
            read_depth(str(file), 0.001)
        return
    said = READERS[reader](file)
    assert words in said and "picture.png" in said


@pytest.mark.parametrize("form", ["GIF", "WEBP"])
def test_other_animations_are_refused(tmp_path: Path, form: str):
    file = several(tmp_path / "moving.png", form, duration=40)
    with pytest.raises(PictureError, match=r"an animation of \d pictures"):
        read_pixels(str(file))


def test_smaller_copies_of_a_page_are_no_pages(tmp_path: Path):
    """As scanners and maps have them: NewSubfileType 1."""
    file = tmp_path / "pyramid.tif"
    page, copy = Image.fromarray(UPRIGHT), Image.fromarray(UPRIGHT[::2, ::2].copy())
    copy.encoderinfo = {"tiffinfo": {254: 1}}
    page.save(file, save_all=True, append_images=[copy])
    found = read_pixels(str(file))
    assert isinstance(found, Pixels) and np.array_equal(found.rgb, UPRIGHT)
    assert picture_size(str(file)) == (6, 9)


def test_floats_are_depth_and_no_colours(tmp_path: Path):
    metres = np.linspace(0.5, 9, 54, dtype=np.float32).reshape(6, 9)
    cv2.imwrite(str(tmp_path / "a.tif"), metres)
    assert np.array_equal(read_depth(str(tmp_path / "a.tif"), 0.001), metres)
    with pytest.raises(PictureError, match="32-bit floats, expected 8 or 16 bits"):
        read_pixels(str(tmp_path / "a.tif"))
    for name, stored, what in (
        ("rgb.png", UPRIGHT, "colours"),
        ("palette.png", np.asarray(Image.fromarray(UPRIGHT).quantize(8)), "8 bits"),
    ):
        Image.fromarray(stored).save(tmp_path / name)
        with pytest.raises(ValueError, match=f"expected one channel of 16 bits or floats.*{what}"):
            read_depth(str(tmp_path / name), 0.001)


def test_a_pipe_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(JobError, match="got a folder, a pipe or a device"):
        read_object(str(tmp_path / "pipe.png"))
