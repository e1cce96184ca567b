"""The tracker's counts: what finished, what died, and on what."""

import pytest

from raydepth.monitor import Stalled, watch
from raydepth.tracker import Tracker


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


def test_starts_count_until_one_worker_is_ready():
    tracker = Tracker()
    assert [tracker.starting(), tracker.starting()] == [1, 2]
    tracker.started()
    assert tracker.starting() == 1


def test_watching_ends_with_the_work_and_passes_its_error_on():
    tracker = Tracker()
    lines: list[str] = []
    assert watch(lambda: None, tracker, total=0, deadline=None, stall_s=60, say=lines.append) is None
    assert lines[-1].startswith("0/0 frames")
    with pytest.raises(ZeroDivisionError):
        watch(lambda: 1 / 0, tracker, total=0, deadline=None, stall_s=60, say=lines.append)


@pytest.mark.timeout(30)
def test_a_silent_hang_is_an_error():
    import threading

    with pytest.raises(Stalled, match="sign of life"):
        watch(threading.Event().wait, Tracker(), total=1, deadline=None, stall_s=0.5, say=lambda line: None)


@pytest.mark.timeout(30)
def test_the_deadline_asks_to_stop_and_waits_for_what_is_in_flight():
    import time

    tracker = Tracker()

    def work() -> None:
        while not tracker.stopping():
            time.sleep(0.01)

    assert (
        watch(work, tracker, total=1, deadline=time.monotonic(), stall_s=60, say=lambda line: None)
        == "deadline"
    )
