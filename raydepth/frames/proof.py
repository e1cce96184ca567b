"""Proves a source's seeks by pictures, and looks at frames whose shape may change.

Time stamps after a seek can be right where pictures are not: a palette or a decoder's header came
with an earlier packet.
"""

from dataclasses import replace

import numpy as np

from raydepth.frames.decode import MIN_JUMP, decode
from raydepth.frames.segments import Segment, plan_segments
from raydepth.frames.source import Source

SIDE = 96
"""Short side in pixels at which pictures are compared."""
ROWS = 4
"""Frames compared from a keyframe on."""
TRIES = 3
"""Keyframes tried where damage leaves nothing to compare."""
TOLERANCE = 4
"""Grey levels by which a gradual refresh may differ."""
MOST_CHANGES = 16
"""Frames looked at, of those where the shape may change."""


def with_proven_seeks(source: Source) -> Source:
    """The source, seekable only if a seek shows the pictures that decoding straight through shows.

    It compares the first frames of the first keyframe that lies so far behind the beginning that
    decode() would seek to it. So it costs the decoding of about one group of pictures.
    """
    keyframes = np.flatnonzero(source.keyframe)
    far = keyframes[keyframes > MIN_JUMP] if source.seekable else keyframes[:0]
    for keyframe in far[:TRIES]:
        rows = np.arange(keyframe, min(keyframe + ROWS, len(source.pts)))
        compared = False
        straight = decode(_whole(replace(source, seekable=False)).take(rows))
        for truth, sought in zip(straight, decode(_whole(source).take(rows)), strict=True):
            if truth.rgb is None:
                continue
            compared = True
            if sought.rgb is None or _differ(truth.rgb, sought.rgb):
                return replace(source, seekable=False)
        if compared:
            break
    return source


def with_changes_named(source: Source, frames: np.ndarray) -> Source:
    """The source, with a remark where the picture's shape changes at one of these frames."""
    if not len(frames):
        return source
    for frame in decode(_whole(source).take(frames[:MOST_CHANGES])):
        if frame.note:
            remark = (
                f"its picture changes its size, first at frame {frame.frame_index} "
                f"({frame.time_s:.2f} s): {frame.note}"
            )
            return replace(source, remarks=(*source.remarks, remark))
    return source


def _whole(source: Source) -> Segment:
    """All frames of a source as one segment."""
    return plan_segments(source, size=SIDE, min_frames=len(source.pts) + 1)[0]


def _differ(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.abs(a.astype(np.int16) - b).max() > TOLERANCE)
