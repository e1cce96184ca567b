"""Pixels: colours against known YUV, all orientations, sizes, bit depths; and folders of images."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from raydepth.frames.decode import Frame, decode
from raydepth.frames.probe import probe
from raydepth.frames.segments import plan_segments
from raydepth.frames.sources import SourceError
from tests.frames.barcodes import barcode, make_clip, read_barcode

MATRICES = {
    "bt709": (0.2126, 0.0722, 1),
    "smpte170m": (0.299, 0.114, 6),
    "bt2020nc": (0.2627, 0.0593, 9),
}
COLOURS = [
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    (200, 120, 40),
    (255, 255, 255),
    (0, 0, 0),
    (30, 60, 200),
]


def frames(path: Path, size: int | None = None, **plan) -> list[Frame]:
    return [
        frame
        for segment in plan_segments(probe(str(path)), size=size, **plan)
        for frame in decode(segment)
    ]


def colour_clip(
    path: Path, height: int, width: int, matrix: str, *, full: bool, bits: int, tagged: bool
) -> Path:
    """Lossless clip with one frame per colour; YUV computed here, from the definition of the matrix
    (ITU-R BT.709/601/2020).
    """
    kr, kb, code = MATRICES[matrix]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=25, options={"qp": "0", "preset": "ultrafast"}
        )
        stream.height, stream.width = height, width
        stream.pix_fmt = {8: "yuv420p", 10: "yuv420p10le"}[bits]
        if tagged:
            stream.codec_context.colorspace = code
        stream.codec_context.color_range = 2 if full else 1
        for pts, rgb in enumerate(COLOURS):
            r, g, b = (value / 255 for value in rgb)
            y = kr * r + (1 - kr - kb) * g + kb * b
            u, v = (b - y) / (2 - 2 * kb), (r - y) / (2 - 2 * kr)
            yuv = (
                (255 * y, 128 + 255 * u, 128 + 255 * v)
                if full
                else (16 + 219 * y, 128 + 224 * u, 128 + 224 * v)
            )
            frame = av.VideoFrame(width, height, stream.pix_fmt)
            for plane, value in zip(frame.planes, yuv, strict=True):
                dtype = np.dtype("u1" if bits == 8 else "<u2")
                code_value = min(round(value * 2 ** (bits - 8)), 2**bits - 1)
                plane.update(
                    np.full(plane.buffer_size // dtype.itemsize, code_value, dtype).tobytes()
                )
            frame.pts, frame.colorspace, frame.color_range = (
                pts,
                code if tagged else 2,
                2 if full else 1,
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("bits", [8, 10])
def test_colours_follow_matrix_range_and_depth(
    tmp_path: Path, matrix: str, full: bool, bits: int
) -> None:
    path = colour_clip(tmp_path / "colours.mp4", 96, 128, matrix, full=full, bits=bits, tagged=True)
    found = frames(path, size=48)
    for frame, rgb in zip(found, COLOURS, strict=True):
        assert np.abs(frame.rgb.astype(int) - rgb).max() <= 3, rgb


def test_a_wrong_matrix_would_be_noticed(tmp_path: Path) -> None:
    """Guards the test above: BT.709 pictures labelled BT.601 are off by much more than its
    tolerance.
    """
    path = colour_clip(
        tmp_path / "a.mp4", 96, 128, "bt709", full=False, bits=8, tagged=False
    )  # taken for BT.601
    assert (
        max(
            np.abs(f.rgb.astype(int) - rgb).max()
            for f, rgb in zip(frames(path), COLOURS, strict=True)
        )
        > 20
    )


@pytest.mark.parametrize(
    ("height", "width", "matrix"),
    [(720, 1280, "bt709"), (1280, 720, "bt709"), (480, 640, "smpte170m")],
)
def test_untagged_video_counts_as_hd_or_sd(
    tmp_path: Path, height: int, width: int, matrix: str
) -> None:
    path = colour_clip(
        tmp_path / "untagged.mp4", height, width, matrix, full=False, bits=8, tagged=False
    )
    for frame, rgb in zip(frames(path, size=48), COLOURS, strict=True):
        assert np.abs(frame.rgb.astype(int) - rgb).max() <= 3, rgb


def test_ten_bits_rise_evenly(tmp_path: Path) -> None:
    """A 10-bit ramp stays a ramp from black to white; where bits overflowed it would wrap."""
    height, width = 32, 1024
    path = tmp_path / "ramp.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p10le"
        stream.codec_context.color_range = 2
        frame = av.VideoFrame(width, height, "yuv420p10le")
        frame.color_range, frame.pts = 2, 0
        luma, *chroma = frame.planes
        row = np.arange(luma.line_size // 2, dtype="<u2").clip(0, 1023)
        luma.update(np.tile(row, (height, 1)).tobytes())
        for plane in chroma:
            plane.update(np.full(plane.buffer_size // 2, 512, "<u2").tobytes())
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (found,) = frames(path)
    np.testing.assert_allclose(
        found.rgb[16].astype(float), np.repeat(np.arange(1024)[:, None] / 1023 * 255, 3, 1), atol=2
    )


@pytest.mark.parametrize("hflip", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_display_matrix_is_applied_after_resizing(
    tmp_path: Path, ending: str, degrees: int, hflip: bool
) -> None:
    """The clip is stored such that a player that follows its matrix (turn counter-clockwise, then
    mirror) shows barcodes.
    """

    def stored(number: int) -> np.ndarray:
        upright = barcode(number, 64, 96)
        return np.ascontiguousarray(
            np.rot90(upright[:, ::-1] if hflip else upright, -degrees // 90)
        )

    size = (96, 64) if degrees % 180 else (64, 96)
    path = make_clip(
        tmp_path / f"turned.{ending}",
        5,
        size=size,
        picture=stored,
        rotation=degrees if degrees < 270 else -90,
        hflip=hflip,
    )
    source = probe(str(path))
    assert (source.height, source.width) == (64, 96)
    assert source.rotation == degrees or hflip
    for short_side in (None, 40):
        found = frames(path, size=short_side)
        assert [read_barcode(frame.rgb) for frame in found] == list(range(5))
        assert found[0].rgb.shape == ((64, 96, 3) if short_side is None else (40, 60, 3))


@pytest.mark.parametrize(
    ("size", "pix_fmt"), [((51, 67), "yuv444p"), ((50, 67), "yuv444p"), ((18, 35), "yuv444p")]
)
@pytest.mark.parametrize("short_side", [None, 16, 33, 90])
def test_odd_sizes(
    tmp_path: Path, size: tuple[int, int], pix_fmt: str, short_side: int | None
) -> None:
    path = make_clip(tmp_path / "odd.mp4", 3, size=size, pix_fmt=pix_fmt)
    found = frames(path, size=short_side)
    assert [read_barcode(frame.rgb) for frame in found] == [0, 1, 2]
    assert min(found[0].rgb.shape[:2]) == (short_side or min(size))
    assert found[0].rgb.flags.c_contiguous


def test_shrinking_averages(tmp_path: Path) -> None:
    """A fine checkerboard becomes grey instead of stripes."""
    board = (np.indices((128, 160)).sum(axis=0) % 2 * 255).astype(np.uint8)
    path = make_clip(
        tmp_path / "board.mp4",
        1,
        size=(128, 160),
        picture=lambda _: np.repeat(board[:, :, None], 3, 2),
        options={"qp": "0"},
    )
    (found,) = frames(path, size=32)
    assert np.abs(found.rgb.astype(int) - 127).max() <= 3


# Folders of images


def save(path: Path, number: int, *, size: tuple[int, int] = (48, 64), **options) -> None:
    Image.fromarray(barcode(number, *size)).save(path, **options)


def test_images_in_natural_order(tmp_path: Path) -> None:
    names = [
        "b2.png",
        "b10.JPG",
        "b1.webp",
        "b3.bmp",
        "b21.tif",
        "b20.jpeg",
        ".b0.png",
        "notes.txt",
    ]
    for name in names[:6]:
        save(
            tmp_path / name,
            int(name[1:].split(".")[0]),
            **({"lossless": True} if "webp" in name else {}),
        )
    save(tmp_path / ".b0.png", 0)
    (tmp_path / "notes.txt").write_text("no image")
    found = frames(tmp_path)
    assert [read_barcode(frame.rgb) for frame in found] == [1, 2, 3, 10, 20, 21]
    assert (
        [frame.frame_index for frame in found] == [frame.pts for frame in found] == list(range(6))
    )
    assert [frame.time_s for frame in found] == [i / 25 for i in range(6)]
    assert [Path(frame.image).name for frame in found] == [
        "b1.webp",
        "b2.png",
        "b3.bmp",
        "b10.JPG",
        "b20.jpeg",
        "b21.tif",
    ]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    upright = barcode(9, 48, 64)
    # what a camera stores so that a viewer has to undo it, by the EXIF definition of rows and
    # columns
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 1)[:, ::-1],
        8: np.rot90(upright, -1),
    }[orientation]
    if orientation == 7:
        stored = upright[::-1, ::-1].transpose(1, 0, 2)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.jpg", exif=exif)
    source = probe(str(tmp_path))
    assert (source.height, source.width) == (48, 64)
    (found,) = frames(tmp_path)
    assert read_barcode(found.rgb) == 9


@pytest.mark.filterwarnings("error")
def test_pixel_formats(tmp_path: Path) -> None:
    rgb = barcode(77, 48, 64)
    grey = rgb[:, :, 0]
    alpha = np.indices(grey.shape).sum(axis=0).astype(np.uint8)
    Image.fromarray(np.dstack([rgb, alpha])).save(tmp_path / "1.png")
    Image.fromarray(grey).save(tmp_path / "2.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "3.png")
    Image.fromarray(rgb).quantize(8).save(tmp_path / "4.png", transparency=0)
    Image.fromarray(rgb).quantize(8).save(tmp_path / "6.png", transparency=bytes([0, 100, 255]))
    Image.fromarray(np.dstack([grey, alpha]), "LA").save(tmp_path / "5.png")
    for frame in frames(tmp_path):
        np.testing.assert_array_equal(frame.rgb, rgb, err_msg=frame.image)


def test_an_unreadable_image_is_an_error_at_its_place(tmp_path: Path) -> None:
    for number in range(6):
        save(tmp_path / f"{number}.jpg", number)
    (tmp_path / "0.jpg").write_bytes(b"no jpeg")
    data = (tmp_path / "3.jpg").read_bytes()
    (tmp_path / "3.jpg").write_bytes(data[: len(data) // 2])
    found = frames(tmp_path)
    assert [frame.rgb is None for frame in found] == [True, False, False, True, False, False]
    assert [frame.frame_index for frame in found] == list(range(6))
    assert found[3].error_type == "DecodeError"
    assert "3.jpg" in found[3].error_message
    (tmp_path / "5.jpg").unlink()
    source = probe(str(tmp_path))
    (tmp_path / "4.jpg").unlink()  # between probe and decode
    (segment,) = plan_segments(source, size=None)
    assert [frame.rgb is None for frame in decode(segment)] == [True, False, False, True, True]


def test_a_folder_without_readable_images(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no images"):
        probe(str(tmp_path))
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(SourceError, match="none of the 1 images"):
        probe(str(tmp_path))


def test_mixed_sizes_cut_segments(tmp_path: Path) -> None:
    sizes = [(48, 64)] * 3 + [(64, 48)] * 2 + [(48, 64)]
    for number, size in enumerate(sizes):
        save(tmp_path / f"{number}.png", number, size=size)
    segments = plan_segments(probe(str(tmp_path)), size=None)
    assert [(s.height, s.width, len(s)) for s in segments] == [
        (48, 64, 3),
        (64, 48, 2),
        (48, 64, 1),
    ]
    assert [read_barcode(f.rgb) for s in segments for f in decode(s)] == list(range(6))
    assert [len(s) for s in plan_segments(probe(str(tmp_path)), size=None, stride=2)] == [2, 1]


def test_renaming_a_folder_keeps_its_id(tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.mkdir()
    for number in range(3):
        save(first / f"{number}.png", number)
    video = probe(str(first)).video
    second = first.rename(tmp_path / "second ü")
    assert probe(str(second)).video == video
    save(second / "1.png", 100)
    assert probe(str(second)).video != video


def test_one_image_is_a_clip_of_one_frame(tmp_path: Path) -> None:
    save(tmp_path / "photo.png", 5)
    save(tmp_path / "other.png", 6)
    source = probe(str(tmp_path / "photo.png"))
    assert (source.kind, len(source.pts), source.path) == ("images", 1, str(tmp_path / "photo.png"))
    assert [read_barcode(frame.rgb) for frame in frames(tmp_path / "photo.png")] == [5]
