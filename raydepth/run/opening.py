"""The moment from which a run changes its output folder; on the driver."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
        with _interrupts_wait():
            self._take_over()
            self.done = True
        self._tracker.open()


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Lets Ctrl-C and SIGTERM interrupt what follows, so that what is within is not done by halves:
    the next run must know whose the frames are.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone is interrupted
        yield
        return
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    kept = {number: signal.signal(number, lambda *at: came.append(at[0])) for number in numbers}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt
