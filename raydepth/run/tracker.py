"""Progress and crash counts of a run, kept outside the workers so that they outlive them; plain
Python, an actor in the pipeline.
"""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # the tracker's own process imports nothing of them: it holds what it is given
    from raydepth.frames.segments import Segment
    from raydepth.output.record import ClipCalibration

LOG_RECORDS = 1000
"""What all workers of a run may log."""

LEASE_S = 30.0
"""A worker that claimed a unit and gave no beat for so long counts as dead."""


@dataclass(frozen=True)
class Attempt:
    """What a worker is told when it begins a unit of work (a part, or a segment to decode)."""

    number: int
    """1 for the first try; every earlier try died with its process."""
    finished: bool
    """The unit was finished before, by a process that then died over another one: nothing is left
    to do."""
    deaths: Mapping[str, int]
    """How often a process died while it was at what: a frame tried alone, or a part being
    decoded."""
    hung: frozenset[str] = frozenset()
    """What of it a process hung at before it was ended."""
    hangs: int = 0
    """How many of the earlier tries ended themselves because something did not come back."""


@dataclass(frozen=True)
class Calibrated:
    """A shot's calibration that the driver has kept."""

    clip: "ClipCalibration | None"
    """None: the shot has no scale."""


@dataclass(frozen=True)
class Failure:
    """What made a worker give up the whole run; said here because Ray passes a worker's error on as
    text.
    """

    message: str
    wrong_job: bool
    """The job is wrong (a JobError), not the machine."""


@dataclass(frozen=True)
class Snapshot:
    """The state of a run at one moment."""

    done: int
    failed: int
    restarts: int
    silent_s: float
    """Seconds since the last sign of life from any worker."""
    notes: tuple[str, ...] = ()
    """What workers have to say to the user so far."""
    loaded: bool = False
    """Whether a worker has loaded its models."""
    shots: int = 0
    """Shots that this run measures."""
    measured: int = 0
    """Of them, those that are."""
    editing: bool = False
    """Whether a part is being edited at the moment."""
    doing: tuple[str, ...] = ()
    """In words, what workers are at that measure shots."""


class Progress(Protocol):
    """What a worker needs of the tracker: ``Tracker`` itself, or a proxy to its Ray actor."""

    def begin(self, unit: str) -> Attempt: ...
    def at(self, unit: str, what: str | None) -> None: ...
    def tick(self, unit: str, frames: int) -> None: ...
    def doing(self, unit: str, what: str) -> None: ...
    def finish(self, unit: str, done: int, failed: int) -> None: ...
    def hung(self, unit: str) -> None: ...
    def stopping(self) -> bool: ...
    def fail(self, failure: Failure) -> None: ...
    def log(self, text: str) -> None: ...
    def starting(self) -> int: ...
    def started(self) -> None: ...
    def note(self, text: str) -> None: ...
    def opened(self) -> bool: ...
    def claim(self, unit: str) -> Attempt | None: ...
    def beat(self, unit: str) -> None: ...
    def segments(self, shot: str) -> "list[Segment]": ...
    def calibrated(self, shot: str, clip: "ClipCalibration | None") -> None: ...
    def calibration(self, shot: str) -> Calibrated | None: ...


