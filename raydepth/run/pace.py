"""How fast frames are edited, and how long the rest will take; plain numbers, no clock."""

import math
from collections import deque
from itertools import pairwise

WINDOW_S = 900.0
"""The rate is that of so many seconds of editing, as later clips may be larger."""
STEPS = 1000
"""Of the window, as many moments are kept."""


class Pace:
    """The rate of editing from what is seen of a run.

    The start does not count: time runs from the first frames that came out. Neither does time in
    which every worker measures shots.
    """

    def __init__(self) -> None:
        self._edited_s = 0.0
        self._last: float | None = None
        self._seen: deque[tuple[float, int]] = deque()

    def see(self, now_s: float, finished: int, *, editing: bool = True) -> None:
        """Takes in how many frames are finished at a moment.

        Args:
            now_s: of any clock.
            finished: frames that are done or have failed.
            editing: whether frames have been edited since the moment before.
        """
        if self._last is not None and self._seen and editing:
            self._edited_s += now_s - self._last
        self._last = now_s
        if not finished or (self._seen and finished == self._seen[-1][1]):
            return
        self._seen.append((self._edited_s, finished))
        while len(self._seen) > 2 and (
            self._edited_s - self._seen[0][0] > WINDOW_S or len(self._seen) > STEPS
        ):
            self._seen.popleft()

    @property
    def rate(self) -> float | None:
        """Frames a second; None while there is nothing to tell it from."""
        ends = self._ends_of_bursts()
        if len(ends) < 2:
            return None
        (began, before), (now, finished) = ends[0], ends[-1]
        return (finished - before) / (now - began)

    def left_s(self, total: int) -> float | None:
        """Seconds until so many frames are finished; None while there is no rate."""
        if (rate := self.rate) is None:
            return None
        seen_at, finished = self._ends_of_bursts()[-1]
        return max((total - finished) / rate - (self._edited_s - seen_at), 0.0)

    def _ends_of_bursts(self) -> list[tuple[float, int]]:
        """The moments to count between.

        Workers that began together end their batches together, and between two such bursts lies the
        time that all frames of the later one took.
        """
        times = [at for at, _ in self._seen] + [self._edited_s]
        pauses = [after - before for before, after in pairwise(times)]
        if not pauses:
            return []
        long = sorted(pauses)[math.ceil(0.9 * (len(pauses) - 1))]
        return [
            seen for seen, pause in zip(self._seen, pauses, strict=True) if 2 * pause >= long > 0
        ]
