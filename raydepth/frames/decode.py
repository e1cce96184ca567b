"""Step 2: decodes a segment's wanted frames, each once, in order and at working size, and cuts them into micro-batches.

Frames are matched to the plan by pts (in a sequential plan by packet), never by counting, so that what a damaged packet
costs is its own frames.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, count, islice
from typing import cast

import av
import av.container
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from raydepth.columns import Batch
from raydepth.frames.container import open_container, prepare
from raydepth.frames.images import read_image
from raydepth.frames.segments import Segment
from raydepth.frames.sources import SourceError

MIN_JUMP = 32
"""Unwanted frames before a keyframe from which on seeking to it is cheaper than decoding up to it."""


@dataclass(frozen=True)
class Frame:
    """One wanted frame, or the reason why there is none.

    Attributes:
        frame_index: index in the source, in display order.
        pts: in the source's time base.
        time_s: seconds after the source's first frame.
        rgb: uint8 [H, W, 3], upright and at working size; None where there is an error.
        error_type: empty where ok; "DecodeError", or the SourceError's type where the file can't be opened any more.
        error_message: what FFmpeg said.
        image: the file, in a folder of images; empty otherwise.
    """

    frame_index: int
    pts: int
    time_s: float
    rgb: np.ndarray | None
    error_type: str = ""
    error_message: str = ""
    image: str = ""


def decode(segment: Segment, *, threads: int = 1) -> Iterator[Frame]:
    """Yields every wanted frame of a segment exactly once and in display order, as a picture or as an error.

    Colours: RGB of full range. YUV without a matrix in its metadata counts as BT.709 from 720 lines or 1280 columns on,
    as BT.601 below. HDR (PQ, HLG) is converted plainly, without tone mapping, so it looks flat. Interlaced frames stay
    woven, pixels that aren't square stay as coded. Alpha is dropped.

    Args:
        segment: what to decode; `segment.take` restricts it.
        threads: of FFmpeg's decoder. Several processes with one thread each are faster than one with several.

    Bad input raises nothing: what can't be read any more becomes error frames.
    """
    if segment.kind == "images":
        for row, image in enumerate(segment.images):
            try:
                rgb = read_image(image, segment.height, segment.width)
            except OSError as error:
                yield _frame(segment, row, None, "DecodeError", f"{image}: {error}")
            else:
                yield _frame(segment, row, rgb)
        return
    reader = _Reader(segment, threads)
    next_row = 0
    try:
        for start, stop in _runs(segment):
            for row, picture in reader.pictures(start, stop):
                for lost in range(next_row, row):
                    yield reader.error(lost)
                yield reader.convert(row, picture)
                next_row = row + 1
            for lost in range(next_row, stop):
                yield reader.error(lost)
            next_row = stop
    except SourceError as error:  # gone or broken since it was probed
        for lost in range(next_row, len(segment)):
            yield _frame(segment, lost, None, error.error_type, str(error))
    finally:
        reader.close()


def batches(segment: Segment, size: int, *, threads: int = 1, lost: str | None = None) -> Iterator[Batch]:
    """Decodes a segment into micro-batches of `size` frames, each as soon as it is full; the last one may be smaller.

    Args:
        segment: what to decode.
        size: frames in a batch.
        threads: as in decode().
        lost: a reason not to try: nothing is read, every frame is an error of type "DecoderCrashed" with this message.

    Yields:
        Columns frame_id, video, path, image, frame_index, pts, time_s, rgb, status, error_type, error_message, note and
        seconds_decode (see raydepth/columns.py). `image` is a frame's file in a folder of images, empty otherwise. Error
        frames have status "error" and rgb zeros.
    """
    if lost is None:
        frames = decode(segment, threads=threads)
    else:
        frames = (_frame(segment, row, None, "DecoderCrashed", lost) for row in range(len(segment)))
    while True:
        began = time.perf_counter()
        chunk = list(islice(frames, size))
        if not chunk:
            return
        rgb = np.zeros((len(chunk), segment.height, segment.width, 3), np.uint8)
        for i, frame in enumerate(chunk):
            if frame.rgb is not None:
                rgb[i] = frame.rgb
        yield {
            "frame_id": _text([f"{segment.video}:{frame.pts}" for frame in chunk]),
            "video": _text([segment.video] * len(chunk)),
            "path": _text([segment.path] * len(chunk)),
            "image": _text([frame.image for frame in chunk]),
            "frame_index": np.array([frame.frame_index for frame in chunk], np.int64),
            "pts": np.array([frame.pts for frame in chunk], np.int64),
            "time_s": np.array([frame.time_s for frame in chunk], np.float64),
            "rgb": rgb,
            "status": _text(["ok" if frame.rgb is not None else "error" for frame in chunk]),
            "error_type": _text([frame.error_type for frame in chunk]),
            "error_message": _text([frame.error_message for frame in chunk]),
            "note": _text([""] * len(chunk)),
            "seconds_decode": np.full(len(chunk), (time.perf_counter() - began) / len(chunk), np.float32),
        }


def _text(values: list[str]) -> np.ndarray:
    return np.array(values, object)


def _frame(
    segment: Segment, row: int, rgb: np.ndarray | None, error_type: str = "", error_message: str = ""
) -> Frame:
    return Frame(
        frame_index=int(segment.frame_index[row]), pts=int(segment.pts[row]), time_s=float(segment.time_s[row]),
        rgb=rgb, error_type=error_type, error_message=error_message, image=segment.images[row] if segment.images else "",
    )  # fmt: skip


def _runs(segment: Segment) -> Iterator[tuple[int, int]]:
    """Rows [start, stop) that are decoded in one go; between runs it pays to seek."""
    keyframes = np.searchsorted(segment.seek_pts, segment.pts, "right") - 1  # the one each row is decoded from
    start = 0
    for row in range(1, len(segment)):
        point = keyframes[row]
        if point > keyframes[row - 1] and segment.seek_index[point] - segment.frame_index[row - 1] > MIN_JUMP:
            yield start, row
            start = row
    if len(segment):
        yield start, len(segment)


class _Reader:
    """An open video file with its decoder, and what went wrong in it."""

    def __init__(self, segment: Segment, threads: int) -> None:
        self._segment = segment
        self._threads = threads
        self._keys = segment.pts if segment.packets is None else segment.packets
        self._rows = {int(key): row for row, key in enumerate(self._keys)}
        self._refused: dict[int, str] = {}  # row -> what FFmpeg said of its packet
        self._stopped = ""  # why reading the file ended early
        self._reformatter = VideoReformatter()  # one for all frames: setting swscale up costs as much as using it
        self._container: av.container.InputContainer | None = None

    def close(self) -> None:
        if self._container is not None:
            self._container.close()

    def pictures(self, start: int, stop: int) -> Iterator[tuple[int, VideoFrame]]:
        """Rows in [start, stop) with their decoded pictures, in display order; rows that don't come are left out.

        A keyframe from which the first wanted frame can't be decoded (the seek went past it, it is damaged, or it only
        begins a gradual refresh) is given up for an earlier one, so that the result is that of decoding straight through.
        """
        segment = self._segment
        point = int(np.searchsorted(segment.seek_pts, segment.pts[start], "right")) - 1
        tries = [point - back for back in (0, 1, 4) if point >= back and segment.seek_index[point - back] > 0]
        for attempt in (*tries, None):
            decoded = self._read(None if attempt is None else int(segment.seek_pts[attempt]), int(self._keys[start]))
            head = next(decoded, None)
            if head is not None and head[0] <= self._keys[start]:
                break
        expected = start
        for key, picture in decoded if head is None else chain([head], decoded):
            row = self._rows.get(key)
            if row is not None and expected <= row < stop:
                expected = row + 1
                yield row, picture
            if expected == stop or (segment.packets is None and key > self._keys[stop - 1]):
                return

    def _read(self, seek_pts: int | None, first_pts: int) -> Iterator[tuple[int, VideoFrame]]:
        """Decodes from a keyframe (None: from the start of the file) to the end; pts or packet, and picture, of each frame.

        Gives nothing where FFmpeg can't seek, or where the keyframe that comes next lies behind the first wanted frame: .ts is
        sought by decoding times, which lands some packets behind the keyframe, so that the next try finds it.
        """
        if seek_pts is None or self._container is None:
            self._open()
        assert self._container is not None
        if seek_pts is not None:
            try:
                self._container.seek(seek_pts, stream=self._stream)
            except av.FFmpegError:
                return
        started = seek_pts is None
        packets = self._container.demux(self._stream)
        for number in count():
            try:
                packet = next(packet for packet in packets if packet.size)
            except StopIteration:
                break
            except av.FFmpegError as error:
                self._stopped = f"reading the file stopped: {error.strerror}"
                break
            if not started:
                if not packet.is_keyframe:
                    continue
                if packet.pts is None or packet.pts > first_pts:
                    return
                started = True
            packet.opaque = number
            yield from self._send(packet)
        yield from self._send(None)

    def _open(self) -> None:
        segment = self._segment
        self.close()
        self._container = open_container(segment.path)
        stream = self._container.streams[segment.stream] if segment.stream < len(self._container.streams) else None
        if not isinstance(stream, VideoStream) or stream.codec_context is None:
            raise SourceError("Unreadable", f"{segment.path} has changed since it was probed: stream {segment.stream} is no video")
        prepare(self._container, stream, self._threads)
        self._stream = stream

    def _send(self, packet: Packet | None) -> Iterator[tuple[int, VideoFrame]]:
        by_packet = self._segment.packets is not None
        try:
            frames = self._stream.codec_context.decode(packet)
        except av.FFmpegError as error:
            key = None if packet is None else packet.opaque if by_packet else packet.pts
            if key in self._rows:
                self._refused[self._rows[key]] = str(error.strerror)
            return
        for frame in frames:
            key = frame.opaque if by_packet else frame.pts
            if key is not None:
                yield cast(int, key), frame

    def convert(self, row: int, picture: VideoFrame) -> Frame:
        """A decoded picture as a Frame: RGB, working size, upright."""
        segment = self._segment
        if picture.is_corrupt:
            return self.error(row, "FFmpeg marks the picture as damaged")
        turned = segment.orientation[0] == 0
        height, width = (segment.width, segment.height) if turned else (segment.height, segment.width)
        kernel = Interpolation.AREA if height < picture.height else Interpolation.BICUBIC
        try:
            resized = self._reformatter.reformat(
                picture, width, height, "rgb24", src_colorspace=_matrix(picture), dst_color_range="JPEG",
                interpolation=kernel | _EXACT, threads=1,
            )  # fmt: skip
        except av.FFmpegError as error:
            return self.error(row, f"no conversion from {picture.format.name} to RGB: {error.strerror}")
        rgb = resized.to_ndarray()
        a, b, c, d = segment.orientation
        if turned:
            rgb = rgb.transpose(1, 0, 2)
        rgb = rgb[:: b + d, :: a + c]
        return _frame(segment, row, np.ascontiguousarray(rgb))

    def error(self, row: int, reason: str = "") -> Frame:
        """The error frame of a row, with what is known about it."""
        reason = reason or self._refused.get(row) or self._stopped or "the decoder gave none for it"
        return _frame(
            self._segment, row, None, "DecodeError", f"no picture for pts {self._segment.pts[row]}: {reason}"
        )


_EXACT = Interpolation.ACCURATE_RND | Interpolation.BITEXACT | Interpolation.FULL_CHR_H_INT
"""The same bytes on every processor."""

_UNSPECIFIED = 2
"""AVCOL_SPC_UNSPECIFIED, which swscale takes for BT.601 whatever the size is."""


def _matrix(picture: VideoFrame) -> Colorspace | None:
    if picture.colorspace != _UNSPECIFIED:
        return None
    hd = max(picture.height, picture.width) >= 1280 or min(picture.height, picture.width) >= 720
    return Colorspace.ITU709 if hd else Colorspace.ITU601
