"""Watching a run from the driver: how far it has come, the deadline, Ctrl-C and SIGTERM, and the
alarm for a silent hang.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from raydepth import interrupt
from raydepth.files.text import printable
from raydepth.run.pace import Pace
from raydepth.run.terminal import Terminal, shown
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
    loading: Callable[[], tuple[str, str]] = lambda: ("loading models", ""),
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
        loading: the phase and its detail until a worker has loaded its models.

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
    pace = Pace()
    stopped: Stop | None = None
    said = 0

    def show(line: Terminal, *, last: bool = False) -> Snapshot:
        nonlocal said
        snapshot = tracker.snapshot()
        for note in snapshot.notes[said:]:
            line.say(printable(note))
        said = len(snapshot.notes)
        measuring = snapshot.measured < snapshot.shots
        finished = snapshot.done + snapshot.failed
        pace.see(time.monotonic(), finished, editing=snapshot.editing or not measuring)
        phase, detail = state_of(snapshot, pace, total, loading)
        line.begin(phase, detail)
        if last:
            line.say(printable(": ".join(filter(None, (phase, detail)))))
        return snapshot

    with shown(echo) as line, sigterm_interrupts(), interrupt.expected() as only_once:
        thread.start()
        while thread.is_alive():
            try:
                thread.join(POLL_S)
                snapshot = show(line)
                if (
                    stopped is None
                    and limits.deadline is not None
                    and time.monotonic() >= limits.deadline
                ):
                    stopped = "deadline"
                    only_once()
                    line.say(
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
                line.say(
                    "interrupted: finishing what is in flight (Ctrl-C again to give up at once)"
                )
                tracker.stop()
        show(line, last=True)
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


def state_of(
    snapshot: Snapshot, pace: Pace, total: int, loading: Callable[[], tuple[str, str]]
) -> tuple[str, str]:
    """The phase that the workers are in, and how far they have come, in words.

    Args:
        snapshot: of now.
        pace: what was seen until now.
        total: frames to edit.
        loading: the phase and its detail while models are loaded.
    """
    finished = snapshot.done + snapshot.failed
    measuring = f"shot {snapshot.measured + 1} of {snapshot.shots}"
    if snapshot.doing:
        measuring += f": {', '.join(snapshot.doing)}"
    if not finished and not snapshot.loaded:
        return loading()
    if not finished and not snapshot.editing and snapshot.measured < snapshot.shots:
        return "calibrating", measuring
    rate = "-" if pace.rate is None else f"{pace.rate:.2f}"
    text = (
        f"{finished}/{total} frames  {rate} frames/s  {_clock(pace.left_s(total))} left  "
        f"{snapshot.failed} failed"
    )
    if snapshot.restarts:
        text += f"  {snapshot.restarts} restarts"
    if snapshot.measured < snapshot.shots and not snapshot.editing:
        text += f"  calibrating {measuring}"
    return "editing", text


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return "--:--"
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
