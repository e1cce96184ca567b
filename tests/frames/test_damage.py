"""Damaged, cut off, vanished and mistaken files: what is lost, and what the user is told."""

import os
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raydepth.frames.decode import Frame, batches, decode
from raydepth.frames.probe import probe
from raydepth.frames.segments import plan_segments
from raydepth.frames.source import Source
from raydepth.frames.sources import SourceError
from tests.frames.barcodes import FRAMES, clip_of, flip, make_clip, read_barcode


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damage")


def decoded(source: Source, min_frames: int = 240) -> list[Frame]:
    return [
        f
        for segment in plan_segments(source, size=None, min_frames=min_frames)
        for f in decode(segment)
    ]


def number_of(frame: Frame) -> int | None:
    return None if frame.rgb is None else read_barcode(frame.rgb)


@pytest.mark.parametrize("name", ["intra.mp4", "mjpeg.mov"])
@pytest.mark.parametrize("min_frames", [1, 10, 240])
def test_where_frames_stand_alone_damage_costs_exactly_one(
    folder: Path, name: str, min_frames: int
) -> None:
    path = flip(clip_of(folder, name), 20, junk=True)
    found = decoded(probe(str(path)), min_frames)
    assert [number_of(frame) for frame in found] == [*range(20), None, *range(21, FRAMES)]
    assert found[20].error_type == "DecodeError"
    assert str(found[20].pts) in found[20].error_message
    assert "Invalid data" in found[20].error_message


def no_reference(packet: av.Packet, name: str) -> bool:
    """Whether no other frame is predicted from this one: nal_ref_idc 0 (H.264, 7.4.1), an even type
    below 16 (H.265, 7.4.2.2).
    """
    header = bytes(packet)[4]
    unused = (
        header >> 1 & 63 in range(0, 16, 2) if name.startswith("hevc") else header >> 5 & 3 == 0
    )
    return unused and not packet.is_keyframe  # whose first unit may be no slice


@pytest.mark.parametrize("name", ["closed.mp4", "open.mp4", "hevc.mp4"])
@pytest.mark.parametrize("min_frames", [1, 10, 240])
def test_a_lost_b_frame_costs_itself_only(folder: Path, name: str, min_frames: int) -> None:
    path = clip_of(folder, name)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        disposable = next(
            i for i, packet in enumerate(packets) if i > 20 and no_reference(packet, name)
        )
        pts = packets[disposable].pts
    found = decoded(probe(str(flip(path, disposable, junk=True))), min_frames)
    lost = [frame for frame in found if frame.rgb is None]
    assert [frame.pts for frame in lost] == [pts]
    assert [number_of(f) for f in found if f.rgb is not None] == [
        i for i in range(FRAMES) if i != lost[0].frame_index
    ]


@pytest.mark.parametrize(
    "name",
    [
        "closed.mp4",
        "open.mp4",
        "open.mkv",
        "hevc.mp4",
        "mpeg4 b.avi",
        "h264.avi",
        "mpeg2.ts",
        "vp9.webm",
        "refresh.mkv",
    ],
)
@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(packet=st.integers(0, FRAMES - 1))
def test_damage_shifts_nothing(folder: Path, name: str, packet: int) -> None:
    """Whatever packet has damaged bytes: the plan stays, and from the next keyframe after it all is
    well again.
    """
    path = clip_of(folder, name)
    whole = probe(str(path))
    source = probe(str(flip(path, packet)))
    assert source.pts.tolist() == whole.pts.tolist()
    keyframes = np.flatnonzero(whole.keyframe)
    safe = next((int(k) for k in keyframes if k > packet + 4), FRAMES)
    safe = next((int(k) for k in keyframes if k > safe), FRAMES) if name == "refresh.mkv" else safe
    for min_frames in (1, 240):
        found = decoded(source, min_frames)
        assert [frame.frame_index for frame in found] == list(range(FRAMES))
        assert [frame.pts for frame in found] == whole.pts.tolist()
        assert [number_of(frame) for frame in found[safe:]] == list(range(safe, FRAMES))
        before = max(0, packet - 4)
        assert [number_of(frame) for frame in found[:before]] == list(range(before))


