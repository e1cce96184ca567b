"""Bad images, mixed folders and bad depth files: each costs its own frame, in its own place, with a
reason.
"""

import os
import pickle
import struct
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from raydepth.depth.files import DepthFiles
from raydepth.files.pictures import read_frame
from raydepth.frames.decode import Frame, decode
from raydepth.frames.probe import probe
from raydepth.frames.segments import plan_segments
from raydepth.frames.sources import SourceError, expand
from tests.depth.tiny import batch, frames
from tests.frames.barcodes import barcode, read_barcode

pytestmark = pytest.mark.timeout(20)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def announced_png(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG whose header announces this size, one bit a pixel."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + chunk(b"IDAT", data or zlib.compress(b"\0" * 9))
        + chunk(b"IEND", b"")
    )


def bomb(side: int) -> bytes:
    """A PNG of side x side pixels in some kilobytes."""
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + side // 8)) for _ in range(side))
    return announced_png(side, side, rows + packer.flush())


def saved(picture: Image.Image, path: Path, **how: object) -> bytes:
    picture.save(path, **how)
    return path.read_bytes()


EPS = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n"
    b"(touched) (w) file closefile\nshowpage\n"
)
BAD_IMAGES: dict[str, bytes] = {
    "zero length.png": b"",
    "one byte.jpg": b"\xff",
    "text.png": b"no picture\n" * 20,
    "page.webp": b"<html><script>alert(1)</script>",
    "announces 2^31 x 2^31.png": announced_png(2**31 - 1, 2**31 - 1),
    "announces 2^31 x 2^31.bmp": b"BM"
    + struct.pack("<IHHIIiiHH", 54, 0, 0, 54, 40, 2**31 - 1, 2**31 - 1, 1, 24)
    + bytes(24),
    "bomb of 900 million pixels.png": bomb(30000),
    "bomb of 170 million pixels.png": bomb(13000),
    "PostScript.png": EPS,
    "vector.png": b"<svg xmlns='http://www.w3.org/2000/svg'><image "
    b"href='file:///etc/passwd'/></svg>",
}


