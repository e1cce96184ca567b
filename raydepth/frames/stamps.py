"""Mends time stamps that are missing or do not rise; all others stay as they are."""

import numpy as np

GLITCH = 2
"""Frames within which the time must have caught up where it went back. Where it has not, another
recording begins, which goes on where the one before ended."""

FINEST = 1000
"""Ticks that a tick is divided into at most. Where that is not enough, the stamps say nothing."""


def mend(pts: np.ndarray, known: np.ndarray, step: int) -> tuple[np.ndarray, int, int]:
    """Makes the time stamps of frames in display order rise strictly.

    Stamps that are repeated, missing or wrong are spread evenly between their neighbours. Where
    these leave no room for whole numbers, all stamps are counted in finer ticks.

    Args:
        pts: int64 [n], at least one of them known.
        known: bool [n], where pts hold something.
        step: ticks of a usual frame.

    Returns:
        Stamps int64 [n], how many of their ticks make one of `pts`, and how many frames were given
        a stamp of their own.
    """
    times, kept = _rising(pts, known, step)
    run, room = np.diff(kept), np.diff(times[kept])  # frames and ticks between kept stamps
    finer = int((-(-run // room)).max(initial=1))
    if finer > FINEST:
        return times[kept[0]] + np.arange(len(pts)) * step, 1, len(pts)
    rows = np.arange(len(pts))
    # Ahead of the first and behind the last frames follow at the usual pace.
    knots = np.concatenate([[kept[0] - len(pts)], kept, [kept[-1] + len(pts)]])
    ends = np.array([-1, 1]) * step * len(pts) + times[kept[[0, -1]]]
    marks = np.concatenate([ends[:1], times[kept], ends[1:]]) * finer
    at = np.searchsorted(knots, rows, "right") - 1
    mended = marks[at] + (rows - knots[at]) * np.diff(marks)[at] // np.diff(knots)[at]
    return mended, finer, len(pts) - len(kept)


def _rising(pts: np.ndarray, known: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Time stamps in which a recording that begins anew goes on; rows of those that rise."""
    times = pts.copy()
    rows = np.flatnonzero(known)
    kept: list[int] = []
    offset = 0
    for i, row in enumerate(rows):
        times[row] += offset
        if kept and times[row] <= (last := times[kept[-1]]):
            following = pts[rows[i + 1 : i + 1 + GLITCH]] + offset
            if times[row] == last or (following > last).any():
                continue  # repeated, or a glitch
            if len(kept) > 1 and times[row] > times[kept[-2]]:
                kept.pop()  # the one before ran ahead
            else:
                gone_on = last + step * (row - kept[-1])
                offset += gone_on - times[row]
                times[row] = gone_on
        kept.append(int(row))
    return times, np.array(kept)