def test_a_concealed_picture_is_an_error(folder: Path) -> None:
    found = decoded(probe(str(flip(clip_of(folder, "mpeg4.avi"), 20))))
    assert [f.frame_index for f in found if f.rgb is None] == [20]
    assert "marks it as damaged" in found[20].error_message


def test_a_lost_keyframe_is_survived_from_the_one_before(folder: Path) -> None:
    """Cut into segments or not, the same frames come: the segment goes back where its own keyframe
    is damaged.
    """
    path = flip(clip_of(folder, "mpeg4.avi"), 24, junk=True)
    source = probe(str(path))
    straight = [None if f.rgb is None else f.rgb.tobytes() for f in decoded(source)]
    assert [i for i, rgb in enumerate(straight) if rgb is None] == [24]
    for min_frames in (1, 10):
        assert [
            None if f.rgb is None else f.rgb.tobytes() for f in decoded(source, min_frames)
        ] == straight


def test_damage_becomes_error_rows_of_batches(folder: Path) -> None:
    source = probe(str(flip(clip_of(folder, "intra.mp4"), 20, junk=True)))
    (segment,) = plan_segments(source, size=None)
    found = list(batches(segment, 16))
    assert [len(batch["pts"]) for batch in found] == [16, 16, 16, 12]
    assert found[1]["status"].tolist() == ["ok"] * 4 + ["error"] + ["ok"] * 11
    assert not found[1]["rgb"][4].any()
    assert found[1]["error_type"][4] == "DecodeError"


