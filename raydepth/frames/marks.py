"""What a container says of its video that FFmpeg keeps to itself: cropping, and Dolby Vision.

PyAV shows neither. So the headers of mp4 and Matroska are looked up here. And what a user should
know of a video stream: what of it is not used.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

import av.container
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from raydepth.files import storage

MOST_HEADER = 64 << 20
"""Bytes of a movie's header that are looked through; of Matroska's, which has no index in it, 1/64
of that."""

_VISUAL_ENTRY = 78
"""Bytes of an mp4's visual sample entry ahead of its boxes."""

_DOLBY = (b"dvcC", b"dvvC", b"dvwC")
"""Names of a Dolby Vision configuration."""

_DOLBY_ONLY = (b"dvh1", b"dvhe", b"dva1", b"dvav", b"dav1")
"""Sample entries of Dolby Vision that no other decoder should show."""

_PQ, _HLG = 16, 18


@dataclass(frozen=True)
class Marks:
    """What a container's header marks a video with.

    Attributes:
        aperture: Fractions width, height, and the offsets of its middle from the picture's (mp4's
            clean aperture); None: all of it.
        cropped: pixels (left, top, right, bottom) cut off (Matroska).
        without_base_layer: Dolby Vision whose pictures are of no other colour space.
    """

    aperture: tuple[Fraction, Fraction, Fraction, Fraction] | None = None
    cropped: tuple[int, int, int, int] = (0, 0, 0, 0)
    without_base_layer: bool = False

    def crop_of(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Pixels (left, top, right, bottom) cut off a coded picture; none where it's nonsense."""
        crop = self.cropped
        if self.aperture is not None:
            wide, high, right, down = self.aperture
            left = round((width - wide) / 2 + right)
            top = round((height - high) / 2 + down)
            crop = (left, top, width - left - round(wide), height - top - round(high))
        fits = min(crop) >= 0 and crop[0] + crop[2] < width and crop[1] + crop[3] < height
        return crop if fits else (0, 0, 0, 0)


def _size_of(stream: VideoStream) -> str:
    if stream.codec_context is None:
        return "no decoder"
    return f"{stream.width}x{stream.height}"


def remarks_on(
    container: av.container.InputContainer, stream: VideoStream, first: VideoFrame
) -> list[str]:
    """What of a video is not used, in words: other video streams, HDR, alpha, fields.

    Args:
        container, stream: the video.
        first: its first frame, decoded.
    """
    covers = Disposition.attached_pic | Disposition.timed_thumbnails
    others = [
        f"{other.index} ({_size_of(other)})"
        for other in container.streams.video
        if other.index != stream.index and not other.disposition & covers
    ]
    said = []
    if others:
        said.append(
            f"of its video streams {stream.index} ({_size_of(stream)}) is edited; left "
            f"out: {', '.join(others)}"
        )
    if first.color_trc in (_PQ, _HLG):
        said.append("its colours are HDR, converted without tone mapping: they look flat")
    if first.interlaced_frame:
        said.append("it is interlaced, and its fields stay woven: deinterlace it first")
    if (
        any(component.is_alpha for component in first.format.components)
        and first.to_ndarray(format="rgba")[..., 3].min() < 255
    ):
        said.append("its alpha is dropped")
    return said


def read_marks(path: str, container: av.container.InputContainer, stream: VideoStream) -> Marks:
    """Reads the marks of one stream from the header of an mp4, mov or Matroska file.

    Raises:
        OSError: the file can't be read any more.
    """
    if "mp4" in container.format.name:
        with storage.open_file(path) as file:
            return _mp4_marks(_movie_header(file), stream.id)
    if "matroska" in container.format.name:
        with storage.open_file(path) as file:
            place = [other.index for other in container.streams.video].index(stream.index)
            return _matroska_marks(file.read(MOST_HEADER // 64), place)
    return Marks()


def _movie_header(file: BinaryIO) -> bytes:
    """What is in the box ``moov``; empty where it's not to be had."""
    at, end = 0, file.seek(0, 2)
    while at + 8 <= end:
        file.seek(at)
        head = file.read(16)
        size = int.from_bytes(head[:4], "big")
        start = 16 if size == 1 else 8
        size = int.from_bytes(head[8:], "big") if size == 1 else size or end - at
        if size < start:
            break
        if head[4:8] == b"moov":
            file.seek(at + start)
            return file.read(min(size - start, MOST_HEADER))
        at += size
    return b""


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Types and contents of the boxes of an mp4, one after the other."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size < 8:
            return
        yield data[at + 4 : at + 8], data[at + 8 : at + size]
        at += size


def _inside(data: bytes, *names: bytes) -> bytes:
    """What is in the first box of these nested names; empty where there is none."""
    for name in names:
        data = next((content for kind, content in _boxes(data) if kind == name), b"")
    return data


def _mp4_marks(movie: bytes, track_id: int) -> Marks:
    for kind, track in _boxes(movie):
        head = _inside(track, b"tkhd")
        at = 20 if head[:1] == b"\1" else 12
        if kind != b"trak" or int.from_bytes(head[at : at + 4], "big") != track_id:
            continue
        table = _inside(track, b"mdia", b"minf", b"stbl", b"stsd")
        for entry, description in _boxes(table[8:]):
            boxes = dict(_boxes(description[_VISUAL_ENTRY:]))
            records = [boxes[name] for name in _DOLBY if name in boxes]
            dolby = any(map(_no_base_layer, records)) or (entry in _DOLBY_ONLY and not records)
            return Marks(_aperture(boxes.get(b"clap", b"")), without_base_layer=dolby)
    return Marks()


def _aperture(box: bytes) -> tuple[Fraction, Fraction, Fraction, Fraction] | None:
    """Width, height and offsets of a clean aperture (ISO 14496-12, 12.1.4)."""
    numbers = [int.from_bytes(box[i : i + 4], "big", signed=True) for i in range(0, 32, 4)]
    if len(box) < 32 or min(numbers[1::2]) <= 0 or min(numbers[:4]) <= 0:
        return None
    width, height, right, down = (Fraction(numbers[i], numbers[i + 1]) for i in range(0, 8, 2))
    return width, height, right, down


def _no_base_layer(record: bytes) -> bool:
    """Whether a Dolby Vision configuration says that no other decoder can show its base layer.

    Profile 5, and those (10.0) whose base layer is compatible with nothing.
    """
    if len(record) < 5:
        return False
    profile, compatible = record[2] >> 1, record[4] >> 4
    return profile == 5 or (profile in (8, 9, 10) and compatible == 0)


_SEGMENT, _TRACKS, _TRACK, _VIDEO = 0x18538067, 0x1654AE6B, 0xAE, 0xE0
_TYPE, _CLUSTER, _MAPPING, _KIND, _DATA = 0x83, 0x1F43B675, 0x41E4, 0x41E7, 0x41ED
_CROPS = (0x54CC, 0x54BB, 0x54DD, 0x54AA)
"""PixelCropLeft, -Top, -Right and -Bottom."""


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Ids and contents of Matroska's elements, one after the other; what is cut off ends them."""
    at = 0
    while at < len(data) and data[at]:
        length = 9 - data[at].bit_length()
        name = int.from_bytes(data[at : at + length], "big")
        at += length
        if at >= len(data) or not data[at]:
            return
        length = 9 - data[at].bit_length()
        size = int.from_bytes(data[at : at + length], "big") & ((1 << 7 * length) - 1)
        unknown = size == (1 << 7 * length) - 1
        at += length
        yield name, data[at:] if unknown else data[at : at + size]
        if unknown or name == _CLUSTER:
            return
        at += size


def _matroska_marks(head: bytes, place: int) -> Marks:
    """The marks of a file's video track number `place`, counted from 0."""
    segment = next((content for name, content in _elements(head) if name == _SEGMENT), b"")
    tracks = next((content for name, content in _elements(segment) if name == _TRACKS), b"")
    entries = [dict(_elements(track)) for name, track in _elements(tracks) if name == _TRACK]
    videos = [fields for fields in entries if fields.get(_TYPE) == b"\1"]
    if place >= len(videos):
        return Marks()
    video = dict(_elements(videos[place].get(_VIDEO, b"")))
    left, top, right, bottom = (int.from_bytes(video.get(side, b""), "big") for side in _CROPS)
    mapping = dict(_elements(videos[place].get(_MAPPING, b"")))
    return Marks(
        cropped=(left, top, right, bottom),
        without_base_layer=mapping.get(_KIND, b"") in _DOLBY
        and _no_base_layer(mapping.get(_DATA, b"")),
    )
