"""Parts lie in one shot, are cut alike whatever the limits are, and hold the job's frames."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from raydepth.frames.segments import Segment
from raydepth.output.plan import Part, cut_parts
from raydepth.run.pipeline import frames_by_shot
from tests.support.folders import segment

VIDEOS = ("0" * 16, "1" * 16)


@st.composite
def sources(draw: st.DrawFn) -> list[Segment]:
    """Two videos of a few segments, with shots that begin anywhere."""
    found = []
    for video in VIDEOS:
        count, start = draw(st.integers(1, 40)), 0
        begins = draw(st.sets(st.integers(1, count + 5)))
        for index, size in enumerate(draw(st.lists(st.integers(1, 20), min_size=1, max_size=3))):
            frames = np.arange(start, start + size)
            shot = np.searchsorted(np.array(sorted(begins), np.int64), frames, "right")
            one = replace(
                segment(video), index=index, frame_index=frames, pts=frames * 512,
                time_s=frames / 25, shot=shot if begins else None,
            )  # fmt: skip
            found.append(one)
            start += size
    return found


def frames(part: Part) -> list[tuple[str, int]]:
    indices = part.segment.frame_index[part.start : part.stop].tolist()
    return [(part.segment.video, index) for index in indices]


LIMITS = st.none() | st.integers(1, 50)


@given(sources(), st.integers(1, 5), st.integers(1, 12), LIMITS, LIMITS)
def test_parts_lie_in_shots_and_limits_only_drop(
    segments: list[Segment], batch: int, shard_frames: int, limit: int | None, own: int | None
) -> None:
    every = cut_parts(segments, batch=batch, shard_frames=shard_frames, limit=None)
    for part in every:
        shots = part.segment.shots
        assert set(shots[part.start : part.stop].tolist()) == {part.shot}
        # Only the end of a shot or segment ends a batch early.
        ends = part.stop == len(shots) or shots[part.stop] != part.shot
        assert part.frames % batch == 0 or ends
    assert len({part.name for part in every}) == len(every)
    order = [frame for part in every for frame in frames(part)]
    assert order == [(one.video, i) for one in segments for i in one.frame_index.tolist()]

    fewer = cut_parts(
        segments, batch=batch, shard_frames=shard_frames, limit=limit, limit_per_video=own
    )
    cut = {part.name: part for part in every}
    for part in fewer:
        assert (part.start, part.shot) == (cut[part.name].start, cut[part.name].shot)
    wanted = [
        frame for video in VIDEOS for frame in [one for one in order if one[0] == video][:own]
    ]
    assert [frame for part in fewer for frame in frames(part)] == wanted[:limit]


@given(sources())
def test_a_shot_is_measured_over_all_of_its_frames(segments: list[Segment]) -> None:
    parts = cut_parts(segments, batch=2, shard_frames=4, limit=None)
    found = frames_by_shot(segments, {part.shot_id for part in parts})
    assert list(found) == list(dict.fromkeys(part.shot_id for part in parts))
    for shot, own in found.items():
        assert [(one.video, i) for one in own for i in one.frame_index.tolist()] == [
            frame for part in parts if part.shot_id == shot for frame in frames(part)
        ]
