"""Cuts a source at keyframes into segments, the units of scheduling and decoding."""

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Literal

import numpy as np

from raydepth.frames.source import Source

MAX_STRIP = 2**22
"""A picture more than 64 times as long as wide is enlarged to fewer pixels only."""


@dataclass(frozen=True)
class Segment:
    """The m wanted frames of one stretch of a source, with everything that decode() needs.

    It is small and picklable. A segment owns the frames from its keyframe's pts on, up to the next
    segment's keyframe's, whatever order they are stored in. B-frames of an open GOP that are shown
    before the keyframe they follow belong to the segment before.

    Attributes:
        video, path, kind, time_base, stream, orientation: as in Source.
        index: number of the segment in its source; the same whatever stride and time range are.
        height, width: working size in pixels, as displayed; of square pixels.
        frame_index: int64 [m], index in the source in display order.
        pts: int64 [m], strictly increasing.
        time_s: float64 [m], seconds after the source's first frame.
        seek_pts, seek_index: int64 [k], pts and frame index of the keyframes where decoding can
            start: those of the stretch and a few before it, should a seek miss; ahead of the first
            one decoding starts with the file.
        packets: int64 [m] or None, see Source.packets.
        images: files of the m frames; empty for a video.
        source_size: height and width of the frames as they are, upright; (0, 0) where nobody asks
            for them.
        pixel_aspect, crop: as in Source.
        shot: int64 [m], number of each frame's shot in the source, never falling; None: the source
            is one shot.
        first_shot: number of the first shot of the source that the job covers.
    """

    video: str
    path: str
    kind: Literal["video", "images"]
    index: int
    height: int
    width: int
    orientation: tuple[int, int, int, int]
    time_base: Fraction
    stream: int
    frame_index: np.ndarray
    pts: np.ndarray
    time_s: np.ndarray
    seek_pts: np.ndarray
    seek_index: np.ndarray
    packets: np.ndarray | None = None
    images: tuple[str, ...] = ()
    source_size: tuple[int, int] = (0, 0)
    pixel_aspect: Fraction = Fraction(1)
    crop: tuple[int, int, int, int] = (0, 0, 0, 0)
    shot: np.ndarray | None = None
    first_shot: int = 0

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def shots(self) -> np.ndarray:
        """Number of each frame's shot, int64 [m]."""
        return np.zeros(len(self), np.int64) if self.shot is None else self.shot

    def by_shot(self) -> Iterator[tuple[int, int, int]]:
        """The shots in it: number, and rows start and stop."""
        shots = self.shots
        begins = np.flatnonzero(np.diff(shots, prepend=-1)).tolist()
        for start, stop in pairwise([*begins, len(shots)]):
            yield int(shots[start]), start, stop

    def size(self, which: Literal["work", "source"]) -> tuple[int, int]:
        """Height and width in pixels, at working size or the source's."""
        return self.source_size if which == "source" else (self.height, self.width)

    def take(self, rows: Sequence[int] | np.ndarray | slice) -> "Segment":
        """The segment with only these rows.

        Rows are positions 0..m-1. Each is taken once and in display order, however they are given.
        """
        kept = np.unique(
            np.arange(len(self))[rows if isinstance(rows, slice) else np.asarray(rows, np.int64)]
        )
        return replace(
            self,
            frame_index=self.frame_index[kept],
            pts=self.pts[kept],
            time_s=self.time_s[kept],
            packets=None if self.packets is None else self.packets[kept],
            images=tuple(self.images[row] for row in kept) if self.images else (),
            shot=None if self.shot is None else self.shot[kept],
        )


def square_size(height: int, width: int, pixel_aspect: Fraction) -> tuple[int, int]:
    """The (height, width) with square pixels: the finer of both directions is kept."""
    if pixel_aspect >= 1:
        return height, max(1, round(width * pixel_aspect))
    return max(1, round(height / pixel_aspect)), width


