"""Broken, strange and hostile videos as real files, each made by a function of its own."""

import gzip
import io
import struct
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.frames.barcodes import make_clip

N = 40
"""Frames of the clips that are damaged."""

_GOP = {"g": "8", "bf": "2"}
CONTAINERS: dict[str, dict] = {
    "moov last.mp4": {"options": _GOP},
    "faststart.mp4": {"options": _GOP, "container_options": {"movflags": "faststart"}},
    "fragmented.mp4": {
        "options": _GOP,
        "container_options": {"movflags": "frag_keyframe+empty_moov"},
    },
    "h264.mkv": {"options": _GOP},
    "h264.ts": {"options": _GOP},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "8"}},
    "vp8.webm": {"codec": "libvpx", "options": {"g": "8", "b": "300k"}},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": _GOP},
    "h264.flv": {"options": _GOP},
}
PLACES = ("head", "0.1", "0.3", "0.5", "0.7", "0.9", "tail", "everywhere")


def whole(folder: Path, name: str, *, intra: bool = False) -> Path:
    """A good clip of CONTAINERS; `intra`: every frame stands alone, so that damage can't spread."""
    path = folder / f"{'intra' if intra else 'good'} {name}"
    if not path.exists():
        settings = dict(CONTAINERS[name])
        if intra:
            settings["options"] = {**settings["options"], "g": "1", "bf": "0"}
        make_clip(path, N, **settings)
    return path


