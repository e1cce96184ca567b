"""Additive statistics: the order of merging does not matter; repeated rows count once."""

import math
import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raydepth.evaluate.fold import GAMMA, Statistics, deduplicate, fold, row_columns

VALUES = st.lists(
    st.one_of(st.floats(-1e6, 1e6), st.just(float("nan")), st.just(float("inf")), st.just(0.0)),
    max_size=40,
).map(lambda values: np.array(values, np.float64))


def same(one: Statistics, other: Statistics) -> None:
    """Exact in everything that is counted, to rounding in the two sums."""
    for name in ("count", "not_measured", "infinite", "low", "high", "bins"):
        assert getattr(one, name) == getattr(other, name)
    assert one.total == pytest.approx(other.total, rel=1e-9, abs=1e-6)
    assert one.squares == pytest.approx(other.squares, rel=1e-9, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(VALUES, VALUES, VALUES)
def test_merge_is_associative_commutative_and_has_an_identity(
    a: np.ndarray, b: np.ndarray, c: np.ndarray
) -> None:
    one, two, three = map(Statistics.of, (a, b, c))
    assert one.merge(two) == two.merge(one)
    same(one.merge(two).merge(three), one.merge(two.merge(three)))
    same(one.merge(two).merge(three), Statistics.of(np.concatenate([a, b, c])))
    assert one.merge(Statistics()) == one == Statistics().merge(one)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.floats(-1e6, 1e6).filter(lambda v: v == 0 or abs(v) > 1e-9), min_size=1, max_size=50
    ),
    st.floats(0, 1),
)
def test_quantiles_are_right_to_one_percent(values: list[float], q: float) -> None:
    exact = sorted(values)[max(math.ceil(q * len(values)), 1) - 1]
    assert Statistics.of(np.array(values)).quantile(q) == pytest.approx(
        exact, rel=(GAMMA - 1) / (GAMMA + 1) + 1e-9
    )


def test_hand_computed() -> None:
    statistics = Statistics.of(np.array([3.0, 4.0, np.nan, np.inf, 5.0]))
    assert (statistics.count, statistics.not_measured, statistics.infinite) == (3, 1, 1)
    assert statistics.mean == 4.0
    assert statistics.pooled == pytest.approx(math.sqrt(50 / 3))
    assert statistics.std == pytest.approx(math.sqrt(2 / 3))
    assert (statistics.low, statistics.high) == (3.0, 5.0)


def test_nothing_measured_is_nan_not_zero() -> None:
    for statistics in (Statistics(), Statistics.of(np.array([np.nan, np.nan]))):
        assert all(
            math.isnan(x)
            for x in (statistics.mean, statistics.pooled, statistics.std, statistics.quantile(0.5))
        )


def row(
    frame: int,
    *,
    video: str = "a",
    status: str = "ok",
    value: float | None = 1.0,
    attempts: int = 1,
) -> dict:
    return {
        "frame_id": f"{video}:{frame}",
        "video": video,
        "path": f"{video}.mp4",
        "frame_index": frame,
        "time_s": frame / 10,
        "status": status,
        "error_type": "" if status == "ok" else "Broken",
        "error_message": "",
        "attempts": attempts,
        "rmse_outside": value,
        "seconds_depth": 0.1,
        "depth_png16": b"not read",
    }


def test_repeated_rows_count_once_and_done_beats_failed() -> None:
    first = pa.Table.from_pylist(
        [row(0, value=2.0), row(1, status="error", value=None), row(2, status="error", value=None)]
    )
    second = pa.Table.from_pylist(
        [
            row(0, value=2.0),
            row(1, value=4.0),
            row(2, status="error", value=None, attempts=2),
            row(0, value=2.0),
        ]
    )
    folded = fold([first, second])
    assert (folded.overall.done, folded.overall.failed) == (2, 1)
    assert folded.overall.get("rmse_outside").mean == 3.0
    assert [(f.frame_index, f.attempts, f.error_type) for f in folded.failures] == [
        (2, 2, "Broken")
    ]
    assert folded.errors() == {"Broken": 1}
    again = fold([second, first])
    assert again.overall == folded.overall and again.failures == folded.failures


def test_overall_is_the_merge_of_the_videos_whatever_the_sharding() -> None:
    rows = [row(i, video=v, value=float(i + 1)) for v in "cab" for i in range(7)]
    whole = fold([pa.Table.from_pylist(rows)])
    random.Random(0).shuffle(rows)
    parts = fold(
        batch
        for i in range(0, 21, 4)
        for batch in pa.Table.from_pylist(rows[i : i + 4]).to_batches()
    )
    assert list(whole.videos) == list(parts.videos) == ["a", "b", "c"]
    for name in whole.videos:
        same(whole.videos[name].get("rmse_outside"), parts.videos[name].get("rmse_outside"))
    same(whole.overall.get("rmse_outside"), parts.overall.get("rmse_outside"))
    merged = Statistics()
    for group in parts.videos.values():
        merged = merged.merge(group.get("rmse_outside"))
    same(whole.overall.get("rmse_outside"), merged)


def test_a_video_without_any_done_frame_is_still_listed() -> None:
    folded = fold([pa.Table.from_pylist([row(0, video="z", status="error", value=None)])])
    assert (
        folded.videos["z"].failed == 1
        and folded.videos["z"].done == 0
        and folded.videos["z"].path == "z.mp4"
    )


def test_no_rows_at_all() -> None:
    folded = fold([])
    assert folded.overall.done == 0 and folded.videos == {} and folded.failures == []


def test_deduplicate_follows_the_same_rule_and_orders_rows() -> None:
    table = pa.Table.from_pylist(
        [
            row(3),
            row(1, status="error", attempts=1),
            row(1, status="error", attempts=2),
            row(2, status="error"),
            row(2, value=9.0),
        ]
    )
    kept = deduplicate(table).to_pylist()
    assert [r["frame_index"] for r in kept] == [1, 2, 3]
    assert kept[0]["attempts"] == 2 and kept[1]["status"] == "ok" and kept[1]["rmse_outside"] == 9.0


def test_no_rows_have_no_schema_either() -> None:
    empty = deduplicate(pa.table({"frame_id": pa.array([], pa.string())}))
    assert len(empty) == 0 and {"frame_id", "video", "status"} <= set(empty.column_names)


def test_pictures_are_not_among_the_columns_to_read() -> None:
    wanted = row_columns(
        [
            "frame_id",
            "depth_png16",
            "edited_png",
            "rmse_outside",
            "seconds_fill",
            "depth_scale",
            "threshold",
        ]
    )
    assert wanted == ["frame_id", "rmse_outside", "seconds_fill", "depth_scale"]
