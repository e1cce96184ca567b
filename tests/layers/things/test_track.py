"""Tracking on made shapes: masks follow what moves, lost and hidden things are said, both ways are
one, and memory stays bounded.
"""

from collections.abc import Callable

import numpy as np
import pytest

from raydepth.layers.things.protocol import Found
from raydepth.layers.things.rows import Click, overlap
from raydepth.layers.things.track import track
from tests.layers.things.shapes import Exact, Moving


def follow(shot: Moving, segmenter, *clicked: int):
    masks: dict[int, np.ndarray] = {}
    clicks = [Click("box", row, shot.click(row)) for row in clicked]
    rows = track(
        shot, ["box"], clicks, segmenter, lambda row, name, mask: masks.update({row: mask})
    )
    return rows, masks


def right(row: int) -> int:
    return 10 + 2 * row


def test_a_thing_is_followed_both_ways():
    shot = Moving(right, 41)
    rows, masks = follow(shot, Exact(shot), 17)
    assert rows.state[:, 0].tolist() == ["seen"] * 41
    assert sorted(masks) == list(range(41))
    assert min(overlap(masks[row], shot.truth[row]) for row in masks) > 0.9
    assert np.nanmin(rows.iou) > 0.85 and np.isnan(rows.iou[17, 0])
    measured = np.isfinite(rows.depth[:, 0, 0])
    assert measured[::4].all() and not measured[1:16:4].any()
    assert np.allclose(rows.depth[measured, 0, 0], 0.8)


def test_backward_is_forward_on_the_reversed_clip():
    there = Moving(right, 41)
    back = Moving(lambda row: right(40 - row), 41)
    ahead, masks = follow(there, Exact(there), 0)
    reverse, mirrored = follow(back, Exact(back), 40)
    assert all(np.array_equal(masks[row], mirrored[40 - row]) for row in range(41))
    assert np.array_equal(ahead.iou, reverse.iou[::-1], equal_nan=True)
    assert ahead.state.tolist() == reverse.state[::-1].tolist()


def test_the_same_again():
    shot = Moving(right, 30)
    (rows, masks), (again, others) = (follow(shot, Exact(shot), 11) for _ in range(2))
    assert np.array_equal(rows.iou, again.iou, equal_nan=True)
    assert all(np.array_equal(masks[row], others[row]) for row in masks)


def test_one_bad_answer_is_forgiven():
    shot = Moving(right, 24)
    rows, masks = follow(shot, Exact(shot, wrong=[8]), 0)
    assert rows.state[:, 0].tolist() == ["seen"] * 24
    assert min(overlap(masks[row], shot.truth[row]) for row in masks) > 0.85


def test_a_broken_track_is_lost_from_where_it_broke():
    shot = Moving(right, 24)
    rows, _ = follow(shot, Exact(shot, wrong=range(8, 24)), 0)
    assert rows.state[:, 0].tolist() == ["seen"] * 8 + ["lost"] * 16


def test_doubt_at_the_end_is_no_track():
    shot = Moving(right, 10)
    rows, _ = follow(shot, Exact(shot, wrong=[8, 9]), 0)
    assert rows.state[:, 0].tolist() == ["seen"] * 8 + ["lost"] * 2


def failing_until(shot: Moving, last: int):
    """A segmenter that finds nothing from its fourth call to the one before ``last``."""
    calls = {"n": 0}
    answer: Callable = Exact(shot).__call__

    def failing(picture, prompts):
        calls["n"] += 1
        if 4 <= calls["n"] < last:
            return [Found(np.zeros((96, 144), bool), 0.0) for _ in prompts]
        return answer(picture, prompts)

    failing.every, failing.name = 4, "failing"
    return failing


def test_a_lost_thing_is_found_again():
    shot = Moving(lambda row: 40, 40)
    states = follow(shot, failing_until(shot, 18), 0)[0].state[:, 0].tolist()
    assert "lost" in states and states[-1] == "seen"
    first = states.index("lost")
    assert states == ["seen"] * first + ["lost"] * states.count("lost") + ["seen"] * (
        40 - first - states.count("lost")
    )


