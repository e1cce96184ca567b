"""Edited clips as videos: the source's time stamps to the tick, its audio packet for packet,
whatever the source is.
"""

from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
import pyarrow.fs as pafs
import pytest

import raydepth.output.video
from raydepth.errors import JobError
from raydepth.frames.decode import decode
from raydepth.frames.probe import probe
from raydepth.frames.segments import plan_segments
from raydepth.output.clip_videos import clip_videos
from raydepth.output.codecs import encode_rgb
from raydepth.output.folder import OutputFolder
from raydepth.output.plan import Part, cut_parts
from raydepth.output.video import Shown, write_video, write_videos
from tests.frames.barcodes import clip_of, make_clip, oblong, read_barcode
from tests.output.finished import finished, times, video_of
from tests.output.sounding import BEEPS, beeps, sounding
from tests.support.runs import small_job


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


def sound(path: Path) -> list[tuple[Fraction, bytes]]:
    with av.open(str(path)) as container:
        return [
            (packet.pts * packet.time_base, bytes(packet))
            for packet in container.demux(audio=0)
            if packet.size
        ]


@pytest.mark.parametrize(
    "name",
    [
        "variable.mp4",
        "variable.mkv",
        "variable.ts",
        "late.mp4",
        "open.mov",
        "mpeg4 b.avi",
        "odd.mp4",
        "vp9.webm",
    ],
)
def test_times_are_the_sources_to_the_tick_and_every_frame_is_its_own(
    clips: Path, tmp_path: Path, name: str
):
    source = clip_of(clips, name)
    parts = finished(tmp_path, source)
    made, printed = video_of(tmp_path, parts)
    segment = parts[0].segment
    wanted = [
        pts * segment.time_base
        for part in parts
        for pts in part.segment.pts[part.start : part.stop].tolist()
    ]
    assert times(made) == wanted
    again = plan_segments(probe(str(made)), size=None)
    numbers = [
        read_barcode(frame.rgb) for part in again for frame in decode(part) if frame.rgb is not None
    ]
    assert numbers == list(range(60))
    assert "60 frames" in printed


def test_odd_sizes_get_their_last_row_and_column_twice(clips: Path, tmp_path: Path):
    made, _ = video_of(tmp_path, finished(tmp_path, clip_of(clips, "odd.mp4")), crf=0)
    assert (probe(str(made)).height, probe(str(made)).width) == (52, 68)


def test_pictures_of_the_sources_size_keep_the_shape_of_its_pixels(tmp_path: Path):
    clip = oblong(make_clip(tmp_path / "coded.mp4", 4, size=(64, 72)), Fraction(64, 45))
    segments = plan_segments(probe(str(clip)), size=None)
    assert [(s.height, s.width, s.source_size) for s in segments] == [(64, 102, (64, 72))]
    parts = cut_parts(segments, batch=4, shard_frames=4, limit=None)
    for kept, shape, pixel in ((64, 72), (64, 72), Fraction(64, 45)), ((64, 102), (64, 102), 1):
        made = tmp_path / f"{kept[1]}.mp4"
        shown = [Shown(int(pts), np.zeros((*kept, 3), np.uint8)) for pts in segments[0].pts]
        write_video(str(made), parts, partial(iter, shown), crf=20)
        with av.open(str(made)) as container:
            stream = container.streams.video[0]
            assert (stream.height, stream.width) == shape
            assert (stream.sample_aspect_ratio or 1) == pixel


@pytest.mark.parametrize("name", ["audio.mp4", "open.mov", "late.mp4"])
def test_audio_is_copied_packet_for_packet(clips: Path, tmp_path: Path, name: str):
    source = clip_of(clips, name)
    made, printed = video_of(tmp_path, finished(tmp_path, source))
    end = times(made)[-1] + Fraction(1, 25)
    assert sound(made) == [packet for packet in sound(source) if packet[0] < end]
    assert "audio copied" in printed


@pytest.mark.parametrize("images", ["png", "both"])
def test_frames_without_a_result_hold_the_one_before_and_are_counted(
    clips: Path, tmp_path: Path, images: str
):
    source = clip_of(clips, "variable.mp4")
    parts = finished(tmp_path, source, failed=(0, 1, 20), images=images)
    (tmp_path / f"frames/{parts[-1].name}.parquet").unlink()
    made, printed = video_of(tmp_path, parts)
    numbers = [
        read_barcode(frame.rgb)
        for part in plan_segments(probe(str(made)), size=None)
        for frame in decode(part)
    ]
    missing = parts[-1].frames
    assert numbers[:3] == [2, 2, 2] and numbers[19:22] == [19, 19, 21]
    assert numbers[-missing:] == [59 - missing] * missing
    assert f"{3 + missing} without a result" in printed


