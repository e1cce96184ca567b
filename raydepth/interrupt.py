"""Ctrl-C: an answer and an end within a second, whatever the program is at.

Python raises KeyboardInterrupt in the main thread, once that is back from what it calls: an import,
a download, a decoder, a wait for threads, which may take many seconds. So another thread watches
for the signal too.
"""

import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

ANSWER = "interrupted; what is done is kept, run the same command again to go on"
GRACE_S = 0.6
"""What the main thread gets to put things back, before the process is ended as it is."""
_HEARD_S = 0.2
"""A main thread that has not heard of the signal by then is busy in what it calls."""

_expected = threading.Event()
"""Set while the next Ctrl-C has somebody who deals with it."""


@contextmanager
def expected() -> Iterator[Callable[[], None]]:
    """While Ctrl-C is the caller's own business, who catches KeyboardInterrupt and goes on.

    Gives what ends that early: from then on, Ctrl-C ends the program again.
    """
    _expected.set()
    try:
        yield _expected.clear
    finally:
        _expected.clear()


@contextmanager
def answered(code: int, say: Callable[[str], object]) -> Iterator[None]:
    """Ends the process and its children with a code where Ctrl-C is pressed, after ``say(ANSWER)``.

    Outside of the main thread it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ended = threading.Lock()

    def end(grace_s: float) -> None:
        if ended.acquire(blocking=False):
            say(ANSWER)
            time.sleep(grace_s)
            _end_at_once(code)
        time.sleep(2 * GRACE_S)  # another thread is at it

    verdicts: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def hear(number: int, frame: FrameType | None) -> None:
        verdicts.put(_expected.is_set())
        raise KeyboardInterrupt

    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def watch() -> None:
        unheard = 0
        while signals := os.read(reader, 1):
            if signals[0] != signal.SIGINT:
                continue
            try:
                *_, is_expected = [verdicts.get(timeout=_HEARD_S) for _ in range(1 + unheard)]
                unheard = 0
            except queue.Empty:
                unheard += 1
                is_expected = _expected.is_set() and unheard < 2
            if not is_expected:
                end(GRACE_S)
        os.close(reader)

    handler = signal.signal(signal.SIGINT, hear)
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=watch, name="raydepth-interrupt", daemon=True).start()
    try:
        yield
    except KeyboardInterrupt:
        end(0)
    finally:
        signal.set_wakeup_fd(wakeup)
        signal.signal(signal.SIGINT, handler)
        os.close(writer)


def _end_at_once(code: int) -> None:
    """Ends the process and its children, without waiting for its threads."""
    import psutil  # here, as few runs need it

    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(code)
