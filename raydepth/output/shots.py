"""Which shots a job has: where each begins and ends, and what was measured of it."""

from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import PurePath
from typing import Any

import pyarrow as pa

from raydepth.batch import shot_id
from raydepth.output.plan import Part
from raydepth.output.record import ClipCalibration


def shot_rows(plan: pa.Table, measured: Mapping[str, ClipCalibration]) -> list[dict[str, Any]]:
    """The shots of a plan, in its order, as rows of ``report.json``.

    Args:
        plan: what ``read_plan`` read.
        measured: by shot id, calibrations; a shot that is missing here has no scale yet.
    """
    columns = ("video", "path", "shot", "frame_index", "time_s")
    frames = zip(*(plan[name].to_pylist() for name in columns), strict=True)
    found = []
    for (video, path, shot), group in groupby(frames, key=lambda frame: frame[:3]):
        if video is None:  # a source that could not be read
            continue
        own = [frame[3:] for frame in group]
        clip = measured.get(shot_id(video, shot))
        found.append(
            {
                "video": video,
                "path": path,
                "shot": shot,
                "frames": len(own),
                "first_frame_index": own[0][0],
                "last_frame_index": own[-1][0],
                "start_s": own[0][1],
                "end_s": own[-1][1],
                "depth_lo": clip and clip.depth.lo,
                "depth_hi": clip and clip.depth.hi,
                "planes": list(clip.planes) if clip else None,
            }
        )
    return found


def shots_in_words(parts: Iterable[Part]) -> list[str]:
    """A line for each source of several shots: how many it has, and when they begin."""
    lines = []
    for _, group in groupby(parts, key=lambda part: part.segment.video):
        own = list(group)
        begins = [next(shot) for _, shot in groupby(own, key=lambda part: part.shot)]
        if len(begins) > 1:
            times = ", ".join(f"{part.segment.time_s[part.start]:.2f}" for part in begins)
            name = PurePath(own[0].segment.path).name
            lines.append(f"{name}: {len(begins)} shots, from {times} s")
    return lines