def truncated(folder: Path, name: str, tenths: int) -> Path:
    """The first `tenths` tenths of a clip."""
    data = whole(folder, name).read_bytes()
    path = folder / f"{tenths} tenths of {name}"
    path.write_bytes(data[: len(data) * tenths // 10])
    return path


def flipped(folder: Path, name: str, place: str) -> Path:
    """An intra-coded clip with 64 changed bytes at one of PLACES, or 20 all over it."""
    data = bytearray(whole(folder, name, intra=True).read_bytes())
    size = len(data)
    at: list[int] | range
    if place == "everywhere":
        at = np.random.default_rng(1).integers(0, size, 20).tolist()
    else:
        start = {"head": 0, "tail": size - 64}.get(place)
        start = int(size * float(place)) if start is None else start
        at = range(start, start + 64)
    for i in at:
        data[i] ^= 0xA5
    path = folder / f"flipped at {place} {name}"
    path.write_bytes(data)
    return path


# What follows needs no clip to damage: name -> (maker, what becomes of it). A number is so many
# good frames, all in place.
STRANGE: dict[str, tuple[Callable[[Path], Path], int | str]] = {}


def _case(
    name: str, outcome: int | str
) -> Callable[[Callable[[Path], Path]], Callable[[Path], Path]]:
    def keep(make: Callable[[Path], Path]) -> Callable[[Path], Path]:
        STRANGE[name] = (make, outcome)
        return make

    return keep


def _bytes(name: str, data: bytes, outcome: int | str) -> None:
    def make(path: Path) -> Path:
        path.write_bytes(data)
        return path

    _case(name, outcome)(make)


def _clip(name: str, frames: int, **settings: object) -> None:
    _case(name, frames)(lambda path: make_clip(path, frames, **settings))  # type: ignore[arg-type]


_noise = np.random.default_rng(0).integers(0, 256, 20000, dtype=np.uint8).tobytes()
_archive = io.BytesIO()
with zipfile.ZipFile(_archive, "w") as _zip:
    _zip.writestr("video.mp4", _noise)
_bytes("zero length.mp4", b"", "EmptyFile")
_bytes("one byte.mp4", b"\0", "Unreadable|NotAVideo")
_bytes("text.mp4", b"This is not a video.\n" * 99, "NotAVideo")
_bytes("page.mp4", b"<!doctype html><title>404 not found</title>", "NotAVideo")
_bytes("noise.mp4", _noise, "NotAVideo")
_bytes("zeros.mp4", bytes(1 << 20), "NotAVideo")
_bytes("archive.mp4", _archive.getvalue(), "NotAVideo")
_bytes("compressed.mp4", gzip.compress(_noise), "NotAVideo")
_bytes("program.mp4", b"\x7fELF\x02\x01\x01" + _noise, "NotAVideo")
_bytes(
    "index only.mp4", b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + b"\0\0\0\x08free" * 9, "Unreadable"
)
# Lists of other files and addresses, which FFmpeg would open.
_bytes(
    "playlist.mp4", b"#EXTM3U\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n", "NotAVideo"
)
_bytes("playlist.m3u8", b"#EXTM3U\n#EXTINF:9,\nother.ts\n#EXT-X-ENDLIST\n", "NotAVideo")
_bytes("concat.mp4", b"ffconcat version 1.0\nfile other.mp4\n", "NotAVideo")
_bytes("session.mp4", b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 "
                      b"RTP/AVP 96\n", "NotAVideo")  # fmt: skip
# Sizes, pixel formats and rates.
_clip("two pixels.mp4", 3, size=(2, 2), picture=lambda i: np.full((2, 2, 3), 60 * i, np.uint8))
_clip("1000 a second.mkv", N, options=_GOP, rate=Fraction(1000), time_base=Fraction(1, 1000))
_clip("1000 a second.mp4", N, options=_GOP, rate=Fraction(1000), time_base=Fraction(1, 1000))
_clip("100000 a second.mp4", N, options=_GOP, rate=Fraction(100000), time_base=Fraction(1, 100000))
_clip("one an hour.mp4", 5, options=_GOP, rate=Fraction(1, 3600), time_base=Fraction(3600, 1))
_clip("16K wide.mov", 2, codec="mjpeg", size=(64, 16384), pix_fmt="yuvj420p")
_HDR = "log-level=none:pools=1:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"
_clip("10 bit HDR.mp4", 12, codec="libx265", pix_fmt="yuv420p10le", options={"x265-params": _HDR})
_clip("12 bit.mkv", 12, codec="ffv1", pix_fmt="yuv444p12le")
_clip("16 bit grey.mkv", 12, codec="ffv1", pix_fmt="gray16le")
_clip("alpha ffv1.mkv", 12, codec="ffv1", pix_fmt="bgra")
_clip("alpha ProRes.mov", 12, codec="prores_ks", pix_fmt="yuva444p10le")
_clip("alpha VP9.webm", 12, codec="libvpx-vp9", pix_fmt="yuva420p")
_clip("alpha QuickTime.mov", 12, codec="qtrle", pix_fmt="argb")
_clip("alpha PNG.mov", 12, codec="png", pix_fmt="rgba")
_clip("uncompressed.avi", 12, codec="rawvideo", pix_fmt="yuv420p")
_clip("animation.gif", 12, codec="gif", pix_fmt="rgb8")
_clip("animation.apng", 12, codec="apng", pix_fmt="rgb24")
_clip("interlaced.ts", 24, options={**_GOP, "x264-params": "interlaced=1:tff=1"}, size=(96, 128))
_clip(
    "interlaced.mpg",
    24,
    codec="mpeg2video",
    options={**_GOP, "flags": "+ildct+ilme"},
    size=(96, 128),
)
_clip("odd sides.mkv", 12, codec="ffv1", pix_fmt="yuv444p", size=(51, 67))


@_case("one pixel.mkv", 3)
def _one_pixel(path: Path) -> Path:
    return make_clip(
        path, 3, codec="ffv1", size=(1, 1), picture=lambda i: np.full((1, 1, 3), 60 * i, np.uint8)
    )


@_case("a line of 4096 pixels.mkv", 3)
def _line(path: Path) -> Path:
    return make_clip(
        path,
        3,
        codec="ffv1",
        size=(1, 4096),
        picture=lambda i: np.full((1, 4096, 3), 60 * i, np.uint8),
    )


# Time stamps.
def _stamped(
    name: str, stamp: Callable[[int], int], time_base: Fraction, outcome: int | str = 24
) -> None:
    """Motion JPEG whose packets carry the given stamps as they are."""

    def make(path: Path) -> Path:
        source = make_clip(
            path.with_name(f"source of {path.name}.mov"), 24, codec="mjpeg", pix_fmt="yuvj420p"
        )
        with av.open(str(source)) as given, av.open(str(path), "w") as made:
            stream = made.add_stream_from_template(given.streams.video[0])
            stream.time_base = time_base
            for number, packet in enumerate(p for p in given.demux(video=0) if p.size):
                packet.stream, packet.time_base = stream, time_base
                packet.pts = packet.dts = stamp(number)
                packet.duration = 0
                made.mux(packet)
        source.unlink()
        return path

    _case(name, outcome)(make)


_MS = Fraction(1, 1000)
_stamped("negative stamps.mkv", lambda i: (i - 10) * 40, _MS)
_stamped("negative stamps.nut", lambda i: i - 2**40, Fraction(1, 25))
_stamped("repeating stamps.mkv", lambda i: i // 2 * 40, _MS)
_stamped("all stamps zero.mkv", lambda i: 0, _MS)
_stamped("stamps near the end of 64 bits.nut", lambda i: 2**62 + i, Fraction(1, 25))
_stamped("stamps of 35 thousand years.mkv", lambda i: 2**50 + i * 40, _MS)
_stamped("a leap of 17 thousand years.mkv", lambda i: i * 40 if i < 12 else 2**49 + i * 40, _MS)
_stamped("a leap of a thousand years.mp4", lambda i: i if i < 12 else 2**40 + i, Fraction(1, 25))


# Headers that lie: a good mp4 in whose boxes other numbers are written.
def _patched(
    name: str, box: bytes, offset: int, format: str, *values: int, outcome: int | str
) -> None:
    def make(path: Path) -> Path:
        good = make_clip(
            path.with_name(f"source of {path.name}"), 12, **CONTAINERS["faststart.mp4"]
        )
        data = bytearray(good.read_bytes())
        struct.pack_into(format, data, data.index(box) + offset, *values)
        good.unlink()
        path.write_bytes(data)
        return path

    _case(name, outcome)(make)


_patched("says 65535 x 65535.mp4", b"avc1", 4 + 8 + 16, ">HH", 65535, 65535, outcome=12)
_patched("says 1000 million frames.mp4", b"stsz", 8, ">II", 5, 10**9, outcome="some")
_patched("frames of 46 hours.mp4", b"stts", 12, ">II", 12, 2**31 - 1, outcome="some")
_patched("frames that go back.mp4", b"stts", 12, ">II", 12, 2**32 - 1, outcome="some")
_patched("frames of no time.mp4", b"stts", 12, ">II", 12, 0, outcome="some")
_patched("reordered by 2^31.mp4", b"ctts", 12, ">Ii", 12, -(2**31), outcome="some")
_patched("no unit of time.mp4", b"mdhd", 16, ">II", 0, 0, outcome="some")
_patched("units of no length.mp4", b"mdhd", 16, ">II", 2**32 - 1, 2**32 - 1, outcome="some")
_patched("a box of 4 GB.mp4", b"moov", -4, ">I", 2**32 - 1, outcome="some")
_bytes(
    "says 2^31 x 2^31.y4m",
    b"YUV4MPEG2 W2147483647 H2147483647 F25:1 C420\nFRAME\n" + bytes(999),
    "Unreadable|TooLarge|NoFrames",
)
_GIF_FRAME = (
    b"\x21\xf9\x04\0\x04\0\0\0\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0"
)
for _side in (16000, 65535):  # 400 bytes that want a gigabyte a frame
    _head = b"GIF89a" + struct.pack("<HHBBB", _side, _side, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    _bytes(f"says {_side} x {_side}.gif", _head + _GIF_FRAME * 30 + b";", "TooLarge|NoFrames")


@_case("the size changes in the middle.h264", "in order")
def _size_changes(path: Path) -> Path:
    parts = [
        make_clip(path.with_name(f"{i} {path.name}"), 20, size=size, options={"g": "1"},
                  picture=lambda number, i=i, size=size: _numbered(20 * i + number, size))
        for i, size in enumerate([(48, 64), (96, 128)])
    ]  # fmt: skip
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def _numbered(number: int, size: tuple[int, int]) -> np.ndarray:
    from tests.frames.barcodes import barcode

    return barcode(number, *size)


@_case("two recordings joined.ts", "in order")
def _joined(path: Path) -> Path:
    part = make_clip(
        path.with_name(f"part {path.name}"), 20, codec="mpeg2video", options={"g": "1"}
    )
    path.write_bytes(part.read_bytes() * 2)
    return path


@_case("sound only.mp4", "NoVideoStream")
def sound_only(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=44100)
        for i in range(20):
            frame = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
            )
            frame.sample_rate, frame.pts = 44100, i * 1024
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path