def test_a_job_that_starts_inside_the_clip_starts_at_zero_with_its_audio(
    clips: Path, tmp_path: Path
):
    source = clip_of(clips, "open.mov")
    parts = finished(tmp_path, source, start_s=1.0, end_s=2.0, stride=5)
    made, _ = video_of(tmp_path, parts)
    assert times(made) == [Fraction(i, 5) for i in range(5)]
    assert sound(made) == [(time - 1, data) for time, data in sound(source) if 1 <= time < 2]


def test_a_turned_clip_is_written_upright(tmp_path: Path):
    source = make_clip(tmp_path / "turned.mp4", 6, rotation=90)
    made, _ = video_of(tmp_path, finished(tmp_path, source))
    assert probe(str(made)).rotation == 0
    assert (probe(str(made)).height, probe(str(made)).width) == (64, 48)


def test_images_of_several_sizes_become_one_video(tmp_path: Path):
    folder = tmp_path / "images"
    folder.mkdir()
    for i, size in enumerate([(40, 60), (40, 60), (61, 90)]):
        (folder / f"{i}.png").write_bytes(encode_rgb(np.full((*size, 3), 40 * i, np.uint8)))
    made, printed = video_of(tmp_path, finished(tmp_path, folder))
    assert times(made) == [Fraction(i, 25) for i in range(3)]
    assert "no audio" in printed


def test_nothing_done_is_no_video_and_no_litter(clips: Path, tmp_path: Path):
    parts = finished(tmp_path, clip_of(clips, "closed.mp4"), failed=tuple(range(60)))
    made, printed = video_of(tmp_path, parts)
    assert "not written" in printed
    assert list(made.parent.iterdir()) == []


def test_a_video_without_pictures_to_make_it_of_is_a_wrong_job(tmp_path: Path):
    for wrong in ({"images": "none"}, {"keep": ["depth"]}):
        fields = {f"output__{name}": value for name, value in wrong.items()}
        with pytest.raises(JobError, match=r"output\.keep must hold edited"):
            small_job(tmp_path / "clip.mp4", tmp_path, output__video=True, **fields)


def test_a_large_file_is_uploaded_whole_or_not_at_all(tmp_path: Path):
    (tmp_path / "bucket/videos").mkdir(parents=True)
    folder = OutputFolder(
        "s3://bucket", pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem()), "bucket"
    )
    with folder.writing("videos/one.mp4") as path:
        Path(path).write_bytes(b"film" * 1_000_000)
    assert (tmp_path / "bucket/videos/one.mp4").read_bytes() == b"film" * 1_000_000
    assert not Path(path).exists()
    with pytest.raises(ZeroDivisionError), folder.writing("videos/two.mp4") as path:
        Path(path).write_bytes(b"half")
        raise ZeroDivisionError
    assert not Path(path).exists()
    assert [file.name for file in (tmp_path / "bucket/videos").iterdir()] == ["one.mp4"]


def test_the_same_frames_give_the_same_bytes(tmp_path: Path):
    """x264's fastest code for this processor does not: 60 encodings without ``SAME_BYTES`` gave 9
    files here.
    """
    clip = make_clip(tmp_path / "clip.mp4", 12)
    parts = finished(tmp_path, clip)
    files = set()
    for _ in range(60):
        made, _ = video_of(tmp_path, parts)
        files.add(made.read_bytes())
        made.unlink()
    assert len(files) == 1


def clips_of(tmp_path: Path, count: int) -> list[Part]:
    """The parts of so many finished clips."""
    return [
        part
        for number in range(count)
        for part in finished(
            tmp_path / "out", make_clip(tmp_path / f"{number}.mp4", 8 + number, audio=True)
        )
    ]


def test_videos_written_at_a_time_have_the_bytes_of_those_written_one_by_one(tmp_path: Path):
    parts, out = clips_of(tmp_path, 4), tmp_path / "out"
    folder = OutputFolder.at(str(out))
    files = []
    for workers in (1, 4):
        assert len(list(write_videos(folder, parts, {}, crf=10, workers=workers))) == 4
        files.append({path.name: path.read_bytes() for path in out.glob("videos/*.mp4")})
        for path in out.glob("videos/*.mp4"):
            path.unlink()
    assert len(files[0]) == 4 and files[0] == files[1]


