"""Clips whose frames carry their own number as a machine-readable pattern, so that decoding tests
need not trust counts.

A picture is a 4 x 4 grid of dark and bright cells, row by row from the top left: 12 bits of the
number, most significant first, then 4 check bits. A mirrored, turned, blended or grey picture does
not pass the check.
"""

import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType

from raydepth.files.h264 import SAME_BYTES

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
        row, column = divmod(
            i, 4
        )  # the middle of a cell, away from edges that coding and resizing blur
        top, bottom = int((row + 0.3) * height / 4), int((row + 0.7) * height / 4) + 1
        left, right = int((column + 0.3) * width / 4), int((column + 0.7) * width / 4) + 1
        level = grey[top:bottom, left:right].mean()
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
    first_p: int = 0,
) -> Path:
    """Writes frames 0..frames-1 as barcodes (or `picture`s) and returns the path.

    Args:
        size: (height, width) as coded.
        pts: one per frame in `time_base` units; 0, 1, 2 ... when None.
        rotation: counter-clockwise degrees that a player turns the picture by; the barcode is drawn
            as coded, unturned.
        audio: adds a silent AAC (mp4, mkv, mov) or MP2 track.
        first_p: no B-frames before this one.
        decoy: adds a second, smaller video stream before the main one.
    """
    coding = dict(options or {})
    if codec == "libx264":
        own = coding.get("x264-params")
        coding["x264-params"] = ":".join([*SAME_BYTES.values(), *([own] if own else [])])
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        small = container.add_stream("mpeg4", rate=25) if decoy else None
        if small is not None:
            small.width, small.height, small.pix_fmt = 32, 32, "yuv420p"
        stream = container.add_stream(codec, rate=rate, options=coding)
        stream.height, stream.width = size
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = time_base
        stream.time_base = time_base
        stream.codec_context.thread_count = 1
        if rotation or hflip:
            stream.set_display_rotation(rotation, hflip=hflip)
        sound = (
            container.add_stream("mp2" if path.suffix in {".avi", ".mpg"} else "aac", rate=44100)
            if audio
            else None
        )
        for number in range(frames):
            rgb = picture(number) if picture else barcode(number, *size)
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
                format=pix_fmt, dst_color_range="MPEG", threads=1
            )
            frame.pts = number if pts is None else pts[number]
            frame.time_base = time_base
            if number < first_p:
                frame.pict_type = PictureType.P
            container.mux(stream.encode(frame))
            if small is not None:
                grey = av.VideoFrame.from_ndarray(
                    np.full((32, 32, 3), 128, np.uint8), format="rgb24"
                )
                grey.pts = number
                container.mux(small.encode(grey))
            if sound is not None:
                silence = av.AudioFrame.from_ndarray(
                    np.zeros((1, 1764), np.int16), format="s16", layout="mono"
                )
                silence.sample_rate, silence.pts = 44100, number * 1764
                container.mux(sound.encode(silence))
        container.mux(stream.encode(None))
        if small is not None:
            container.mux(small.encode(None))
        if sound is not None:
            container.mux(sound.encode(None))
    return path


def oblong(path: Path, pixel: Fraction) -> Path:
    """A copy of an mp4 that says in a `pasp` box that its pixels are so many times as wide as
    high.
    """
    box = struct.pack(">I4sII", 16, b"pasp", pixel.numerator, pixel.denominator)
    return with_box(path, box, path.with_name(f"oblong {path.name}"))


def with_box(path: Path, box: bytes, target: Path) -> Path:
    """A copy of an mp4 with a box added to its first sample entry."""
    data = bytearray(path.read_bytes())
    at, within, chain = 0, len(data), []
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b""):
        while at < within and name not in (bytes(data[at + 4 : at + 8]), b""):
            at += int.from_bytes(data[at : at + 4], "big")
        chain.append(at)
        within = at + int.from_bytes(data[at : at + 4], "big")
        at += 16 if name == b"stsd" else 8
    assert data.index(b"mdat") < chain[0]  # or offsets into it would move
    data[within:within] = box
    for start in chain:
        size = int.from_bytes(data[start : start + 4], "big") + len(box)
        data[start : start + 4] = size.to_bytes(4, "big")
    target.write_bytes(data)
    return target


def clip_of(folder: Path, name: str) -> Path:
    """The clip of CLIPS called `name`, made in `folder` where it isn't there yet."""
    path = folder / name
    return path if path.exists() else make_clip(path, FRAMES, **CLIPS[name])


