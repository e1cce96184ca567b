"""The output folder is taken over when a worker has loaded its models, and whole."""

import signal

import pytest

from raydepth.run.opening import Opening
from raydepth.run.tracker import Tracker


def test_it_waits_for_the_models():
    tracker, taken = Tracker(), []
    opening = Opening(lambda: taken.append("over"), tracker)
    opening()
    tracker.starting()
    opening()
    assert (taken, opening.done, tracker.opened()) == ([], False, False)
    tracker.started()
    opening()
    opening()
    assert (taken, opening.done, tracker.opened()) == (["over"], True, True)


def test_a_run_that_is_stopping_takes_nothing_over():
    tracker, taken = Tracker(), []
    opening = Opening(lambda: taken.append("over"), tracker)
    tracker.stop()
    tracker.started()
    opening()
    assert (taken, opening.done, tracker.opened()) == ([], False, False)


def test_an_interrupt_in_the_middle_leaves_no_half():
    tracker, steps = Tracker(), []

    def take_over() -> None:
        steps.append("cleared")
        signal.raise_signal(signal.SIGINT)
        steps.append("recorded")

    opening = Opening(take_over, tracker)
    tracker.started()
    with pytest.raises(KeyboardInterrupt):
        opening()
    assert steps == ["cleared", "recorded"]
    assert opening.done
