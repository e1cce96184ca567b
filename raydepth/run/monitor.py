"""Watching a run from the driver: the progress line, the deadline, Ctrl-C and SIGTERM, and the
alarm for a silent hang.
"""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from raydepth import interrupt
from raydepth.files.text import printable
from raydepth.run.tracker import Snapshot

POLL_S = 0.2

Stop = Literal["deadline", "interrupt"]


class Stalled(RuntimeError):
    """No worker gave a sign of life for too long; the run was given up instead of hanging."""


class FolderLost(RuntimeError):
    """The lease on an output folder in object storage was lost, so another run may hold it; this
    one was given up.
    """


@dataclass(frozen=True)
class Limits:
    """What ends a run before its time."""

    deadline: float | None
    """``time.monotonic()`` at which nothing new is fed."""
    stall_s: float
    """Seconds without a sign of life after which the run is given up."""
    folder_lost: Callable[[], bool]
    """Whether the output folder is no longer this run's alone."""


class _Watched(Protocol):
    def snapshot(self) -> Snapshot: ...
    def stop(self) -> None: ...


def watch(
    work: Callable[[], object],
    tracker: _Watched,
    *,
    total: int,
    limits: Limits,
    echo: Callable[[str], None],
    keep: Callable[[], None] = lambda: None,
) -> Stop | None:
    """Runs ``work`` in a thread and watches it; returns what asked it to stop before the end, if
    anything did.

    Args:
        work: consumes the dataset; its exception is raised here.
        tracker: counts of the run.
        total: frames to do.
        limits: what ends it early.
        echo: gets what the user should read: workers' notes, why the run stops, and the progress
            where its line cannot be rewritten (no terminal).
        keep: called again and again; puts by what the workers have found.

    Raises:
        Stalled, FolderLost: see ``Limits``.
        KeyboardInterrupt: a second Ctrl-C; the first one stops like the deadline.
    """
    problem: list[BaseException] = []

    def consume() -> None:
        try:
            work()
        except BaseException as error:  # handed to the main thread below
            problem.append(error)

    thread = threading.Thread(target=consume, name="raydepth-consumer", daemon=True)
    line = ProgressLine(total, echo)
    stopped: Stop | None = None
    said = 0
    with sigterm_interrupts(), interrupt.expected() as only_once:
        thread.start()
        while thread.is_alive():
            try:
                thread.join(POLL_S)
                snapshot = tracker.snapshot()
                for note in snapshot.notes[said:]:
                    line.say(note)
                said = len(snapshot.notes)
                line.show(snapshot)
                if (
                    stopped is None
                    and limits.deadline is not None
                    and time.monotonic() >= limits.deadline
                ):
                    stopped = "deadline"
                    only_once()
                    echo(
                        "deadline: finishing what is in flight; run the same command again to go on"
                    )
                    tracker.stop()
                if limits.folder_lost():
                    raise FolderLost(
                        "the lease on the output folder is lost (storage out of reach, or deleted "
                        "by another run); "
                        "what is done is kept, run the same command again to go on"
                    )
                keep()
                if snapshot.silent_s > limits.stall_s:
                    raise Stalled(
                        f"no worker gave a sign of life for {snapshot.silent_s:.0f} s "
                        "(run.stall_minutes); "
                        "what is done is kept, run the same command again to go on"
                    )
            except KeyboardInterrupt:
                if stopped:
                    raise
                stopped = "interrupt"
                only_once()
                echo("interrupted: finishing what is in flight (Ctrl-C again to give up at once)")
                tracker.stop()
    snapshot = tracker.snapshot()
    for note in snapshot.notes[said:]:
        line.say(note)
    line.show(snapshot, last=True)
    if problem:
        raise problem[0]
    return stopped


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """SIGTERM, which ``ray job stop`` and batch systems send before they kill, counts as Ctrl-C."""
    if (
        threading.current_thread() is not threading.main_thread()
    ):  # only there Python lets one set it
        yield
        return
    kept = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, kept)


class ProgressLine:
    """``done/total frames, frames/s, time left, failures``: rewritten in place on a terminal, else
    a line every 15 s.
    """

    def __init__(self, total: int, echo: Callable[[str], None]) -> None:
        self._total = total
        self._echo = echo
        self._started = time.monotonic()
        self._first: float | None = None
        self._shown = -15.0
        self._terminal = sys.stderr.isatty()

    def say(self, text: str) -> None:
        """Gives a line of its own to what the user should read."""
        if self._terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
        self._echo(printable(text))

    def show(self, snapshot: Snapshot, *, last: bool = False) -> None:
        """Shows the state; the rate counts from the first finished frame, so that loading models
        does not blur it.
        """
        now = time.monotonic()
        finished = snapshot.done + snapshot.failed
        if self._first is None and finished:
            self._first = now
        elapsed = now - self._started
        rate = finished / elapsed if elapsed else 0.0
        left = (self._total - finished) / rate if rate else None
        text = (
            f"{finished}/{self._total} frames  {rate:.2f} frames/s  {_clock(left)} left  "
            f"{snapshot.failed} failed"
        )
        if snapshot.restarts:
            text += f"  {snapshot.restarts} restarts"
        if self._terminal:
            sys.stderr.write("\r\x1b[K" + text + ("\n" if last else ""))
            sys.stderr.flush()
        elif last or now - self._shown >= 15:
            self._shown = now
            self._echo(text)


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return "--:--"
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
