"""Edited clips as videos: the source's time stamps to the tick, its audio packet for packet,
whatever the source is.
"""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pyarrow.fs as pafs
import pytest

from raydepth.errors import JobError
from raydepth.frames.decode import batches, decode
from raydepth.frames.probe import probe
from raydepth.frames.segments import plan_segments
from raydepth.output.codecs import encode_rgb
from raydepth.output.folder import OutputFolder
from raydepth.output.plan import Part, cut_parts
from raydepth.output.settings import Output
from raydepth.output.shards import batch_table, encode_pictures, write_shard
from raydepth.output.video import write_videos
from tests.frames.barcodes import clip_of, make_clip, read_barcode
from tests.support.runs import small_job


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


def finished(
    out: Path, clip: Path, *, failed: tuple[int, ...] = (), images: str = "parquet", **span
) -> list[Part]:
    """A folder of a run whose edited pictures are the source's own; frames with these numbers have
    failed.
    """
    segments = plan_segments(probe(str(clip)), size=None, **span)
    parts = cut_parts(segments, batch=4, shard_frames=16, limit=None)
    for part in parts:
        tables = []
        for batch in batches(part.segment.take(slice(part.start, part.stop)), 4):
            for row in np.flatnonzero(np.isin(batch["frame_index"], failed)):
                batch["status"][row] = "error"
            pictures = [
                {"edited": rgb} if status == "ok" else {}
                for rgb, status in zip(batch["rgb"], batch["status"], strict=True)
            ]
            batch["attempts"] = np.ones(len(batch["pts"]), np.int32)
            tables.append(batch_table(batch, encode_pictures(pictures)))
        output = Output(path=str(out), images=images, keep=["edited"])
        write_shard(OutputFolder.at(str(out)), part.name, tables, output)
    return parts


def video_of(out: Path, parts: list[Part], crf: int = 10) -> tuple[Path, str]:
    printed = list(write_videos(OutputFolder.at(str(out)), parts, crf=crf))
    assert len(printed) == 1
    return out / "videos" / f"{parts[0].segment.video}.mp4", printed[0]


def times(path: Path) -> list[Fraction]:
    """Seconds of every frame as they are shown."""
    with av.open(str(path)) as container:
        frames = sorted(frame.pts * frame.time_base for frame in container.decode(video=0))
    return frames


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


@pytest.mark.parametrize("name", ["audio.mp4", "open.mov", "late.mp4"])
def test_audio_is_copied_packet_for_packet(clips: Path, tmp_path: Path, name: str):
    source = clip_of(clips, name)
    made, printed = video_of(tmp_path, finished(tmp_path, source))
    end = times(made)[-1] + Fraction(1, 25)
    assert sound(made) == [packet for packet in sound(source) if packet[0] < end]
    assert "audio copied" in printed


def test_audio_that_mp4_does_not_hold_is_left_out_in_words(tmp_path: Path):
    source = tmp_path / "clip.asf"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        audio = container.add_stream("wmav2", rate=44100, layout="mono", bit_rate=64_000)
        for number in range(4):
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8)))
            )
            frame = av.AudioFrame.from_ndarray(
                np.zeros((1, 2048), np.float32), format="fltp", layout="mono"
            )
            frame.sample_rate, frame.pts = 44100, number * 2048
            container.mux(audio.encode(frame))
        container.mux(stream.encode(None))
    made, printed = video_of(tmp_path, finished(tmp_path, source))
    assert len(times(made)) == 4
    assert "no audio, wmav2 left out" in printed


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
    assert len(files) == 1