def test_the_next_run_writes_what_is_missing_or_stale_and_leaves_the_rest(tmp_path: Path):
    parts, out = clips_of(tmp_path, 3), tmp_path / "out"
    folder = OutputFolder.at(str(out))
    list(write_videos(folder, parts, {}, crf=10))
    assert list(write_videos(folder, parts, {}, crf=10)) == ["videos: 3 as they should be already"]
    first, second, third = (out / clip.file for clip in clip_videos(folder, parts, {}, crf=10))
    kept, before = third.stat(), second.read_bytes()
    first.unlink()
    finished(out, tmp_path / "1.mp4", failed=(3,))
    said, *written = write_videos(folder, parts, {}, crf=10)
    assert said == "videos: 1 as they should be already"
    assert len(written) == 2 and "1 without a result" in " ".join(written)
    assert first.exists() and second.read_bytes() != before
    assert third.stat().st_mtime_ns == kept.st_mtime_ns
    assert len(list(write_videos(folder, parts, {}, crf=20))) == 3  # another quality


def test_a_clip_whose_video_fails_costs_that_video_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    parts, out = clips_of(tmp_path, 3), tmp_path / "out"
    folder = OutputFolder.at(str(out))
    bad = parts[0].segment.video
    right = raydepth.output.video.write_video

    def write_video(path: str, clip: list[Part], frames: object, *, crf: int) -> str | None:
        if clip[0].segment.video == bad:
            raise MemoryError("no memory for this one")
        return right(path, clip, frames, crf=crf)

    monkeypatch.setattr("raydepth.output.video.write_video", write_video)
    lines = list(write_videos(folder, parts, {}, crf=10))
    assert len(lines) == 3
    (said,) = (line for line in lines if "not written" in line)
    assert "0.mp4" in said and "no memory for this one" in said
    assert [clip.failed for clip in clip_videos(folder, parts, {}, crf=10)] == [True, False, False]
    assert len(list(out.glob("videos/*"))) == 2
    monkeypatch.undo()  # and the next run tries it again, alone
    _, line = write_videos(folder, parts, {}, crf=10)
    assert bad in line and len(list(out.glob("videos/*.mp4"))) == 3


def test_a_run_that_is_to_stop_drops_what_it_writes_and_the_next_one_goes_on(tmp_path: Path):
    parts, out = clips_of(tmp_path, 3), tmp_path / "out"
    folder = OutputFolder.at(str(out))
    assert list(write_videos(folder, parts, {}, crf=10, stop=lambda: True)) == []
    lines = write_videos(folder, parts, {}, crf=10)
    next(lines)
    lines.close()  # as Ctrl-C does
    assert len(list(out.glob("videos/*"))) < 3
    left = sum(not clip.outcome for clip in clip_videos(folder, parts, {}, crf=10))
    assert 1 <= left <= 2
    list(write_videos(folder, parts, {}, crf=10))
    assert len(list(out.glob("videos/*"))) == 3
    assert all(clip.outcome for clip in clip_videos(folder, parts, {}, crf=10))


@pytest.mark.parametrize(
    ("name", "codec", "start"),
    [
        ("wraps.ts", "aac", 95442),  # its clock of 33 bits wraps 1.7 s after the first frame
        ("late.mkv", "flac", 11),
        ("ten hours.mkv", "flac", 36_000),
        ("ten hours.mov", "pcm_s16le", 36_000),
    ],
)
def test_a_clip_that_starts_below_zero_or_late_starts_at_its_first_frame(
    tmp_path: Path, name: str, codec: str, start: int
):
    """And its sound with it, in step; the rows keep the source's time stamps."""
    stamps = [*range(10), *range(20, 60)]
    source = sounding(tmp_path / name, codec, start=Fraction(start), pts=stamps)
    parts = finished(tmp_path, source)
    first = parts[0].segment.pts[0] * parts[0].segment.time_base
    assert -2 < first < -1 if name == "wraps.ts" else first == start
    made, _ = video_of(tmp_path, parts)
    assert times(made) == [Fraction(i, 25) for i in stamps]
    assert beeps(made) == pytest.approx(BEEPS, abs=0.003)


def test_a_clip_without_a_result_at_its_start_still_starts_at_zero(tmp_path: Path):
    source = make_clip(tmp_path / "clip.mkv", 20, pts=[1000 + i for i in range(20)])
    made, _ = video_of(tmp_path, finished(tmp_path, source, failed=(0, 1)))
    assert times(made) == [Fraction(i, 25) for i in range(20)]
