"""Decodes a part's source-size frames a second time, one at a time, in the editing worker.

Decoding once and keeping them would hold 25 MB a 4K frame for every frame of every batch in flight.
It would also send them through the object store where decoding has tasks of its own.
"""

from collections.abc import Iterator
from dataclasses import replace

from raydepth.frames.decode import Frame, decode
from raydepth.frames.segments import Segment


class SourceFrames:
    """Frames at the source's own size, decoded while they are written.

    The file stays open from batch to batch, and frames come in the order of the segment. Going on
    where the last call ended costs only decoding. A jump seeks to the nearest keyframe. Where that
    lies behind the reader, the reader reads on instead.
    """

    def __init__(self) -> None:
        self._at: tuple[str, int] | None = None
        self._next = 0
        self._frames: Iterator[Frame] = iter(())

    def take(self, segment: Segment, start: int, stop: int) -> Iterator[Frame]:
        """Rows [start, stop) of a segment, at source size.

        Frames that cannot be decoded come as errors, as decode() gives them.
        """
        if self._at != (segment.video, segment.index) or not self._reads_on(segment, start):
            height, width = segment.source_size
            whole = replace(segment, height=height, width=width)
            self._at, self._next = (segment.video, segment.index), start
            self._frames = decode(whole.take(slice(start, None)))
        while self._next < stop:
            frame = next(self._frames)
            self._next += 1
            if self._next > start:
                yield frame

    def _reads_on(self, segment: Segment, start: int) -> bool:
        if self._next >= start or segment.kind == "images":
            return self._next == start
        points = segment.seek_pts
        return not ((points > segment.pts[self._next]) & (points <= segment.pts[start])).any()