def test_a_short_break_is_mended_from_where_the_thing_is_found_again():
    shot = Moving(lambda row: 40 + row // 2, 40)
    rows, masks = follow(shot, failing_until(shot, 16), 0)
    assert rows.state[:, 0].tolist() == ["seen"] * 40
    assert min(overlap(masks[row], shot.truth[row]) for row in range(40)) > 0.8


def test_a_break_whose_ends_do_not_meet_stays_lost():
    shot = Moving(lambda row: 20 if row < 14 else 90, 40)  # it is elsewhere when it is found
    states = follow(shot, failing_until(shot, 16), 0)[0].state[:, 0].tolist()
    assert states.count("lost") >= 4 and states[-1] == "seen"


def test_another_thing_in_its_place_is_not_taken_for_it():
    shot = Moving(right, 40)
    other = Moving(right, 40)
    other.box = 255 - other.box
    view = shot.view
    shot.view = lambda row: view(row) if row < 8 else other.view(row)
    rows, _ = follow(shot, Exact(shot, wrong=range(8, 16)), 0)
    assert rows.state[8:, 0].tolist() == ["lost"] * 32


def test_what_leaves_through_the_border_is_hidden():
    shot = Moving(lambda row: 60 - 4 * row, 36)
    rows, masks = follow(shot, Exact(shot), 0)
    states, gone = rows.state[:, 0].tolist(), [not mask.any() for mask in shot.truth].index(True)
    assert states[: gone - 2] == ["seen"] * (gone - 2)
    assert states[gone:] == ["hidden"] * (36 - gone)
    assert max(masks) <= gone


def test_what_comes_back_is_found():
    shot = Moving(lambda row: 60 - 4 * row if row < 30 else min(60, -40 + 4 * (row - 30)), 70)
    rows, masks = follow(shot, Exact(shot), 0)
    states = rows.state[:, 0].tolist()
    assert states[30] == "hidden" and states[-1] == "seen" and "lost" not in states
    assert overlap(masks[69], shot.truth[69]) > 0.9


def test_what_comes_back_without_a_feature_is_found_by_what_has_changed():
    def course(row: int) -> int:
        return 60 - 4 * row if row < 30 else max(60, 150 - 4 * (row - 34))

    shot = Moving(course, 80)
    shot.box[:] = (210, 180, 140)  # plain: there is nothing to match
    rows, masks = follow(shot, Exact(shot), 0)
    states = rows.state[:, 0].tolist()
    back = [row for row in range(30, 80) if shot.truth[row].sum() > 0.3 * 40 * 36]
    assert states[28] == states[33] == "hidden" and "lost" not in states
    assert all(states[row] == "seen" for row in back)
    assert min(overlap(masks[row], shot.truth[row]) for row in back) > 0.7


def test_a_newcomer_of_other_colours_is_not_taken_for_it():
    shot = Moving(lambda row: 60 - 4 * row if row < 30 else max(60, 150 - 4 * (row - 34)), 80)
    shot.box[:] = (210, 180, 140)
    other = Moving(shot.x, 80)
    other.box[:] = (140, 60, 220)
    view = shot.view
    shot.view = lambda row: view(row) if row < 30 else other.view(row)
    rows, _ = follow(shot, Exact(shot), 0)
    assert set(rows.state[30:, 0]) == {"hidden"}


def test_a_later_click_begins_anew():
    shot = Moving(right, 30)
    segmenter = Exact(shot, wrong=range(8, 20))
    rows, _ = follow(shot, segmenter, 0, 20)
    assert rows.state[:, 0].tolist() == ["seen"] * 8 + ["lost"] * 12 + ["seen"] * 10


def test_things_share_a_call():
    shot = Moving(right, 20)
    segmenter = Exact(shot)
    clicks = [Click(name, 0, shot.click(0)) for name in ("one", "two", "three")]
    rows = track(shot, ["one", "two", "three"], clicks, segmenter, lambda *_: None)
    assert (rows.state == "seen").all()
    assert len(segmenter.asked) == 1 + 4 + 1, "at the click, both ways, and every fourth frame"
    assert shot.decoded == 20 + 1


def test_nothing_clicked_is_absent_and_costs_nothing():
    shot = Moving(right, 20)
    rows = track(shot, ["box"], [], Exact(shot), lambda *_: None)
    assert rows.state[:, 0].tolist() == ["absent"] * 20 and not shot.decoded


class Remembering(Exact):
    """As a model with memory: it follows by itself."""

    def start(self, picture, prompts):
        self.open = getattr(self, "open", 0) + 1
        outer, count = self, len(prompts)

        class Following:
            found = outer(picture, prompts)

            def step(self, picture):
                return outer(picture, [None] * count)

            def stop(self):
                outer.open -= 1

        return Following()


def test_a_model_with_memory_is_asked_for_every_frame():
    shot = Moving(right, 21)
    segmenter = Remembering(shot)
    rows, masks = follow(shot, segmenter, 9)
    assert rows.state[:, 0].tolist() == ["seen"] * 21 and segmenter.open == 0
    assert all(np.array_equal(masks[row], shot.truth[row]) for row in range(21))
    assert np.isfinite(rows.depth[::4, 0, 0]).all()


@pytest.mark.parametrize(("x", "state"), [(lambda r: 60 - 4 * r, "hidden"), (right, "lost")])
def test_a_model_with_memory_that_finds_nothing(x, state):
    shot = Moving(x, 30, covered=range(20, 30))
    rows, _ = follow(shot, Remembering(shot), 0)
    assert rows.state[-1, 0] == state
