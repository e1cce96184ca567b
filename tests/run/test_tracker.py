"""The tracker's counts: what finished, what died, and on what."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from raydepth.run import tracker as tracking
from raydepth.run.monitor import FolderLost, Limits, Stalled, watch
from raydepth.run.tracker import Calibrated, Tracker


def limits(deadline: float | None = None, stall_s: float = 60, lost: bool = False) -> Limits:
    return Limits(deadline, stall_s, lambda: lost)


def test_a_unit_begun_twice_has_died_once():
    tracker = Tracker()
    assert tracker.begin("part").number == 1
    tracker.tick("part", 5)
    assert tracker.snapshot().done == 5
    assert tracker.begin("part").number == 2
    assert tracker.snapshot().restarts == 1
    tracker.finish("part", 8, 1)
    snapshot = tracker.snapshot()
    assert (snapshot.done, snapshot.failed) == (8, 1)


def test_a_death_is_blamed_on_what_was_touched_last():
    tracker = Tracker()
    tracker.begin("part")
    tracker.at("part", "a")
    tracker.at("part", None)
    assert tracker.begin("part").deaths == {}
    tracker.at("part", "b")
    assert tracker.begin("part").deaths == {"b": 1}
    tracker.at("part", "b")
    assert tracker.begin("part").deaths == {"b": 2}


def test_a_finished_unit_may_be_begun_again_without_blame():
    tracker = Tracker()
    tracker.begin("part")
    tracker.finish("part", 1, 0)
    again = tracker.begin("part")
    assert (again.number, again.finished) == (1, True)
    tracker.finish("part", 1, 0)
    snapshot = tracker.snapshot()
    assert (snapshot.restarts, snapshot.done) == (0, 1)  # counted once


def test_what_killed_a_finished_unit_is_known_when_it_is_run_again():
    """A segment is decoded again where the node with its frames is lost."""
    tracker = Tracker()
    for _ in range(2):
        tracker.begin("decode")
        tracker.at("decode", "poison")
    assert tracker.begin("decode").deaths == {"poison": 2}
    tracker.at("decode", "good")
    tracker.at("decode", None)
    tracker.finish("decode", 0, 0)
    assert tracker.begin("decode").deaths == {"poison": 2}
    tracker.at("decode", "late")  # a death while it is run again counts like any other
    restarts = tracker.snapshot().restarts
    again = tracker.begin("decode")
    assert again.deaths == {"poison": 2, "late": 1}
    assert tracker.snapshot().restarts == restarts + 1
    tracker.finish("decode", 0, 0)
    assert tracker.begin("decode").deaths == {"poison": 2, "late": 1}
    assert tracker.snapshot().restarts == restarts + 1


def test_starts_count_until_one_worker_is_ready():
    tracker = Tracker()
    assert [tracker.starting(), tracker.starting()] == [1, 2]
    tracker.started()
    assert tracker.starting() == 1


def test_watching_ends_with_the_work_and_passes_its_error_on():
    tracker = Tracker()
    tracker.started()
    lines: list[str] = []
    assert watch(lambda: None, tracker, total=0, limits=limits(), echo=lines.append) is None
    assert lines[-1].startswith("editing: 0/0 frames")
    with pytest.raises(ZeroDivisionError):
        watch(lambda: 1 / 0, tracker, total=0, limits=limits(), echo=lines.append)


def test_what_workers_have_to_say_is_said_once():
    tracker = Tracker()
    tracker.started()
    lines: list[str] = []

    def work() -> None:
        for text in ("the prompt is cut", "the prompt is cut", "1 of 2 layers fit"):
            tracker.note(text)
            time.sleep(0.3)

    watch(work, tracker, total=0, limits=limits(), echo=lines.append)
    assert [line for line in lines if "frames" not in line] == [
        "the prompt is cut",
        "1 of 2 layers fit",
    ]


@pytest.mark.timeout(30)
def test_a_silent_hang_is_an_error():

    with pytest.raises(Stalled, match="sign of life"):
        watch(
            threading.Event().wait,
            Tracker(),
            total=1,
            limits=limits(stall_s=0.5),
            echo=lambda line: None,
        )


@pytest.mark.timeout(30)
def test_the_deadline_asks_to_stop_and_waits_for_what_is_in_flight():

    tracker = Tracker()

    def work() -> None:
        while not tracker.stopping():
            time.sleep(0.01)

    assert (
        watch(
            work, tracker, total=1, limits=limits(deadline=time.monotonic()), echo=lambda line: None
        )
        == "deadline"
    )


def test_a_lost_folder_ends_the_run():
    with pytest.raises(FolderLost, match="lease"):
        watch(
            threading.Event().wait,
            Tracker(),
            total=1,
            limits=limits(lost=True),
            echo=lambda line: None,
        )


def test_what_hung_is_told_from_what_died():
    tracker = Tracker()
    tracker.begin("decode a")
    tracker.at("decode a", "a-1")
    tracker.hung("decode a")
    tracker.begin("decode a")
    tracker.at("decode a", "a-2")
    attempt = tracker.begin("decode a")
    assert (attempt.deaths, attempt.hung) == ({"a-1": 1, "a-2": 1}, {"a-1"})


_TERMINATED = """
import os, signal, time
from raydepth.run.monitor import Limits, watch
from raydepth.run.tracker import Tracker

tracker, kept = Tracker(), signal.getsignal(signal.SIGTERM)

def work():
    time.sleep(0.3)  # until it is watched
    os.kill(os.getpid(), signal.SIGTERM)
    while not tracker.stopping():
        time.sleep(0.01)

print(watch(work, tracker, total=1, limits=Limits(None, 60, lambda: False), echo=lambda line: None))
assert signal.getsignal(signal.SIGTERM) == kept
"""


def test_sigterm_counts_as_the_first_interrupt():
    """In a process of its own: only a main thread hears signals, and pytest may run tests in
    another.
    """
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", _TERMINATED], cwd=root, capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout) == (0, "interrupt\n"), done.stderr


def test_a_claim_is_one_workers_until_it_dies(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tracking, "LEASE_S", 0.3)
    tracker = Tracker()
    first = tracker.claim("calibrate v", "a")
    assert first is not None
    assert first.number == 1
    assert tracker.claim("calibrate v", "b") is None
    again = tracker.claim("calibrate v", "a")  # its process died, and Ray has replaced it
    assert again is not None
    assert again.number == 2
    for _ in range(4):
        time.sleep(0.15)
        tracker.beat("calibrate v", "a")
        tracker.beat("calibrate v", "b")  # not its own
        assert tracker.claim("calibrate v", "b") is None
    time.sleep(0.35)
    taken = tracker.claim("calibrate v", "b")
    assert taken is not None
    assert taken.number == 3
    assert tracker.claim("calibrate v", "a") is None
    tracker.finish("calibrate v", 0, 0)
    done = tracker.claim("calibrate v", "a")
    assert done is not None
    assert done.finished
    assert tracker.snapshot().restarts == 2


def test_calibrations_are_handed_on_when_they_are_kept():
    tracker = Tracker()
    tracker.expect({"new": []}, {"old": None})
    assert tracker.calibration("old") == Calibrated(None)
    tracker.calibrated("new", None)
    assert tracker.calibration("new") is None
    assert tracker.measured() == {"new": None}
    tracker.keep(["new"])
    assert tracker.calibration("new") == Calibrated(None)
    assert not tracker.measured()
    tracker.calibrated("new", None)  # by one who was taken for dead
    assert not tracker.measured()
