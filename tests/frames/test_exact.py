"""Every frame once, in order, with its own time stamp, however a source is coded and cut; proven by
barcodes.
"""

import pickle
from fractions import Fraction
from pathlib import Path

import av
import av.container
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raydepth.frames.container import number_packet, open_container, packet_number, prepare
from raydepth.frames.decode import _runs, batches, decode
from raydepth.frames.probe import probe
from raydepth.frames.segments import plan_segments
from raydepth.frames.source import Source
from tests.frames.barcodes import CLIPS, FRAMES, VARIABLE, clip_of, make_clip, read_barcode


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips of ä test")


def decoded(source: Source, **plan) -> list[tuple[int, int | None, int]]:
    """(frame_index, barcode, pts) of all segments' frames, in the order they come."""
    segments = plan_segments(source, **{"size": None, **plan})
    frames = [
        frame for segment in segments for frame in decode(pickle.loads(pickle.dumps(segment)))
    ]
    return [(f.frame_index, None if f.rgb is None else read_barcode(f.rgb), f.pts) for f in frames]


def whole(source: Source) -> list[tuple[int, int, int]]:
    return [(i, i, pts) for i, pts in enumerate(source.pts.tolist())]


@pytest.mark.parametrize("name", CLIPS)
def test_every_frame_once_in_order(folder: Path, name: str) -> None:
    path = clip_of(folder, name)
    source = probe(str(path))
    assert len(source.pts) == FRAMES
    assert (np.diff(source.pts) > 0).all()
    assert (source.height, source.width) == CLIPS[name].get("size", (48, 64))
    for min_frames in (1, 10, 240):
        assert decoded(source, min_frames=min_frames) == whole(source), min_frames
    assert decoded(source, min_frames=10, size=40) == whole(source)


@pytest.mark.parametrize(
    "name", ["closed.mp4", "open.mkv", "hevc.mp4", "vp9.webm", "mpeg4 b.avi", "mpeg2.ts", "wmv.asf"]
)
def test_pts_are_those_of_a_plain_decoding_loop(folder: Path, name: str) -> None:
    path = clip_of(folder, name)
    with av.open(str(path)) as container:
        assert [frame.pts for frame in container.decode(video=0)] == probe(str(path)).pts.tolist()


def test_segments_are_cut_where_the_container_allows(folder: Path) -> None:
    """Guards the fallback: none of the ordinary containers may end in it, all of the doubtful ones
    must.
    """
    kinds = {name: (probe(str(clip_of(folder, name))).seekable, name) for name in CLIPS}
    whole_only = {name for name, (seekable, _) in kinds.items() if not seekable}
    assert whole_only == {"h264.avi", "mpeg2.mpg", "mpeg2 alone.mpg", "h264.mpg", "raw.h264"}
    sequential = {
        name for name in whole_only if probe(str(clip_of(folder, name))).packets is not None
    }
    assert sequential == {"h264.avi", "h264.mpg", "raw.h264"}


@pytest.mark.parametrize("name", ["variable.mp4", "variable.mkv", "variable.ts"])
def test_variable_frame_rate_keeps_its_time_stamps(folder: Path, name: str) -> None:
    source = probe(str(clip_of(folder, name)))
    np.testing.assert_allclose(
        source.time_s, (VARIABLE - VARIABLE[0]) / (300 if "mkv" not in name else 100), atol=1e-9
    )
    start, end = source.time_s[17], source.time_s[40]
    assert decoded(source, start_s=start, end_s=end, min_frames=1) == whole(source)[17:40]


@pytest.mark.parametrize(
    "name", ["late.mp4", "negative.mkv", "open.ts", "raw.h264", "h264.avi", "h264.mpg"]
)
def test_time_starts_at_zero_and_runs_at_the_frame_rate(folder: Path, name: str) -> None:
    source = probe(str(clip_of(folder, name)))
    np.testing.assert_allclose(source.time_s, np.arange(FRAMES) / 25, atol=1e-3)
    assert source.fps == pytest.approx(25, rel=0.01)


@pytest.mark.parametrize(
    "name", ["open.mp4", "open.ts", "hevc.mp4", "mpeg2.mpg", "h264.avi", "refresh.mkv", "vp8.webm"]
)
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    stride=st.sampled_from([1, 2, 3, 7, 13, 40]),
    min_frames=st.sampled_from([1, 10, 30, 240]),
    rows=st.sets(st.integers(0, FRAMES - 1)),
)
def test_any_stride_and_any_rows(
    folder: Path, name: str, stride: int, min_frames: int, rows: set[int]
) -> None:
    source = probe(str(clip_of(folder, name)))
    expected = whole(source)
    assert decoded(source, stride=stride, min_frames=min_frames) == expected[::stride]
    taken = []
    for segment in plan_segments(source, size=None, min_frames=min_frames):
        mine = [row for row, index in enumerate(segment.frame_index.tolist()) if index in rows]
        taken += [(f.frame_index, read_barcode(f.rgb), f.pts) for f in decode(segment.take(mine))]
    assert taken == [expected[index] for index in sorted(rows)]


