"""Clips whose frames carry their own number as a machine-readable pattern, so that decoding tests need not trust counts.

A picture is a 4 x 4 grid of dark and bright cells, row by row from the top left: 12 bits of the number, most significant
first, then 4 check bits. A mirrored, turned, blended or grey picture does not pass the check.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

DARK, BRIGHT = 50, 205


def _check_bits(number: int) -> int:
    return (number ^ (number >> 4) ^ (number >> 8) ^ 0b1010) & 0b1111


def barcode(number: int, height: int, width: int) -> np.ndarray:
    """The picture uint8 [height, width, 3] of a number 0..4095."""
    bits = (number << 4) | _check_bits(number)
    cells = np.array([(bits >> (15 - i)) & 1 for i in range(16)]).reshape(4, 4)
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    grey = np.where(cells[rows[:, None], columns[None, :]], BRIGHT, DARK).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def read_barcode(rgb: np.ndarray) -> int | None:
    """The number in a picture uint8 [H, W, 3], or None where it holds no clean barcode."""
    height, width = rgb.shape[:2]
    grey = rgb.astype(np.float64).mean(axis=2)
    bits = 0
    for i in range(16):
        y, x = ((i // 4) + 0.5) * height / 4, ((i % 4) + 0.5) * width / 4
        margin_y, margin_x = max(height / 16, 0.5), max(width / 16, 0.5)
        cell = grey[int(y - margin_y) : int(y + margin_y) + 1, int(x - margin_x) : int(x + margin_x) + 1]
        level = cell.mean()
        if abs(level - (DARK + BRIGHT) / 2) < 35:
            return None
        bits = (bits << 1) | int(level > (DARK + BRIGHT) / 2)
    number = bits >> 4
    return number if _check_bits(number) == bits & 0b1111 else None


def make_clip(
    path: Path,
    frames: int,
    *,
    codec: str = "libx264",
    size: tuple[int, int] = (48, 64),
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    pts: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 25),
    rate: Fraction = Fraction(25),
    rotation: int = 0,
    hflip: bool = False,
    audio: bool = False,
    decoy: bool = False,
    container_options: dict[str, str] | None = None,
    picture: Callable[[int], np.ndarray] | None = None,
) -> Path:
    """Writes frames 0..frames-1 as barcodes (or `picture`s) and returns the path.

    Args:
        size: (height, width) as coded.
        pts: one per frame in `time_base` units; 0, 1, 2 ... when None.
        rotation: counter-clockwise degrees that a player turns the picture by; the barcode is drawn as coded, unturned.
        audio: adds a silent AAC (mp4, mkv, mov) or MP2 track.
        decoy: adds a second, smaller video stream before the main one.
    """
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        small = container.add_stream("mpeg4", rate=25) if decoy else None
        if small is not None:
            small.width, small.height, small.pix_fmt = 32, 32, "yuv420p"
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = size
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = time_base
        stream.time_base = time_base
        stream.codec_context.thread_count = 1
        if rotation or hflip:
            stream.set_display_rotation(rotation, hflip=hflip)
        sound = container.add_stream("mp2" if path.suffix in {".avi", ".mpg"} else "aac", rate=44100) if audio else None
        for number in range(frames):
            rgb = picture(number) if picture else barcode(number, *size)
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
                format=pix_fmt, dst_color_range="MPEG", threads=1
            )
            frame.pts = number if pts is None else pts[number]
            frame.time_base = time_base
            container.mux(stream.encode(frame))
            if small is not None:
                grey = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 128, np.uint8), format="rgb24")
                grey.pts = number
                container.mux(small.encode(grey))
            if sound is not None:
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 1764), np.int16), format="s16", layout="mono")
                silence.sample_rate, silence.pts = 44100, number * 1764
                container.mux(sound.encode(silence))
        container.mux(stream.encode(None))
        if small is not None:
            container.mux(small.encode(None))
        if sound is not None:
            container.mux(sound.encode(None))
    return path