def working_size(height: int, width: int, short_side: int | None) -> tuple[int, int]:
    """The working (height, width) in pixels for a source of this size.

    The short side becomes `short_side`, up or down; the long side keeps the aspect to the nearest
    even pixel. A source that has that short side already, and `None`, keep the source's size, odd
    sizes included. So does a strip that would be enlarged to MAX_STRIP pixels or more: a line of
    4096 pixels would become a thousand million with 512.
    """
    if short_side is None or short_side == min(height, width):
        return height, width
    if height == width:
        return short_side, short_side
    long_side = max(short_side, 2 * round(max(height, width) * short_side / min(height, width) / 2))
    if (
        long_side > 64 * short_side
        and min(height, width) < short_side
        and short_side * long_side >= MAX_STRIP
    ):
        return height, width
    return (short_side, long_side) if height <= width else (long_side, short_side)


def plan_segments(
    source: Source,
    *,
    size: int | None,
    stride: int = 1,
    start_s: float | None = None,
    end_s: float | None = None,
    min_frames: int = 240,
    shots: Sequence[int] = (),
) -> list[Segment]:
    """Cuts a source into segments that hold its wanted frames; segments without any are left out.

    Cuts lie on keyframes, and where the size of images changes. They depend on the source and
    `min_frames` only. A source that isn't seekable (see probe.py) is one segment.

    Args:
        source: what probe() found.
        size: short side of the working size in pixels; None keeps the source's, but for pixels
            that are not square.
        stride: every n-th frame counted from the source's first.
        start_s, end_s: seconds after the source's first frame, half open [start_s, end_s); None is
            no bound.
        min_frames: source frames in a segment at least, where keyframes and sizes allow.
        shots: frame indices in the source where its second shot and later ones begin, increasing.
    """
    time_s = source.time_s
    wanted = np.zeros(len(source.pts), bool)
    wanted[::stride] = True
    wanted &= (time_s >= (-np.inf if start_s is None else start_s)) & (
        time_s < (np.inf if end_s is None else end_s)
    )
    seeks = (
        np.flatnonzero(source.keyframe)
        if source.kind == "video" and source.seekable
        else np.zeros(0, np.int64)
    )
    borders = np.asarray(shots, np.int64)
    first_shot = int(np.searchsorted(borders, wanted.argmax(), "right"))
    segments = []
    for index, (start, stop) in enumerate(pairwise(_cuts(source, min_frames))):
        frames = start + np.flatnonzero(wanted[start:stop])
        if not len(frames):
            continue
        own = source.sizes[start] if source.kind == "images" else (source.height, source.width)
        source_size = (int(own[0]), int(own[1]))
        height, width = working_size(*square_size(*source_size, source.pixel_aspect), size)
        near = seeks[
            max(0, bisect.bisect_right(seeks, start) - 5) : bisect.bisect_left(seeks, stop)
        ]
        segments.append(
            Segment(
                video=source.video,
                path=source.path,
                kind=source.kind,
                index=index,
                height=height,
                width=width,
                orientation=source.orientation,
                time_base=source.time_base,
                stream=source.stream,
                frame_index=frames,
                pts=source.pts[frames],
                time_s=time_s[frames],
                seek_pts=source.pts[near],
                seek_index=near,
                packets=None if source.packets is None else source.packets[frames],
                images=tuple(source.images[frame] for frame in frames) if source.images else (),
                source_size=source_size,
                pixel_aspect=source.pixel_aspect,
                crop=source.crop,
                shot=np.searchsorted(borders, frames, "right") if len(borders) else None,
                first_shot=first_shot,
            )
        )
    return segments


def _cuts(source: Source, min_frames: int) -> list[int]:
    """Frame indices where segments begin, and the end."""
    count = len(source.pts)
    if not source.seekable:
        return [0, count]
    # stretches of one size; a video has one
    borders = [
        0,
        *(np.flatnonzero((np.diff(source.sizes, axis=0) != 0).any(axis=1)) + 1).tolist(),
        count,
    ]
    cuts = []
    for border, end in pairwise(borders):
        cuts.append(border)
        for keyframe in (border + np.flatnonzero(source.keyframe[border:end])).tolist():
            if keyframe - cuts[-1] >= min_frames and end - keyframe >= min_frames:
                cuts.append(keyframe)
    return [*cuts, count]