def test_seeks_over_long_gaps(tmp_path: Path) -> None:
    """With a big stride decoding jumps to later keyframes, and still finds the right frames."""
    path = make_clip(
        tmp_path / "long.mp4", 600, options={"g": "30", "bf": "3", "preset": "ultrafast"}
    )
    source = probe(str(path))
    (segment,) = plan_segments(source, size=None, stride=151, min_frames=1000)
    assert [(f.frame_index, read_barcode(f.rgb)) for f in decode(segment)] == [
        (i, i) for i in (0, 151, 302, 453)
    ]
    assert list(_runs(segment)) == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert [read_barcode(f.rgb) for f in decode(segment.take([3]))] == [453]
    (segment,) = plan_segments(source, size=None, stride=20, min_frames=1000)
    assert list(_runs(segment)) == [(0, 30)]  # too close together


@pytest.mark.parametrize(
    "name",
    [
        "closed.mp4",
        "open.mp4",
        "open.mkv",
        "open.ts",
        "hevc.mp4",
        "mpeg4 b.avi",
        "vp9.webm",
        "h264.flv",
        "wmv.asf",
        "dense.mp4",
        "refresh.mkv",
    ],
)
def test_segments_are_reached_by_seeking(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Opening the file a second time, to read it from its beginning, is the last resort."""
    opened = []

    def count_and_open(path: str) -> av.container.InputContainer:
        opened.append(path)
        return open_container(path)

    segments = plan_segments(probe(str(clip_of(folder, name))), size=None, min_frames=10)
    monkeypatch.setattr("raydepth.frames.reader.open_container", count_and_open)
    for segment in segments[2:]:
        assert all(frame.rgb is not None for frame in decode(segment))
    assert len(opened) == len(segments) - 2 > 0


def test_edit_list_cuts_frames_away(tmp_path: Path) -> None:
    """An mp4 that starts at a negative time gets an edit list: what lies before 0 is stored but not
    shown.
    """
    path = make_clip(
        tmp_path / "cut.mp4",
        FRAMES,
        options={"g": "12", "bf": "2"},
        pts=[i - 10 for i in range(FRAMES)],
    )
    source = probe(str(path))
    for min_frames in (1, 10, 240):
        found = decoded(source, min_frames=min_frames)
        assert [number for _, number, _ in found] == list(range(10, FRAMES))
        assert [index for index, _, _ in found] == list(range(FRAMES - 10))
    assert source.note == ""


def test_packets_without_a_picture_are_no_frames(tmp_path: Path) -> None:
    """VP8 stores alt-ref frames, which are never shown, in packets of their own."""
    shown = make_clip(
        tmp_path / "shown.webm", FRAMES, codec="libvpx", options={"g": "12", "b": "300k"}
    )
    hidden = tmp_path / "hidden.webm"
    with av.open(str(shown)) as source, av.open(str(hidden), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        packets = [packet for packet in source.demux(stream) if packet.size]
        for packet, following in zip(packets, [*packets[1:], None], strict=True):
            payload = bytearray(bytes(packet))
            pts, time_base = packet.pts, packet.time_base
            packet.stream = copy
            target.mux(packet)
            if following is not None and following.is_keyframe:  # where it can't change what comes
                payload[0] &= 0xEF  # show_frame
                extra = av.Packet(bytes(payload))
                extra.stream, extra.pts, extra.dts, extra.time_base = (
                    copy,
                    pts + 1,
                    pts + 1,
                    time_base,
                )
                target.mux(extra)
    source = probe(str(hidden))
    assert len(source.pts) == FRAMES
    assert decoded(source, min_frames=1) == whole(source)


def test_joined_recordings_are_read_one_after_the_other(folder: Path, tmp_path: Path) -> None:
    part = clip_of(folder, "open.ts").read_bytes()
    later = make_clip(
        tmp_path / "later.ts", FRAMES, options={"g": "12"}, pts=[i + 500 for i in range(FRAMES)]
    )
    for first in (part, later.read_bytes()):  # the same times again, and times that go back
        path = tmp_path / "joined.ts"
        path.write_bytes(first + part)
        source = probe(str(path))
        assert source.packets is not None
        assert [number for _, number, _ in decoded(source)] == [*range(FRAMES), *range(FRAMES)]


def test_recording_that_starts_in_the_middle(folder: Path, tmp_path: Path) -> None:
    """Frames at the head whose references are missing are no frames of the source."""
    for name in ("open.ts", "mpeg2.ts"):
        data = clip_of(folder, name).read_bytes()
        path = tmp_path / name
        path.write_bytes(data[len(data) * 2 // 5 // 188 * 188 :])
        source = probe(str(path))
        first = FRAMES - len(source.pts)
        assert 20 <= first <= 30
        assert [number for _, number, _ in decoded(source, min_frames=1)] == list(
            range(first, FRAMES)
        )


def test_reordering_that_the_stream_does_not_announce(tmp_path: Path) -> None:
    """H.264 whose parameter set says nothing on reordering, with B-frames from frame 70 on only
    (see container.prepare).
    """
    path = make_clip(
        tmp_path / "late b.mp4", 160, first_p=70,
        options={"x264-params": "bframes=3:b-pyramid=normal:b-adapt=0:keyint=60:scenecut=0"},
    )  # fmt: skip
    data = bytearray(path.read_bytes())
    at = data.find(b"avcC") + 12
    length = int.from_bytes(data[at - 2 : at], "big")
    bits = "".join(f"{byte:08b}" for byte in data[at : at + length])
    flag = 62  # vui_parameters_present_flag, for what x264 writes at this size
    assert bits[flag] == "1"
    bits = (bits[:flag] + "01").ljust(8 * length, "0")
    data[at : at + length] = int(bits, 2).to_bytes(length, "big")
    path.write_bytes(data)
    copy = tmp_path / "late b.mkv"  # an mp4 tells FFmpeg by its time table, a Matroska file doesn't
    with av.open(str(path)) as source, av.open(str(copy), "w") as target:
        stream = source.streams.video[0]
        to = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.size:
                packet.stream = to
                target.mux(packet)
    probed = probe(str(copy))
    for min_frames in (1, 240):
        assert decoded(probed, min_frames=min_frames) == [
            (i, i, pts) for i, pts in enumerate(probed.pts.tolist())
        ]


def test_files_read_at_a_time_do_not_lose_one_anothers_frames(folder: Path) -> None:
    """PyAV knows a packet's number by the number's address, which Python shares among files: see
    number_packet().
    """
    path = str(clip_of(folder, "raw.h264"))
    with open_container(path) as one, open_container(path) as other:
        numbered = []
        for container in (one, other):
            prepare(container, container.streams.video[0], threads=1)
            packets = container.demux(container.streams.video[0])
            numbered.append([packet for packet, _ in zip(packets, range(20), strict=False)])
        for first, second in zip(*numbered, strict=True):
            number_packet(first, 7)
            number_packet(second, 7)
        del first
        numbered.pop(0)
        assert [packet_number(packet) for packet in numbered[0]] == [7] * 20


def test_content_id_follows_the_content(folder: Path, tmp_path: Path) -> None:
    data = clip_of(folder, "open.mp4").read_bytes()
    renamed, changed = tmp_path / "another name.mp4", tmp_path / "open.mp4"
    renamed.write_bytes(data)
    changed.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    video = probe(str(folder / "open.mp4")).video
    assert len(video) == 16
    assert int(video, 16) >= 0
    assert probe(str(renamed)).video == video
    assert probe(str(changed)).video != video
    assert len({probe(str(clip_of(folder, name))).video for name in CLIPS}) == len(CLIPS)


def test_batches_carry_the_columns(folder: Path) -> None:
    path = clip_of(folder, "open.mp4")
    source = probe(str(path))
    (segment,) = plan_segments(source, size=40, stride=2)
    found = list(batches(segment, 8))
    assert [len(batch["pts"]) for batch in found] == [8, 8, 8, 6]
    joined = {name: np.concatenate([batch[name] for batch in found]) for name in found[0]}
    assert joined["frame_index"].tolist() == list(range(0, FRAMES, 2))
    assert joined["frame_id"].tolist() == [
        f"{source.video}:{pts}" for pts in source.pts[::2].tolist()
    ]
    assert joined["rgb"].shape == (30, 40, 54, 3)
    assert [read_barcode(rgb) for rgb in joined["rgb"]] == list(range(0, FRAMES, 2))
    assert set(joined["status"]) == {"ok"}
    dtypes = {name: str(column.dtype) for name, column in joined.items()}
    text = ("frame_id", "video", "path", "image", "status", "error_type", "error_message", "note")
    assert dtypes == {
        "frame_index": "int64",
        "pts": "int64",
        "shot": "int64",
        "time_s": "float64",
        "rgb": "uint8",
        "seconds_decode": "float32",
        **dict.fromkeys(text, "object"),
    }


def test_batches_without_trying(folder: Path) -> None:
    (segment,) = plan_segments(probe(str(clip_of(folder, "open.mp4"))), size=None)
    found = list(batches(segment.take([3, 5, 9]), 2, lost=("DecoderCrashed", "the process died")))
    assert [batch["status"].tolist() for batch in found] == [["error", "error"], ["error"]]
    assert found[0]["error_type"].tolist() == ["DecoderCrashed"] * 2
    assert found[1]["error_message"].tolist() == ["the process died"]


def test_segments_do_not_depend_on_what_is_wanted(folder: Path) -> None:
    """A resumed, strided or shortened job names its segments as the whole job does."""
    source = probe(str(clip_of(folder, "open.mp4")))
    where = {
        int(i): s.index
        for s in plan_segments(source, size=None, min_frames=10)
        for i in s.frame_index
    }
    for segment in plan_segments(
        source, size=None, stride=5, start_s=0.9, end_s=2.0, min_frames=10
    ):
        assert {where[int(i)] for i in segment.frame_index} == {segment.index}
    assert source.time_base == Fraction(1, 12800)
