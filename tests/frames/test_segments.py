"""How sources are cut: exact properties of plan_segments, take and working_size, no files."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raydepth.frames.segments import plan_segments, working_size
from raydepth.frames.shape import UPRIGHT
from raydepth.frames.source import Source

sources = st.builds(
    lambda steps, keyframes, seekable, start: Source(
        path="a.mp4",
        video="0" * 16,
        kind="video",
        width=640,
        height=360,
        orientation=UPRIGHT,
        time_base=Fraction(1, 90000),
        pts=np.cumsum([start, *steps], dtype=np.int64),
        keyframe=np.array(
            [True, *keyframes[: len(steps)], *[False] * (len(steps) - len(keyframes))]
        ),
        fps=25.0,
        seekable=seekable,
    ),
    st.lists(st.integers(1, 9000), max_size=300),
    st.lists(st.booleans(), max_size=300),
    st.booleans(),
    st.integers(-(10**6), 10**12),
)
bounds = st.none() | st.floats(0, 20)


@settings(max_examples=80, deadline=None)
@given(sources, st.integers(1, 40), bounds, bounds, st.integers(1, 300))
def test_wanted_frames_once_and_in_order(
    source: Source, stride: int, start_s: float | None, end_s: float | None, min_frames: int
) -> None:
    segments = plan_segments(
        source, size=256, stride=stride, start_s=start_s, end_s=end_s, min_frames=min_frames
    )
    time_s = (source.pts - source.pts[0]) / 90000
    wanted = [
        i
        for i in range(0, len(source.pts), stride)
        if (start_s or 0) <= time_s[i] < (np.inf if end_s is None else end_s)
    ]
    assert [int(i) for segment in segments for i in segment.frame_index] == wanted
    for segment in segments:
        assert len(segment) > 0
        np.testing.assert_array_equal(segment.pts, source.pts[segment.frame_index])
        np.testing.assert_allclose(segment.time_s, time_s[segment.frame_index], atol=1e-9)
        assert source.keyframe[segment.seek_index].all()
        np.testing.assert_array_equal(segment.pts[:0], source.pts[:0])
        assert (segment.height, segment.width) == (256, 456)
        if source.seekable and segment.index:  # decoding can start at the segment's own keyframe
            assert segment.seek_pts[segment.seek_pts <= segment.pts[0]].size


@settings(max_examples=80, deadline=None)
@given(sources, st.integers(1, 300))
def test_cuts_are_keyframes_and_no_stretch_is_short(source: Source, min_frames: int) -> None:
    segments = plan_segments(source, size=None, min_frames=min_frames)
    lengths = [len(segment) for segment in segments]
    assert all(source.keyframe[segment.frame_index[0]] for segment in segments)
    assert len(segments) == 1 or min(lengths) >= min_frames
    assert [segment.index for segment in segments] == list(range(len(segments)))
    if not source.seekable:
        assert len(segments) == 1
        assert not len(segments[0].seek_pts)


@settings(max_examples=50, deadline=None)
@given(sources.filter(lambda source: len(source.pts) > 3), st.data())
def test_take(source: Source, data: st.DataObject) -> None:
    segment = plan_segments(source, size=None)[0]
    rows = data.draw(st.lists(st.integers(0, len(segment) - 1)))
    taken = segment.take(rows)
    np.testing.assert_array_equal(taken.frame_index, segment.frame_index[sorted(set(rows))])
    np.testing.assert_array_equal(taken.pts, segment.pts[sorted(set(rows))])
    again = taken.take(slice(1, None, 2))
    np.testing.assert_array_equal(again.pts, taken.pts[1::2])
    np.testing.assert_array_equal(segment.take(slice(None)).pts, segment.pts)
    np.testing.assert_array_equal(segment.take(np.array(rows, np.int32)).pts, taken.pts)
    assert (taken.index, taken.video) == (segment.index, segment.video)


@pytest.mark.parametrize(
    ("height", "width", "short_side", "expected"),
    [
        (720, 1280, 512, (512, 910)),
        (1280, 720, 512, (910, 512)),
        (720, 1280, None, (720, 1280)),
        (271, 481, None, (271, 481)),
        (271, 481, 271, (271, 481)),
        (272, 640, 512, (512, 1204)),
        (1, 3000, 32, (32, 96000)),
        (500, 500, 64, (64, 64)),
    ],
)
def test_working_size(
    height: int, width: int, short_side: int | None, expected: tuple[int, int]
) -> None:
    assert working_size(height, width, short_side) == expected


@settings(max_examples=80, deadline=None)
@given(st.integers(16, 5000), st.integers(16, 5000), st.integers(32, 2000))
def test_working_size_keeps_the_aspect(height: int, width: int, short_side: int) -> None:
    new_height, new_width = working_size(height, width, short_side)
    if max(height, width) > 60 * min(height, width) and (new_height, new_width) == (height, width):
        return  # a strip that would be enlarged beyond memory
    assert min(new_height, new_width) == short_side
    assert new_height == new_width or (new_height > new_width) == (height > width)
    long_side = max(height, width) * short_side / min(height, width)
    assert abs(max(new_height, new_width) - long_side) <= 1 or short_side == min(height, width)
    assert working_size(width, height, short_side) == (new_width, new_height)
