"""Reads wanted frames of a video file: seeks and decodes.

shape.py converts them, and decode.py makes frames and errors of them.
"""

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain, count

import av
import av.container
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from raydepth.files.ranges import reason
from raydepth.frames.container import number_packet, open_container, packet_number, prepare
from raydepth.frames.segments import Segment
from raydepth.frames.sources import SourceError


class Reader:
    """An open video file with its decoder, and what went wrong in it; close() it.

    Its methods raise SourceError where the file can't be opened any more, and nothing for bad
    content.
    """

    def __init__(self, segment: Segment, threads: int) -> None:
        self._segment = segment
        self.threads = threads
        self._keys = segment.pts if segment.packets is None else segment.packets
        self._rows = {int(key): row for row, key in enumerate(self._keys)}
        self._refused: dict[int, str] = {}  # row -> what FFmpeg said of its packet
        self._stopped = ""  # why reading the file ended early
        self._missed = False  # whether the last seek failed or went too far
        self._container: av.container.InputContainer | None = None

    def close(self) -> None:
        if self._container is not None:
            self._container.close()

    def pictures(self, start: int, stop: int) -> Iterator[tuple[int, VideoFrame]]:
        """Rows in [start, stop) with their decoded pictures, in display order.

        Rows that can't be decoded are left out. From some keyframes the first wanted frame can't be
        decoded: the seek went past it, it is damaged, or it only begins a gradual refresh. Then an
        earlier keyframe is taken, so that the result is that of decoding straight through.
        """
        segment, first = self._segment, int(self._keys[start])
        nearest = int(np.searchsorted(segment.seek_pts, segment.pts[start], "right")) - 1
        points = [
            int(segment.seek_pts[nearest - back])
            if segment.seek_index[nearest - back]
            else None  # None: the file's start
            for back in (0, 1, 4)
            if nearest >= back
        ]
        for point in points or [None]:
            decoded = self._decode(point, first)
            head = next(decoded, None)
            if point is None or (head is not None and head[0] <= first):
                break
        else:
            if self._missed:  # the container can't seek
                decoded = self._decode(None, first)
                head = next(decoded, None)
        expected = start
        for key, picture in chain([] if head is None else [head], decoded):
            row = self._rows.get(key)
            if row is not None and expected <= row < stop:
                expected = row + 1
                yield row, picture
            if expected == stop or (segment.packets is None and key > self._keys[stop - 1]):
                return

    @property
    def pixel_aspect(self) -> Fraction | None:
        """Width by height of a coded pixel, as the stream says it now; None where it does not."""
        return self._stream.codec_context.sample_aspect_ratio

    def refused(self, row: int) -> bool:
        """Whether FFmpeg refused the row's own packet."""
        return row in self._refused

    def reason(self, row: int) -> str:
        """Why a row has no picture, as far as is known."""
        return self._refused.get(row) or self._stopped or "the decoder gave none for it"

    def _decode(self, seek_pts: int | None, first_pts: int) -> Iterator[tuple[int, VideoFrame]]:
        """Decodes from a keyframe to the end; gives pts or packet, and picture, of each frame.

        None is the start of the file. It gives nothing where FFmpeg can't seek, or where the
        keyframe that comes next lies behind the first wanted frame. .ts is sought by decoding
        times, which lands some packets behind the keyframe, so that the next try finds it.
        """
        if seek_pts is None or self._container is None:
            self._open()
        assert self._container is not None
        self._missed = False
        if seek_pts is not None:
            try:
                self._container.seek(seek_pts, stream=self._stream)
            except av.FFmpegError:
                self._missed = True
                return
            except OSError as error:
                self._stopped = f"reading the file stopped: {reason(error)}"
                return
        started = seek_pts is None
        packets = self._container.demux(self._stream)
        for number in count():
            try:
                packet = next(packet for packet in packets if packet.size)
            except StopIteration:
                break
            except (av.FFmpegError, OSError) as error:
                self._stopped = f"reading the file stopped: {reason(error)}"
                break
            if not started:
                if not packet.is_keyframe:
                    continue
                if packet.pts is None or packet.pts > first_pts:
                    self._missed = True
                    return
                started = True
            number_packet(packet, number)
            yield from self._send(packet)
        yield from self._send(None)

    def _open(self) -> None:
        segment = self._segment
        self.close()
        self._container = open_container(segment.path)
        stream = (
            self._container.streams[segment.stream]
            if segment.stream < len(self._container.streams)
            else None
        )
        if not isinstance(stream, VideoStream) or stream.codec_context is None:
            raise SourceError(
                "Unreadable",
                f"{segment.path} has changed since it was probed: stream {segment.stream} is no "
                "video",
            )
        prepare(self._container, stream, self.threads)
        self._stream = stream

    def _send(self, packet: Packet | None) -> Iterator[tuple[int, VideoFrame]]:
        by_packet = self._segment.packets is not None
        try:
            frames = self._stream.codec_context.decode(packet)
        except av.FFmpegError as error:
            key = None if packet is None else packet_number(packet) if by_packet else packet.pts
            if key in self._rows:
                self._refused[self._rows[key]] = str(error.strerror)
            return
        for frame in frames:
            key = packet_number(frame) if by_packet else frame.pts
            if key is not None:
                yield key, frame
