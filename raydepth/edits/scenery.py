"""The new background: a colour, a picture, or a clip decoded at the frames' times."""

from collections import OrderedDict
from dataclasses import replace
from typing import Literal

import numpy as np

from raydepth.errors import JobError
from raydepth.files.pictures import cover_size, crop_middle, parse_colour, read_cover
from raydepth.frames.decode import decode
from raydepth.frames.probe import probe
from raydepth.frames.segments import plan_segments
from raydepth.frames.sources import IMAGE_SUFFIXES, SourceError, suffix

_KEEP = 16
"""Decoded frames of a clip that are kept: a batch's, and what the next batch repeats of them."""


class SceneryError(RuntimeError):
    """The new scene has no picture for a frame."""


class Scenery:
    """Pictures of the new scene; ``constant``: one picture for all times."""

    def __init__(self, source: str, play: Literal["in_step", "loop"]) -> None:
        """Opens what ``edit.source`` names.

        Raises:
            JobError: it is missing, or neither a picture nor a clip.
        """
        self.source, self._play = source, play
        self.colour = parse_colour(source) if source.startswith("#") else None
        self._frames: OrderedDict[tuple[int, tuple[int, int]], np.ndarray] = OrderedDict()
        self.constant = self.colour is not None or suffix(source) in IMAGE_SUFFIXES
        if self.colour is not None:
            return
        try:
            if self.constant:
                read_cover(source, (8, 8))
                return
            clip = probe(source)
        except (SourceError, OSError) as error:
            if self.constant:
                raise JobError(f"edit.source: {error}") from error
            raise JobError(
                f"edit.source: {source} can be read neither as a picture nor as a clip, and is no "
                f"colour #rrggbb: {error}"
            ) from error
        self._segments = plan_segments(clip, size=None)
        self._times = np.concatenate([segment.time_s for segment in self._segments])
        self._starts = np.cumsum([0, *(len(segment) for segment in self._segments)])
        step = float(np.median(np.diff(self._times))) if len(self._times) > 1 else 0.04
        self._length = float(self._times[-1] - self._times[0]) + step

    def rows(self, time_s: np.ndarray) -> np.ndarray:
        """Which frame of the clip is shown at these times, int64 [N]: the last that has begun.

        Zeros for a constant scene.
        """
        if self.constant:
            return np.zeros(len(time_s), np.int64)
        at = time_s % self._length if self._play == "loop" else time_s
        # Time stamps of two clips are rounded to different time bases; half a millisecond is no
        # frame.
        return np.maximum(np.searchsorted(self._times - self._times[0], at + 5e-4, "right") - 1, 0)

    def pictures(self, rows: np.ndarray, frame: tuple[int, int]) -> np.ndarray:
        """These frames, scaled and cropped to cover a frame (height, width): uint8 [N,H,W,3].

        Raises:
            SceneryError: a frame cannot be decoded.
        """
        if self.colour is not None:
            return np.broadcast_to(self.colour, (len(rows), *frame, 3)).copy()
        if self.constant:
            return np.repeat(read_cover(self.source, frame)[None], len(rows), axis=0)
        missing = np.unique([row for row in rows if (int(row), frame) not in self._frames])
        for index, segment in enumerate(self._segments):
            start, stop = self._starts[index : index + 2]
            inside = missing[(missing >= start) & (missing < stop)].astype(np.int64)
            if not len(inside):
                continue
            height, width = cover_size(segment.height, segment.width, frame)
            part = replace(segment.take(inside - start), height=height, width=width)
            for row, found in zip(inside, decode(part), strict=True):
                if found.rgb is None:
                    raise SceneryError(f"edit.source: {self.source}: {found.error_message}")
                self._frames[int(row), frame] = crop_middle(found.rgb, frame)
        pictures = np.stack([self._frames[int(row), frame] for row in rows])
        while len(self._frames) > max(_KEEP, len(rows)):
            self._frames.popitem(last=False)
        return pictures

    def sample(self, count: int, frame: tuple[int, int]) -> np.ndarray:
        """Some frames spread over the whole scene, uint8 [<=count,H,W,3]."""
        return self.pictures(self.spread(count), frame)

    def spread(self, count: int) -> np.ndarray:
        """Some frames spread over the whole scene, int64 [<=count], as ``pictures`` takes them."""
        last = 0 if self.constant else len(self._times) - 1
        return np.unique(np.linspace(0, last, count).round().astype(np.int64))
