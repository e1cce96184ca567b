"""What is left out, ignored or changed in the input is named, once for each source."""

import shutil
import struct
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raydepth.errors import JobError
from raydepth.frames.decode import decode
from raydepth.frames.find import find_segments, note_lines
from raydepth.frames.probe import probe
from raydepth.frames.segments import plan_segments
from raydepth.frames.settings import Input
from raydepth.frames.sources import SourceNote
from raydepth.output.folder import OutputFolder
from raydepth.output.plan import cut_parts, notes_of, read_plan, write_plan
from tests.frames.barcodes import make_clip, oblong, with_box
from tests.report.made_up import make_report, row


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "clip.mp4", 8, size=(64, 80), picture=mark)


def mark(_number: int) -> np.ndarray:
    """A bright rectangle of 32 x 24 pixels at (20, 8), on dark."""
    picture = np.full((64, 80, 3), 30, np.uint8)
    picture[8:32, 20:52] = 220
    return picture


def notes(*paths: Path) -> list[str]:
    return note_lines(find_segments(Input(paths=[str(path) for path in paths])).notes)


def test_endings_that_are_not_known(clip: Path, tmp_path: Path) -> None:
    for name in ("a.heic", "b.HEIC", "deep/c.lrv", "deep/no ending", ".hidden.heic"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "cover.jpg").touch()  # a picture beside videos is no source either
    expected = "left out: 2 .heic, 1 .jpg, 1 .lrv, 1 without an ending; name files to have them "
    assert notes(tmp_path) == [f"{tmp_path}: {expected}read all the same"]
    assert notes(tmp_path / "*")[0].startswith(f"{tmp_path / '*'}: left out: 2 .heic")
    assert notes(clip) == notes(tmp_path / "*.mp4") == []
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "a.heic").touch()
    with pytest.raises(JobError, match=r"holds neither videos nor images, but 1 \.heic"):
        notes(tmp_path / "only")


