"""Time stamps that are repeated, missing or wrong are mended; all others stay exact."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import PictureType
from hypothesis import given
from hypothesis import strategies as st

from raydepth.frames.decode import decode
from raydepth.frames.probe import probe
from raydepth.frames.segments import plan_segments
from raydepth.frames.stamps import mend
from tests.frames.barcodes import FRAMES, barcode, make_clip, read_barcode

_ = -1
"""No time stamp."""


@pytest.mark.parametrize(
    ("pts", "mended", "finer", "count"),
    [
        ([0, 40, 80, 120], [0, 40, 80, 120], 1, 0),
        ([0, 40, 80, 80, 120, 1000, 5000], [0, 40, 80, 100, 120, 1000, 5000], 1, 1),
        ([5, 5, 5, 35, 40], [5, 15, 25, 35, 40], 1, 2),
        ([0, 1, 1, 2], [0, 2, 3, 4], 2, 1),  # no room between 1 and 2
        ([0, 40, _, _, 160, 200], [0, 40, 80, 120, 160, 200], 1, 2),
        ([_, 40, 80, 120, _, _], [0, 40, 80, 120, 160, 200], 1, 3),
        ([0, 40, 20, 120, 160], [0, 40, 80, 120, 160], 1, 1),
        ([0, 40, 9000, 120, 160, 200], [0, 40, 80, 120, 160, 200], 1, 1),  # one runs ahead
        ([0, 40, 80, 0, 40, 80, 120], [0, 40, 80, 120, 160, 200, 240], 1, 0),  # joined
        ([9000, 9040, 0, 40, 95, 120], [9000, 9040, 9080, 9120, 9175, 9200], 1, 0),
        ([7], [7], 1, 0),
        ([7, 7, 7], [7, 47, 87], 1, 2),
    ],
)
def test_mend(pts: list[int], mended: list[int], finer: int, count: int) -> None:
    given_pts = np.array(pts, np.int64)
    found, ticks, changed = mend(given_pts, given_pts != _, 40)
    assert (found.tolist(), ticks, changed) == (mended, finer, count)


@given(st.lists(st.integers(0, 60), min_size=1, max_size=60), st.integers(1, 50))
def test_mended_stamps_rise(pts: list[int], step: int) -> None:
    stamps = np.array(pts, np.int64)
    found, finer, changed = mend(stamps, np.ones(len(pts), bool), step)
    assert (np.diff(found) > 0).all()
    assert 0 <= changed < len(pts) or changed == len(pts) == 0
    if (np.diff(stamps) > 0).all():
        assert (found.tolist(), finer, changed) == (pts, 1, 0)


def restamped(path: Path, target: Path, pts: list[int]) -> Path:
    with av.open(str(path)) as source, av.open(str(target), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        stream.time_base = Fraction(1, 1000)
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for packet, stamp in zip(packets, pts, strict=True):
            packet.stream, packet.time_base, packet.duration = stream, Fraction(1, 1000), 0
            packet.pts = packet.dts = stamp
            container.mux(packet)
    return target


def test_one_repeated_stamp_changes_no_other(tmp_path: Path) -> None:
    steps = np.random.default_rng(3).choice([20, 40, 1000], FRAMES)
    stamps = np.cumsum(steps) - steps[0]
    stamps[31] = stamps[30]
    clip = make_clip(tmp_path / "screen.mov", FRAMES, codec="mjpeg", pix_fmt="yuvj420p")
    source = probe(str(restamped(clip, tmp_path / "screen.mkv", stamps.tolist())))
    expected = stamps / 1000
    expected[31] = (stamps[30] + stamps[32]) / 2 / 1000
    np.testing.assert_allclose(source.time_s, expected, atol=1e-9)
    assert [read_barcode(f.rgb) for s in plan_segments(source, size=None) for f in decode(s)] == (
        list(range(FRAMES))
    )
    assert source.remarks == (
        "1 of 60 frames have a missing, repeated or falling time stamp; they are shown between "
        "their neighbours",
    )


def packed_avi(path: Path, frames: int, first_b: int) -> Path:
    """An .avi as DivX wrote it: from a frame on, a B-frame lies in the packet of its reference."""
    plain = path.with_name("plain.avi")
    with av.open(str(plain), "w") as container:
        options = {"bf": "1", "g": "1000", "b_strategy": "0", "sc_threshold": "1000000000"}
        stream = container.add_stream("mpeg4", rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(barcode(number, 48, 64))
            frame.pts, frame.time_base = number, Fraction(1, 25)
            if 0 < number < first_b:
                frame.pict_type = PictureType.P
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(plain)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
        header = container.streams.video[0].codec_context.extradata or b""
    vop, b_frame = b"\0\0\1\xb6", 2
    kinds = [data[data.rindex(vop) + 4] >> 6 for data in packets]
    packed: list[bytes] = []
    while packets:
        data, _kind = packets.pop(0), kinds.pop(0)
        if kinds and kinds[0] == b_frame:  # then a packet that says "not coded"
            kinds.pop(0)
            packed += [data + packets.pop(0), vop + b"\x51\x10\x7f"]
        else:
            packed.append(data)
    mark = b"\0\0\1\xb2DivX503b1393p\0"
    packed[0] = packed[0].replace(vop, mark + vop, 1)
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.codec_tag = "DX50"
        stream.codec_context.extradata = header + mark
        container.start_encoding()
        for number, data in enumerate(packed):
            packet = av.Packet(data)
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts, packet.dts, packet.is_keyframe = number, number, number == 0
            container.mux(packet)
    return path


@pytest.mark.parametrize("first_b", [1, 30])
def test_packed_b_frames(tmp_path: Path, first_b: int) -> None:
    """Whether they begin within the trial or after it."""
    source = probe(str(packed_avi(tmp_path / "film.avi", 61, first_b)))
    frames = [frame for s in plan_segments(source, size=None) for frame in decode(s)]
    assert [read_barcode(frame.rgb) for frame in frames] == list(range(61))
    np.testing.assert_allclose(source.time_s, np.arange(61) / 25, atol=1e-9)