def flip(path: Path, number: int, *, junk: bool = False) -> Path:
    """A copy of a clip whose packet `number` (decoding order) has damaged bytes: some in its
    middle, or nearly all.
    """
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][number]
        position, size = packet.pos, packet.size
    data = bytearray(path.read_bytes())
    start = position + (4 if junk else size // 2)
    end = position + size if junk else start + max(1, size // 8)
    data[start:end] = bytes(byte ^ 0xA5 for byte in data[start:end])
    damaged = path.with_name(f"damaged_{number}_{junk}_{path.name}")
    damaged.write_bytes(data)
    return damaged


FRAMES = 60

_GOP = {"g": "12", "bf": "2"}
_OPEN = {"x264-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3:b-adapt=0:scenecut=0"}
_RANDOM = np.random.default_rng(5)
VARIABLE = np.cumsum(_RANDOM.choice([1, 2, 3, 7, 20], FRAMES)) - 1
"""Uneven time stamps of the variable-rate clips, in their time base."""

CLIPS: dict[str, dict] = {
    "closed.mp4": {"options": {"g": "12", "bf": "3", "flags": "+cgop"}},
    "open.mp4": {"options": _OPEN},
    "open.mkv": {"options": _OPEN},
    "open.ts": {"options": _OPEN},
    "open.mov": {"options": _OPEN, "audio": True},
    "dense.mp4": {
        "options": {
            "x264-params": "open-gop=1:keyint=3:min-keyint=1:bframes=3:b-adapt=0:scenecut=0"
        }
    },
    "intra.mp4": {"options": {"g": "1"}},
    "one keyframe.mp4": {"options": {"g": "1000", "bf": "3", "sc_threshold": "0"}},
    "refresh.mkv": {
        "options": {"x264-params": "intra-refresh=1:keyint=15:bframes=0:scenecut=0"},
        "size": (96, 128),
    },
    "interlaced.ts": {"options": {**_GOP, "x264-params": "interlaced=1:tff=1"}, "size": (96, 128)},
    "hevc.mp4": {
        "codec": "libx265",
        "options": {
            "x265-params": "keyint=12:min-keyint=12:bframes=3:open-gop=1:log-level=none:pools=1"
        },
    },
    "vp8.webm": {
        "codec": "libvpx",
        "options": {"g": "12", "auto-alt-ref": "1", "lag-in-frames": "16", "b": "300k"},
    },
    "vp9.webm": {
        "codec": "libvpx-vp9",
        "options": {"g": "12", "lag-in-frames": "16", "b": "300k", "cpu-used": "5"},
    },
    "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "12"}},
    "mpeg4 b.avi": {"codec": "mpeg4", "options": _GOP, "audio": True},
    "h264.avi": {"options": {"g": "12", "bf": "3"}},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": _GOP, "audio": True},
    "mpeg2 alone.mpg": {"codec": "mpeg2video", "options": _GOP},
    "mpeg2.ts": {"codec": "mpeg2video", "options": _GOP},
    "h264.mpg": {"options": {"g": "12", "bf": "3"}},
    "raw.h264": {"options": {"g": "12", "bf": "3"}},
    "wmv.asf": {"codec": "msmpeg4v3", "options": {"g": "12"}},
    "h264.flv": {"options": {"g": "12", "bf": "3"}},
    "mjpeg.mov": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "picture.gif": {"codec": "gif", "pix_fmt": "rgb8"},
    "odd.mp4": {"options": _GOP, "size": (51, 67), "pix_fmt": "yuv444p"},
    "ten bit.mp4": {"options": _GOP, "pix_fmt": "yuv420p10le"},
    "audio.mp4": {"options": _GOP, "audio": True, "decoy": True},
    "late.mp4": {"options": _GOP, "audio": True, "pts": [i + 50 for i in range(FRAMES)]},
    "negative.mkv": {"options": _GOP, "pts": [i - 10 for i in range(FRAMES)]},
    "variable.mp4": {
        "options": _GOP,
        "pts": (VARIABLE * 300).tolist(),
        "time_base": Fraction(1, 90000),
    },
    "variable.mkv": {
        "options": _GOP,
        "pts": (VARIABLE * 10).tolist(),
        "time_base": Fraction(1, 1000),
    },
    "variable.ts": {
        "options": _GOP,
        "pts": (VARIABLE * 300).tolist(),
        "time_base": Fraction(1, 90000),
    },
    "größe ü 日本.mp4": {"options": _GOP},
}
"""What make_clip() is to be told for each container and way of coding that is tested."""