def clip_of_images(folder: Path, bad: dict[int, bytes], count: int = 6) -> list[Frame]:
    """Frames of a folder of numbered PNG barcodes, some of them replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.fromarray(barcode(i, 48, 64)).save(folder / f"{i}.png")
    for i, data in bad.items():
        (folder / f"{i}.png").write_bytes(data)
    (path,) = expand([str(folder)])
    return [frame for segment in plan_segments(probe(path), size=None) for frame in decode(segment)]


def check(found: list[Frame], bad: set[int], count: int = 6) -> None:
    """Every frame in its place; the bad ones errors that name their file, the others themselves."""
    assert [frame.frame_index for frame in found] == list(range(count))
    assert {frame.frame_index for frame in found if frame.rgb is None} == bad
    for frame in found:
        if frame.rgb is None:
            assert (
                frame.error_type == "DecodeError"
                and f"{frame.frame_index}.png" in frame.error_message
            )
        else:
            assert read_barcode(frame.rgb) == frame.frame_index


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_a_bad_image_alone_and_in_a_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(BAD_IMAGES[name])
    with pytest.raises(SourceError, match="images can be read") as raised:
        probe(str(tmp_path / name))
    assert name in str(raised.value)
    check(clip_of_images(tmp_path / "folder", {0: BAD_IMAGES[name], 3: BAD_IMAGES[name]}), {0, 3})
    assert not Path("touched").exists()


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(BAD_IMAGES["bomb of 170 million pixels.png"])
    tracemalloc.start()
    with pytest.raises(OSError, match="13000x13000 pixels, at most"):
        read_frame(str(tmp_path / "bomb.png"), 64, 64)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("tenths", range(1, 10))
@pytest.mark.parametrize("form", ["png", "jpg", "webp", "bmp", "tif"])
def test_truncated_images(tmp_path: Path, form: str, tenths: int) -> None:
    data = saved(Image.fromarray(barcode(2, 48, 64)), tmp_path / f"whole.{form}")
    found = clip_of_images(tmp_path / "folder", {2: data[: len(data) * tenths // 10]})
    if found[2].rgb is not None:  # what was cut off was not the picture
        assert tenths == 9 and read_barcode(found[2].rgb) == 2
    check(found, {frame.frame_index for frame in found if frame.rgb is None} & {2})


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    form=st.sampled_from(["png", "jpg", "webp", "bmp", "tif", "gif"]),
    flips=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=8
    ),
)
def test_flipped_images_are_pictures_or_errors(
    tmp_path: Path, form: str, flips: list[tuple[float, int]]
) -> None:
    data = bytearray(saved(Image.fromarray(barcode(7, 24, 32)), tmp_path / f"whole.{form}"))
    for place, value in flips:
        data[int(place * len(data))] ^= value
    path = tmp_path / f"flipped.{form}"
    path.write_bytes(data)
    try:
        rgb, _ = read_frame(str(path), 24, 32)
    except OSError as error:
        assert str(error)
    else:
        assert rgb.shape == (24, 32, 3) and rgb.dtype == np.uint8


def test_animations_are_not_taken_for_their_first_picture(tmp_path: Path) -> None:
    pictures = [Image.fromarray(barcode(i, 48, 64)) for i in range(3)]
    for name in ("moving.webp", "moving.png"):
        pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:])
        with pytest.raises(SourceError, match="an animation of 3 pictures; convert it to a video"):
            probe(str(tmp_path / name))


def test_mixed_sizes_and_modes(tmp_path: Path) -> None:
    """Grey, palette, alpha, 1 bit, 16 bits, CMYK, floats, 1x1: one row a file, floats an error,
    sizes in segments of their own.
    """
    rgb = Image.fromarray(barcode(0, 48, 64))
    made = {
        "0.png": rgb,
        "1.png": rgb.convert("L"),
        "2.png": rgb.convert("P"),
        "3.png": rgb.convert("RGBA"),
        "4.png": rgb.convert("1"),
        "5.png": Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16) * 257),
        "6.tif": rgb.convert("CMYK"),
        "7.tif": rgb.convert("F"),
        "8.png": rgb.convert("LA"),
        "9.png": rgb.resize((1, 1)),
        "10.jpg": rgb.resize((256, 192)),
        "11.tif": rgb.convert("LAB"),
    }
    for name, picture in made.items():
        picture.save(tmp_path / name)
    segments = plan_segments(probe(str(tmp_path)), size=None)
    assert [(s.height, s.width) for s in segments] == [(48, 64), (1, 1), (192, 256), (48, 64)]
    found = [frame for segment in segments for frame in decode(segment)]
    assert [frame.frame_index for frame in found] == list(range(12))
    assert [frame.frame_index for frame in found if frame.rgb is None] == [7]
    assert "32-bit floats" in found[7].error_message
    assert all(
        read_barcode(f.rgb) == 0
        for f in found
        if f.rgb is not None and f.frame_index not in (9, 11)
    )


def test_links_and_pipes_among_images(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    clip_of_images(folder, {})
    for number, target in ((1, "nowhere.png"), (4, "4.png")):
        (folder / f"{number}.png").unlink()
        (folder / f"{number}.png").symlink_to(target)
    os.mkfifo(folder / "6.png")
    (folder / "7.png").mkdir()
    check([f for s in plan_segments(probe(str(folder)), size=None) for f in decode(s)], {1, 4})


# Depth files.
def npy(path: Path, array: np.ndarray, **how: object) -> bytes:
    np.save(path, array, **how)
    return path.with_suffix(".npy").read_bytes() if path.suffix != ".npy" else path.read_bytes()


class Trap:
    """Unpickling it writes a file."""

    def __reduce__(self) -> tuple:
        return (Path("unpickled").write_text, ("gotcha",))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lying_header(shape: str, descr: str = "<f4") -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()


GOOD = np.full((12, 16), 2.5, np.float32)
BAD_DEPTH = {
    "NaN": ("npy", lambda p: npy(p, np.full((12, 16), np.nan)), "EmptyDepthFile", "no reading"),
    "infinite": (
        "npy",
        lambda p: npy(p, np.full((12, 16), np.inf)),
        "EmptyDepthFile",
        "no reading",
    ),
    "all zero": (
        "npy",
        lambda p: npy(p, np.zeros((12, 16), np.uint16)),
        "EmptyDepthFile",
        "no reading",
    ),
    "colours": (
        "npy",
        lambda p: npy(p, np.ones((12, 16, 3))),
        "UnreadableDepthFile",
        "[12, 16, 3]",
    ),
    "a number": ("npy", lambda p: npy(p, np.array(3.0)), "UnreadableDepthFile", "[H,W]"),
    "no rows": ("npy", lambda p: npy(p, np.ones((0, 16))), "UnreadableDepthFile", "[0, 16]"),
    "turned": (
        "npy",
        lambda p: npy(p, np.ones((16, 12))),
        "UnreadableDepthFile",
        "not that of the source",
    ),
    "words": ("npy", lambda p: npy(p, np.full((12, 16), "far")), "UnreadableDepthFile", "<U3"),
    "complex": (
        "npy",
        lambda p: npy(p, np.ones((12, 16), complex)),
        "UnreadableDepthFile",
        "complex128",
    ),
    "objects": (
        "npy",
        lambda p: npy(p, np.array([[Trap()]], object), allow_pickle=True),
        "UnreadableDepthFile",
        "allow_pickle",
    ),
    "a pickle": (
        "npy",
        lambda p: pickle.dumps(Trap()),
        "UnreadableDepthFile",
        "expected 16-bit or float",
    ),
    "text": ("npy", lambda p: b"1.0 2.0 3.0\n", "UnreadableDepthFile", "expected 16-bit or float"),
    "empty": ("npy", lambda p: b"", "UnreadableDepthFile", "expected 16-bit or float"),
    "code in its header": (
        "npy",
        lambda p: lying_header("__import__('os').system('touch unpickled')"),
        "UnreadableDepthFile",
        "expected",
    ),
    "says 10^12 numbers": (
        "npy",
        lambda p: lying_header("(1000000, 1000000)"),
        "UnreadableDepthFile",
        "expected",
    ),
    "millimetres as metres and more": (
        "npy",
        lambda p: npy(p, GOOD * 1e6),
        "UnreadableDepthFile",
        "depth.scale",
    ),
    "metres as millimetres": (
        "png",
        lambda p: cv2.imencode(".png", GOOD.astype(np.uint16))[1].tobytes(),
        "UnreadableDepthFile",
        "depth.scale (0.001)",
    ),
    "8 bits": (
        "png",
        lambda p: cv2.imencode(".png", np.ones((12, 16), np.uint8))[1].tobytes(),
        "UnreadableDepthFile",
        "got 8 bits",
    ),
    "16-bit colours": (
        "png",
        lambda p: cv2.imencode(".png", np.full((12, 16, 3), 2500, np.uint16))[1].tobytes(),
        "UnreadableDepthFile",
        "[12, 16, 3]",
    ),
    "a bomb": ("png", lambda p: bomb(13000), "UnreadableDepthFile", "at most"),
    "announces 2^31 x 2^31": (
        "png",
        lambda p: announced_png(2**31 - 1, 2**31 - 1),
        "UnreadableDepthFile",
        "expected",
    ),
    "half a picture": (
        "png",
        lambda p: cv2.imencode(".png", (GOOD * 1000).astype(np.uint16))[1].tobytes()[:30],
        "UnreadableDepthFile",
        "got a PNG that is damaged",
    ),
    "missing": ("png", lambda p: None, "MissingDepthFile", "no depth file"),
    "a pipe": ("png", lambda p: os.mkfifo(p), "MissingDepthFile", "no depth file"),
    "a folder": ("png", lambda p: p.mkdir(), "MissingDepthFile", "no depth file"),
}


@pytest.mark.parametrize("name", BAD_DEPTH)
def test_bad_depth_files_cost_their_frame_and_run_nothing(here: Path, name: str) -> None:
    ending, make, error_type, words = BAD_DEPTH[name]
    np.save(here / "0.npy", GOOD)
    cv2.imwrite(str(here / "0.png"), (GOOD * 1000).astype(np.uint16))
    data = make(here / f"1.{ending}")
    if isinstance(data, bytes):
        (here / f"1.{ending}").write_bytes(data)
    files = DepthFiles(f"{here}/{{frame_index}}.{ending}", fill=True)
    columns = batch(frames(2, 12, 16))
    maps = files(columns)
    assert np.allclose(maps[0], 2.5) and np.isnan(maps[1]).all()
    said_type, printed = files.explain(columns, 1)
    assert said_type == error_type and words in printed and f"1.{ending}" in printed
    assert not (here / "unpickled").exists()


def test_a_few_holes_and_another_size_are_fine(here: Path) -> None:
    holes = np.kron(GOOD, np.ones((4, 4), np.float32))
    holes[5:9, 5:9] = np.nan
    np.save(here / "0.npy", holes)
    assert np.allclose(
        DepthFiles(f"{here}/{{frame_index}}.npy", fill=True)(batch(frames(1, 12, 16))), 2.5
    )


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    data=st.binary(max_size=200), ending=st.sampled_from(["npy", "png", "tif"]), magic=st.booleans()
)
def test_any_bytes_are_a_depth_file_or_an_error(
    tmp_path: Path, data: bytes, ending: str, magic: bool
) -> None:
    head = {"npy": b"\x93NUMPY\x01\x00", "png": b"\x89PNG\r\n\x1a\n", "tif": b"II*\0"}[ending]
    (tmp_path / f"0.{ending}").write_bytes(head * magic + data)
    files = DepthFiles(f"{tmp_path}/{{frame_index}}.{ending}")
    columns = batch(frames(1, 12, 16))
    if not np.isfinite(files(columns)).any():
        assert files.explain(columns, 0)[1]
