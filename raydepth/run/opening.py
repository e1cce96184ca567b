"""The moment from which a run changes its output folder; on the driver."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol


class _Loading(Protocol):
    def ready(self) -> bool: ...
    def open(self) -> None: ...


class Opening:
    """Takes the folder over when the first worker has loaded its models, then lets the workers
    begin.

    What only they can find wrong with a job is found by then, and the folder is as it was.

    Attributes:
        done: whether the folder is this run's.
    """

    def __init__(self, take_over: Callable[[], object], tracker: _Loading) -> None:
        """Args: take_over: see ``prepare.Work``; tracker: the run's."""
        self._take_over, self._tracker, self.done = take_over, tracker, False

    def __call__(self) -> None:
        """Looks whether it is time."""
        if self.done or not self._tracker.ready():
            return
        with ThreadPoolExecutor(1) as pool:  # where Ctrl-C does not end it by halves
            taken = pool.submit(self._take_over)
            try:
                taken.result()
            finally:
                self.done = taken.exception() is None
        self._tracker.open()
