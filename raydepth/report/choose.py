"""Which frames the report shows: first, middle, last, and the worst by each of three RMSEs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from raydepth.evaluate.measures import THREE_RMSES

FULL_VIDEOS = 3
"""Up to so many videos show their first, middle and last frame; of more, only the middle frame of
some is shown."""
SPREAD_VIDEOS = 8
WORST = 3
"""Worst frames shown for each RMSE."""


@dataclass
class Example:
    """A frame to show, and why."""

    row: dict[str, Any]
    reasons: list[str]


def choose(frames: pa.Table) -> tuple[list[Example], list[Example]]:
    """Examples and worst frames from the table of all frames; done frames only.

    The table has one row a frame in order of path and frame. A frame that is worst in several ways
    is shown once with all its reasons. An RMSE that is 0 or the same everywhere has no worst frame.
    """
    done = frames.filter(pa.compute.equal(frames["status"], "ok"))
    examples: list[Example] = []
    videos = np.array(done["video"].to_pylist(), object)
    names = list(dict.fromkeys(videos))
    for name in _spread(names, SPREAD_VIDEOS) if len(names) > FULL_VIDEOS else names:
        rows = np.flatnonzero(videos == name)
        places = {
            "first frame": rows[0],
            "middle frame": rows[len(rows) // 2],
            "last frame": rows[-1],
        }
        if len(rows) == 1:
            places = {"only frame": rows[0]}
        elif len(names) > FULL_VIDEOS:
            places = {"middle frame": places["middle frame"]}
        _collect(examples, done, [(int(row), reason) for reason, row in places.items()])
    worst: list[Example] = []
    for name in THREE_RMSES:
        if name in done.schema.names:
            values = done[name].cast(pa.float64()).to_numpy()
            _collect(worst, done, [(row, name) for row in worst_rows(values, WORST)])
    return examples, worst


def worst_rows(values: np.ndarray, count: int) -> list[int]:
    """Rows of the largest finite values, worst first; none where all are equal."""
    finite = np.flatnonzero(np.isfinite(values))
    if finite.size == 0 or values[finite].max() == values[finite].min():
        return []
    return [int(row) for row in finite[np.argsort(-values[finite], kind="stable")][:count]]


def _spread(names: list[str], count: int) -> list[str]:
    places = np.linspace(0, len(names) - 1, min(count, len(names))).round().astype(int)
    return [names[place] for place in places]


def _collect(into: list[Example], frames: pa.Table, chosen: list[tuple[int, str]]) -> None:
    for row, reason in chosen:
        record = frames.slice(row, 1).to_pylist()[0]
        same = next(
            (example for example in into if example.row["frame_id"] == record["frame_id"]), None
        )
        if same:
            same.reasons.append(reason)
        else:
            into.append(Example(record, [reason]))
