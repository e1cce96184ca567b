"""The three real clips next to the checkout: all frames, segments equal to straight decoding."""

from pathlib import Path

import numpy as np
import pytest

from raydepth.frames.decode import decode
from raydepth.frames.probe import probe
from raydepth.frames.segments import plan_segments

VIDEOS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "videos"
pytestmark = pytest.mark.skipif(not VIDEOS.is_dir(), reason="needs ../shared/data")


@pytest.mark.parametrize(
    ("name", "height", "width", "count", "keyframes", "fps"),
    [
        ("dog", 720, 1280, 289, 2, 29.97),
        ("cups", 720, 1280, 300, 2, 29.97),
        ("bikes", 272, 640, 250, 6, 25),
    ],
)
def test_all_frames_however_cut(
    name: str, height: int, width: int, count: int, keyframes: int, fps: float
) -> None:
    source = probe(str(VIDEOS / f"{name}.mp4"))
    assert (source.height, source.width, len(source.pts), int(source.keyframe.sum())) == (
        height,
        width,
        count,
        keyframes,
    )
    assert source.fps == pytest.approx(fps, abs=0.01)
    (whole,) = plan_segments(source, size=64, min_frames=10**6)
    straight = list(decode(whole))
    assert [frame.pts for frame in straight] == source.pts.tolist()
    assert all(frame.rgb is not None for frame in straight)
    segments = plan_segments(source, size=64, min_frames=1)
    assert len(segments) == keyframes
    for segment in segments:
        for frame in decode(segment):
            np.testing.assert_array_equal(frame.rgb, straight[frame.frame_index].rgb)
    (last,) = decode(whole.take([count - 1]))
    np.testing.assert_array_equal(last.rgb, straight[-1].rgb)