@pytest.mark.parametrize("name", ["open.mkv", "open.ts", "mpeg2 alone.mpg", "vp9.webm", "h264.flv"])
def test_a_file_cut_off_gives_the_frames_that_exist(
    folder: Path, tmp_path: Path, name: str
) -> None:
    data = clip_of(folder, name).read_bytes()
    path = tmp_path / name
    path.write_bytes(data[: len(data) // 2])
    source = probe(str(path))
    assert 10 < len(source.pts) < FRAMES
    good = [number_of(frame) for frame in decoded(source)][: len(source.pts) - 4]
    assert good == list(range(len(good)))  # the last ones may want a reference that is gone


def test_an_mp4_cut_off_behind_its_index(tmp_path: Path) -> None:
    path = make_clip(
        tmp_path / "fast.mp4",
        FRAMES,
        options={"g": "1", "qp": "5"},
        container_options={"movflags": "faststart"},
    )
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 7 // 10])
    source = probe(str(path))
    assert "truncated: the file announces 60" in source.note
    found = [number_of(frame) for frame in decoded(source)]
    assert found[:-1] == list(range(len(source.pts) - 1))
    assert len(found) in range(25, 50)


def test_an_mp4_without_index_is_refused_with_advice(folder: Path, tmp_path: Path) -> None:
    data = clip_of(folder, "closed.mp4").read_bytes()
    path = tmp_path / "cut off.mp4"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(
        SourceError, match=r"cut off\.mp4 has no index \(moov atom\).*copy it again"
    ) as raised:
        probe(str(path))
    assert raised.value.error_type == "Unreadable"


@pytest.mark.parametrize(
    ("name", "content", "error_type"),
    [
        ("empty.mp4", b"", "EmptyFile"),
        (
            "noise.mp4",
            bytes(np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8)),
            "NotAVideo",
        ),
        ("text.txt", b"This is not a video.\n" * 50, "NotAVideo"),
        ("page.mp4", b"<html><body>404 not found</body></html>", "NotAVideo"),
    ],
)
def test_what_is_no_video(tmp_path: Path, name: str, content: bytes, error_type: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError) as raised:
        probe(str(tmp_path / name))
    assert raised.value.error_type == error_type
    assert str(tmp_path / name) in str(raised.value)


def test_missing_and_forbidden_files(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        probe(str(tmp_path / "nowhere.mp4"))
    if os.geteuid():
        locked = tmp_path / "locked.mp4"
        locked.write_bytes(clip_of(folder, "open.mp4").read_bytes())
        locked.chmod(0)
        with pytest.raises(SourceError, match="can't be read"):
            probe(str(locked))


def test_sound_and_cover_art_are_no_video(tmp_path: Path) -> None:
    def write(path: Path, cover: bool) -> Path:
        with av.open(str(path), "w") as container:
            sound = container.add_stream("aac", rate=44100)
            art = container.add_stream("mjpeg", rate=1) if cover else None
            if art is not None:
                art.width, art.height, art.pix_fmt = 64, 64, "yuvj420p"
                art.disposition = av.stream.Disposition.attached_pic
                picture = av.VideoFrame.from_ndarray(
                    np.full((64, 64, 3), 99, np.uint8), format="rgb24"
                )
                picture.pts = 0
                container.mux(art.encode(picture.reformat(format="yuvj420p")))
                container.mux(art.encode(None))
            for i in range(20):
                frame = av.AudioFrame.from_ndarray(
                    np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
                )
                frame.sample_rate, frame.pts = 44100, i * 1024
                container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
        return path

    with pytest.raises(SourceError, match="no video stream") as raised:
        probe(str(write(tmp_path / "sound.m4a", cover=False)))
    assert raised.value.error_type == "NoVideoStream"
    with pytest.raises(SourceError, match="cover art doesn't count"):
        probe(str(write(tmp_path / "album.mp4", cover=True)))


def test_a_file_that_vanishes_after_the_probe(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "gone.mp4"
    path.write_bytes(clip_of(folder, "open.mp4").read_bytes())
    segments = plan_segments(probe(str(path)), size=None, min_frames=10)
    path.unlink()
    found = [frame for segment in segments for frame in decode(segment)]
    assert [frame.frame_index for frame in found] == list(range(FRAMES))
    assert {(frame.error_type, frame.rgb is None) for frame in found} == {("Missing", True)}
    assert "does not exist" in found[0].error_message


@pytest.mark.parametrize("name", ["open.mkv", "open.ts", "fast.mp4"])
def test_a_file_cut_off_after_the_probe(folder: Path, tmp_path: Path, name: str) -> None:
    if name == "fast.mp4":
        path = make_clip(
            tmp_path / name,
            FRAMES,
            options={"g": "12"},
            container_options={"movflags": "faststart"},
        )
    else:
        path = tmp_path / name
        path.write_bytes(clip_of(folder, name).read_bytes())
    segments = plan_segments(probe(str(path)), size=None, min_frames=10)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    found = [frame for segment in segments for frame in decode(segment)]
    assert [frame.frame_index for frame in found] == list(range(FRAMES))
    assert found[-1].error_type == "DecodeError"
    assert sum(frame.rgb is not None for frame in found) >= 5
    assert all(number_of(frame) in (None, frame.frame_index) for frame in found)


def test_a_file_replaced_by_another_after_the_probe(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(clip_of(folder, "audio.mp4").read_bytes())  # its video is stream 1
    segments = plan_segments(probe(str(path)), size=None)
    path.write_bytes(b"")
    assert {frame.error_type for segment in segments for frame in decode(segment)} == {"EmptyFile"}
    path.write_bytes(clip_of(folder, "intra.mp4").read_bytes())
    assert {frame.error_type for segment in segments for frame in decode(segment)} == {"Unreadable"}


def test_a_generator_given_up_closes_its_file(folder: Path) -> None:
    (segment,) = plan_segments(probe(str(clip_of(folder, "open.mp4"))), size=None)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        frames = decode(segment)
        next(frames)
        frames.close()
    assert len(os.listdir("/proc/self/fd")) <= before
