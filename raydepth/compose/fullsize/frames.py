"""Decodes the source-size frames of a part a second time, in the worker that edits it, one frame at
a time.

The alternative, decoding once and keeping them, would hold 25 MB a 4K frame for every frame of
every batch in flight, and send them through the object store where decoding has tasks of its own.
"""

from collections.abc import Iterator
from dataclasses import replace

from raydepth.frames.decode import Frame, decode
from raydepth.frames.segments import Segment


class SourceFrames:
    """Frames at the source's own size, decoded while they are written; the file stays open from
    batch to batch.

    Frames come in the order of the segment. Going on where the last call ended costs nothing but
    decoding; a jump seeks to the nearest keyframe, unless that lies behind the reader, which then
    reads on.
    """

    def __init__(self) -> None:
        self._at: tuple[str, int] | None = None
        self._next = 0
        self._frames: Iterator[Frame] = iter(())

    def take(self, segment: Segment, start: int, stop: int) -> Iterator[Frame]:
        """Rows [start, stop) of a segment, at source size; frames that cannot be had come as
        errors, as decode() gives them.
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