class Tracker:
    """Counts what is begun, done and died, and hands on the shots' calibrations. A unit begun again
    without having finished means that its worker died.
    """

    def __init__(self) -> None:
        self._attempts: dict[str, int] = {}
        self._at: dict[str, str | None] = {}
        self._deaths: dict[str, Counter[str]] = {}
        self._hung: set[str] = set()
        self._hangs: Counter[str] = Counter()
        self._partial: dict[str, int] = {}
        self._doing: dict[str, str] = {}
        self._shots = 0
        self._finished: dict[str, tuple[int, int]] = {}
        self._open: set[str] = set()
        self._restarts = self._starting = 0
        self._stop = self._loaded = self._opened = False
        self._notes: list[str] = []
        self._failure: Failure | None = None
        self._log: list[str] = []
        self._log_left = LOG_RECORDS
        self._last_sign = time.monotonic()
        self._claims: dict[str, tuple[str, float]] = {}
        self._segments: dict[str, list[Segment]] = {}
        self._measured: dict[str, ClipCalibration | None] = {}
        self._kept: dict[str, ClipCalibration | None] = {}

    def begin(self, unit: str) -> Attempt:
        """Opens a unit and says which try this is.

        A finished unit stays closed until something of it is touched (``at``): its results may have
        been lost with a node, and what kills its process is known still.
        """
        self._last_sign = time.monotonic()
        finished, died = unit in self._finished, unit in self._open
        if died:
            self._restarts += 1
            what = self._at.pop(unit, None)
            if what is not None:
                self._deaths.setdefault(unit, Counter())[what] += 1
        if finished:
            self._open.discard(unit)
        else:
            self._open.add(unit)
        if died or not finished:
            self._attempts[unit] = self._attempts.get(unit, 0) + 1
        deaths = dict(self._deaths.get(unit, {}))
        hung = frozenset(self._hung & deaths.keys())
        return Attempt(self._attempts[unit], finished, deaths, hung, self._hangs[unit])

    def claim(self, unit: str, who: str = "") -> Attempt | None:
        """Begins a unit that several workers may come to; None while another one is at it.

        A worker that claims again what it has claimed itself has died in between, or one is dead
        that has not beaten for ``LEASE_S``.
        """
        now = time.monotonic()
        owner, beaten = self._claims.get(unit, (who, now))
        if unit in self._open and owner != who and now - beaten < LEASE_S:
            return None
        self._claims[unit] = (who, now)
        return self.begin(unit)

    def beat(self, unit: str, who: str = "") -> None:
        """Notes that the process lives which has claimed a unit; no sign of life for the stall
        alarm, as it may hang.
        """
        if self._claims.get(unit, ("", 0.0))[0] == who:
            self._claims[unit] = (who, time.monotonic())

    def expect(
        self,
        segments: "Mapping[str, list[Segment]]",
        kept: "Mapping[str, ClipCalibration | None]",
    ) -> None:
        """Takes the shots of the run, by shot id: what is measured, and what was kept before."""
        self._segments |= segments
        self._shots = len(self._segments)
        self._kept |= kept

    def segments(self, shot: str) -> "list[Segment]":
        """What a shot is measured from."""
        return self._segments[shot]

    def calibrated(self, shot: str, clip: "ClipCalibration | None") -> None:
        """Takes a calibration from a worker; the first one counts."""
        self._last_sign = time.monotonic()
        if shot not in self._kept:
            self._measured.setdefault(shot, clip)

    def measured(self) -> "dict[str, ClipCalibration | None]":
        """Calibrations that the driver has not kept yet."""
        return self._measured

    def keep(self, shots: list[str]) -> None:
        """Notes that these calibrations are kept; from here on shots are edited by them."""
        for shot in shots:
            self._kept[shot] = self._measured.pop(shot)
            self._segments.pop(shot, None)

    def calibration(self, shot: str) -> Calibrated | None:
        """A shot's calibration; None until the driver has kept it."""
        return Calibrated(self._kept[shot]) if shot in self._kept else None

    def at(self, unit: str, what: str | None) -> None:
        """Notes what a unit's process is about to touch, in case it dies; None: it survived."""
        self._last_sign = time.monotonic()
        self._at[unit] = what
        self._open.add(unit)

    def hung(self, unit: str) -> None:
        """Notes that a unit's process is about to end itself because what it is at does not come
        back.
        """
        self._hangs[unit] += 1
        if (what := self._at.get(unit)) is not None:
            self._hung.add(what)

    def tick(self, unit: str, frames: int) -> None:
        """Notes that ``frames`` frames of an open unit have been edited so far."""
        self._last_sign = time.monotonic()
        self._partial[unit] = frames

    def doing(self, unit: str, what: str) -> None:
        """Notes in words what an open unit's process is at, such as a thing that is tracked; empty:
        at nothing that is worth a word.
        """
        self._last_sign = time.monotonic()
        self._doing[unit] = what

    def finish(self, unit: str, done: int, failed: int) -> None:
        """Closes a unit with its counts of frames; closing it again replaces them."""
        self._last_sign = time.monotonic()
        self._open.discard(unit)
        self._partial.pop(unit, None)
        self._doing.pop(unit, None)
        self._finished[unit] = (done, failed)

    def fail(self, failure: Failure) -> None:
        """Notes why a worker gives up; the first one counts."""
        self._failure = self._failure or failure

    def failure(self) -> Failure | None:
        """What made a worker give up, if one did."""
        return self._failure

    def log(self, text: str) -> None:
        """Takes a record for the run's log from a worker, up to ``LOG_RECORDS``."""
        if self._log_left > 0:
            self._log_left -= 1
            self._log.append(text if self._log_left else "workers log no more; the log is full")

    def logged(self) -> list[str]:
        """Hands over what has come for the log since it was last asked."""
        texts, self._log = self._log, []
        return texts

    def starting(self) -> int:
        """Notes that a worker begins to load its models; returns how many have begun since one was
        last ready.
        """
        self._starting += 1
        return self._starting

    def started(self) -> None:
        """Notes that a worker's models are loaded."""
        self._last_sign = time.monotonic()
        self._starting = 0
        self._loaded = True

    def ready(self) -> bool:
        """Whether a worker has loaded its models, and the run is not stopping."""
        return self._loaded and not self._stop

    def open(self) -> None:
        """Gives the workers the output folder; the driver has made it this job's."""
        self._last_sign = time.monotonic()
        self._opened = True

    def opened(self) -> bool:
        """Whether the output folder is this job's, so that workers may write to it."""
        return self._opened

    def note(self, text: str) -> None:
        """Takes what a worker has to say to the user; what several say counts once."""
        if text not in self._notes:
            self._notes.append(text)

    def stop(self) -> None:
        """Asks the workers to finish what they have begun and to take up nothing new."""
        self._stop = True

    def stopping(self) -> bool:
        """Whether nothing new should be taken up."""
        return self._stop

    def snapshot(self) -> Snapshot:
        """Counts so far; frames of open units are counted as done."""
        silent_s = time.monotonic() - self._last_sign
        done = sum(done for done, _ in self._finished.values()) + sum(self._partial.values())
        failed = sum(failed for _, failed in self._finished.values())
        others = self._open - self._claims.keys()
        return Snapshot(
            done,
            failed,
            self._restarts,
            silent_s,
            tuple(self._notes),
            loaded=self._loaded,
            shots=self._shots,
            measured=self._shots - len(self._segments) + len(self._measured),
            editing=any(not unit.startswith("decode ") for unit in others),
            doing=tuple(filter(None, self._doing.values())),
        )
