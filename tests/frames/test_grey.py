"""The brightness of grey and full-range video, from the stream's numbers to the edited video's."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from raydepth.frames.decode import decode
from raydepth.frames.probe import probe
from raydepth.frames.segments import plan_segments
from tests.output.finished import finished, video_of

LIMITED, FULL = 1, 2
STRETCHED, KEPT = (0, 128, 255), (16, 126, 235)
LEVELS = (16, 126, 235)
"""Luma of the three thirds of a picture, in eight bits."""

_QUIET = {"x265-params": "lossless=1:log-level=none:pools=1"}


def grey_clip(
    path: Path, codec: str, pix_fmt: str, said: int | None, options: dict[str, str] | None = None
) -> Path:
    """A clip of three bars whose coded luma is LEVELS, and that says its range, or does not."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=dict(options or {}))
        stream.height, stream.width, stream.pix_fmt = 64, 96, pix_fmt
        if said is not None:
            stream.codec_context.color_range = said
        bits = av.VideoFormat(pix_fmt).components[0].bits
        dtype = np.dtype("u1" if bits == 8 else "<u2")
        alpha = pix_fmt.startswith("ya")
        for number in range(3):
            frame = av.VideoFrame(96, 64, pix_fmt)
            for index, plane in enumerate(frame.planes):
                values = np.full((plane.height, plane.line_size // dtype.itemsize), 128, dtype)
                if index == 0:
                    bars = np.repeat(LEVELS, 32)
                    row = np.stack([bars, np.full(96, 255)], 1).ravel() if alpha else bars
                    values[:, : len(row)] = row
                plane.update((values << (bits - 8)).astype(dtype).tobytes())
            frame.pts, frame.time_base = number, Fraction(1, 25)
            if said is not None:
                frame.color_range = said
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def bars(path: Path) -> list[tuple[int, ...]]:
    """Brightness in the middle of each bar, of every frame."""
    pictures = [
        frame.rgb
        for segment in plan_segments(probe(str(path)), size=None)
        for frame in decode(segment)
    ]
    assert all(np.ptp(rgb.astype(int), axis=2).max() <= 2 for rgb in pictures)  # grey
    return [tuple(int(rgb[32, x, 1]) for x in (16, 48, 80)) for rgb in pictures]


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "said", "shown"),
    [
        ("ffv1", "gray", LIMITED, STRETCHED),
        ("ffv1", "gray10le", LIMITED, STRETCHED),
        ("ffv1", "gray12le", LIMITED, STRETCHED),
        ("ffv1", "gray16le", LIMITED, STRETCHED),
        ("ffv1", "ya8", LIMITED, STRETCHED),
        ("libx265", "gray", LIMITED, STRETCHED),
        ("libx265", "gray10le", LIMITED, STRETCHED),
        ("ffv1", "gray", FULL, KEPT),
        ("ffv1", "gray16le", FULL, KEPT),
        ("ffv1", "gray", None, KEPT),
        ("ffv1", "yuv420p", LIMITED, STRETCHED),
        ("ffv1", "yuv420p", FULL, KEPT),
        ("mjpeg", "yuvj420p", FULL, KEPT),
    ],
)
def test_brightness_is_what_the_stream_says_end_to_end(
    tmp_path: Path, codec: str, pix_fmt: str, said: int | None, shown: tuple[int, ...]
) -> None:
    options = _QUIET if codec == "libx265" else None
    source = grey_clip(tmp_path / "clip.mkv", codec, pix_fmt, said, options)
    assert np.abs(np.subtract(bars(source), shown)).max() <= 1
    made, _ = video_of(tmp_path, finished(tmp_path, source))
    assert np.abs(np.subtract(bars(made), shown)).max() <= 2