@pytest.mark.parametrize("ending", ["m2t", "insv", "apng"])
def test_videos_of_rarer_endings_are_read(clip: Path, tmp_path: Path, ending: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(clip, folder / f"a.{ending}")
    assert len(find_segments(Input(paths=[str(folder)])).segments[0]) == 8


def test_a_second_video_stream(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "two.mp4", 8, decoy=True)
    assert notes(clip) == [f"{clip}: of its video streams 1 (64x48) is edited; left out: 0 (32x32)"]


def test_interlaced_and_oblong(tmp_path: Path) -> None:
    options = {"x264-params": "interlaced=1:tff=1"}
    woven = make_clip(tmp_path / "woven.mp4", 8, size=(96, 128), options=options)
    lines = notes(oblong(woven, Fraction(64, 45)))
    assert [line.partition(": ")[2][:20] for line in lines] == [
        "it is interlaced, an",
        "its pixels are not s",
    ]


@pytest.mark.parametrize("pixel", [Fraction(2), Fraction(1, 2), Fraction(1000)])
def test_work_is_on_square_pixels(clip: Path, pixel: Fraction) -> None:
    source = probe(str(oblong(clip, pixel)))
    square = {2: (64, 160), Fraction(1, 2): (128, 80), 1000: (64, 80)}[pixel]  # 1000: a mistake
    (segment,) = plan_segments(source, size=None)
    assert (segment.height, segment.width) == square
    assert segment.source_size == (64, 80)
    frame = next(decode(segment))
    bright = frame.rgb[..., 0] > 125
    assert bright.sum() == pytest.approx(32 * 24 * square[0] * square[1] / (64 * 80), rel=0.1)
    (small,) = plan_segments(source, size=32)
    assert min(small.height, small.width) == 32
    assert small.width / small.height == pytest.approx(square[1] / square[0], rel=0.05)


def clean_aperture(width: int, height: int, right: Fraction, down: Fraction) -> bytes:
    numbers = [width, 1, height, 1, right.numerator, right.denominator]
    return struct.pack(">I4s8i", 40, b"clap", *numbers, down.numerator, down.denominator)


def test_cropping_of_an_mp4(clip: Path, tmp_path: Path) -> None:
    # 48 x 40 pixels from (12, 4): its middle is 4 left of the picture's and 8 above it
    box = clean_aperture(48, 40, Fraction(-4), Fraction(-8))
    check_cropped(with_box(clip, box, tmp_path / "cropped.mp4"))
    nonsense = with_box(clip, clean_aperture(90, 40, Fraction(0), Fraction(0)), tmp_path / "no.mp4")
    assert probe(str(nonsense)).crop == (0, 0, 0, 0)


@pytest.mark.skipif(not shutil.which("mkvmerge"), reason="no mkvmerge")
def test_cropping_of_a_matroska_file(clip: Path, tmp_path: Path) -> None:
    cropped = tmp_path / "cropped.mkv"
    command = ["mkvmerge", "-q", "-o", cropped, "--cropping", "0:12,4,20,20"]
    subprocess.run([*command, "--display-dimensions", "0:48x40", clip], check=True)
    check_cropped(cropped)


def check_cropped(path: Path) -> None:
    source = probe(str(path))
    assert source.crop == (12, 4, 20, 20)
    assert (source.width, source.height) == (48, 40)
    (segment,) = plan_segments(source, size=None)
    assert (segment.height, segment.width) == segment.source_size == (40, 48)
    bright = next(decode(segment)).rgb[..., 0] > 125
    expected = np.zeros((40, 48), bool)
    expected[4:28, 8:40] = True
    assert (bright != expected).mean() < 0.02
    assert notes(path) == [
        f"{path}: its container crops 80x64 pixels to 48x40, and so does raydepth"
    ]


@pytest.mark.parametrize(
    ("profile", "compatible", "wrong"), [(5, 0, True), (8, 4, False), (10, 0, True)]
)
def test_dolby_vision_without_a_base_layer(
    clip: Path, tmp_path: Path, profile: int, compatible: int, wrong: bool
) -> None:
    record = struct.pack(
        ">I4sBBHB19x", 32, b"dvcC", 1, 0, (profile << 9) | (1 << 3) | 0b101, compatible << 4
    )
    marked = with_box(clip, record, tmp_path / "dv.mp4")
    source = probe(str(marked))
    assert len(source.pts) == 8
    assert any("its colours are wrong" in remark for remark in source.remarks) == wrong


def test_one_line_for_many_sources() -> None:
    about = [SourceNote(f"{i}.mp4", "its alpha is dropped") for i in range(5)]
    assert note_lines([*about, SourceNote("x", "other")]) == [
        "0.mp4, 1.mp4, 2.mp4 and 2 more: its alpha is dropped",
        "x: other",
    ]


def test_notes_are_kept_with_the_plan_and_shown_in_the_report(clip: Path, tmp_path: Path) -> None:
    folder = OutputFolder.at(str(tmp_path / "out"))
    folder.prepare()
    parts = cut_parts(plan_segments(probe(str(clip)), size=64), batch=4, shard_frames=4, limit=None)
    said = [SourceNote("a\ud8ff.mp4", "its <alpha> is dropped"), SourceNote("b", "more")]
    write_plan(folder, parts, [], said)
    plan = read_plan(folder)
    assert len(plan) == 8
    kept = notes_of(plan)
    assert [note.text for note in kept] == ["its <alpha> is dropped", "more"]
    shown = [{"path": note.path, "text": note.text} for note in kept]
    tree = make_report(tmp_path, [row("a", 0)], notes=shown)
    assert tree["notes"] == shown
    page = (tmp_path / "report" / "index.html").read_text()
    assert "Notes on the input" in page
    assert "its &lt;alpha&gt; is dropped" in page
    make_report(tmp_path, [row("a", 0)])
    assert "Notes on the input" not in (tmp_path / "report" / "index.html").read_text()


@pytest.mark.parametrize("damage", [b"{", b"[1]", b"[[1, 2]]", b'"x"', b"[" * 100000])
def test_damaged_notes_are_a_damaged_plan(clip: Path, tmp_path: Path, damage: bytes) -> None:
    folder = OutputFolder.at(str(tmp_path / "out"))
    folder.prepare()
    parts = cut_parts(plan_segments(probe(str(clip)), size=64), batch=4, shard_frames=4, limit=None)
    write_plan(folder, parts, [])
    sink = pa.BufferOutputStream()
    pq.write_table(read_plan(folder).replace_schema_metadata({b"notes": damage}), sink)
    folder.write("segments.parquet", sink.getvalue().to_pybytes())
    with pytest.raises(JobError, match="is damaged"):
        read_plan(folder)
