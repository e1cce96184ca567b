"""Names and folders that break programs: they are read, listed and reported like any other, and
nothing they say is obeyed.
"""

import io
import json
import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from raydepth.depth.files import DepthFiles
from raydepth.errors import JobError
from raydepth.files.text import printable, utf8
from raydepth.frames.decode import batches, decode
from raydepth.frames.find import find_segments
from raydepth.frames.probe import probe
from raydepth.frames.segments import plan_segments
from raydepth.frames.sources import SourceError, UnreadableSource, expand
from raydepth.job import load_job, parse_job
from raydepth.output import record
from raydepth.output.folder import OutputFolder
from raydepth.output.plan import cut_parts, read_plan, write_plan
from tests.faults.bad_videos import sound_only
from tests.frames.barcodes import make_clip, read_barcode
from tests.support.clips import write_clip
from tests.support.runs import small_job

pytestmark = pytest.mark.timeout(20)

NAMES = [
    'it\'s "quoted".mp4',
    "<script>alert(1)<.mp4",
    '"><img src=x onerror=alert(1)>.mp4',
    "{{7*7}}{% include 'x' %}.mp4",
    "two\nlines.mp4",
    "carriage\rreturn.mp4",
    "\x1b[31mred\x1b]0;title\x07.mp4",
    "\u202egpj.mp4",
    "😀 größe 日本.mp4",
    "-rf.mp4",
    "--set.mp4",
    "100%d %s %n.mp4",
    "{stem}{0}{parent}.mp4",
    "a:b.mp4",
    "concat:a|b.mp4",
    "pipe:0.mp4",
    "http:127.0.0.1.mp4",
    "$HOME `id` $(id).mp4",
    "#part?query=1&b=2.mp4",
    "back\\slash\\..\\x.mp4",
    " .mp4",
    "clip [1] *.mp4",
    "tab\t.mp4",
    "n" * 251 + ".mp4",
    os.fsdecode(b"not utf-8 \xff\xe9.mp4"),
]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("names") / "clip.mp4", 6, options={"g": "1"})


@pytest.mark.parametrize("name", NAMES, ids=lambda name: printable(name)[:40])
def test_a_name_is_only_a_name(source: Path, tmp_path: Path, name: str) -> None:
    """Found, read, decoded, and kept in job.yaml, segments.parquet and a JSON text that UTF-8
    readers take.
    """
    path = tmp_path / name
    shutil.copy(source, path)
    (tmp_path / "out").mkdir()
    assert expand([str(path)]) == expand([str(tmp_path)]) == [str(path)]
    encodable = utf8(name) == name
    if not encodable:
        with pytest.raises(
            JobError, match=r"input\.paths\.0"
        ):  # YAML is UTF-8: such a file is had by its folder
            small_job([str(path)], tmp_path / "out")
    job = small_job([str(path if encodable else tmp_path)], tmp_path / "out")
    found = find_segments(job.input, job.compose.every)
    segments, unreadable = found.segments, found.unreadable
    assert not unreadable
    (found,) = list(batches(segments[0], 8))
    plain = plan_segments(probe(str(path)), size=None)
    assert [read_barcode(frame.rgb) for frame in decode(plain[0])] == list(range(6))
    assert set(found["path"]) == {str(path)}
    assert (
        DepthFiles("{parent}/{stem}.png").path(found, 0) == str(path).removesuffix(".mp4") + ".png"
    )  # braces in it are no fields
    folder = OutputFolder.at(str(tmp_path / "out"))
    write_plan(
        folder,
        cut_parts(segments, batch=4, shard_frames=8, limit=None),
        [UnreadableSource(str(path), "X", str(path))],
    )
    kept = read_plan(folder)["path"].to_pylist()
    assert kept == [utf8(str(path))] * 7
    assert json.loads(json.dumps(kept, ensure_ascii=False).encode("utf-8")) == kept
    record.record_job(folder, job.tree())
    assert parse_job(record.read_job(folder)) == job
    assert load_job(tmp_path / "out" / "job.yaml") == job


@pytest.mark.parametrize("name", NAMES, ids=lambda name: printable(name)[:40])
def test_what_is_printed_steers_no_terminal(name: str) -> None:
    shown = printable(f"unreadable: {name}")
    assert shown.encode("utf-8") and "\n" not in shown
    assert not {unicodedata.category(char) for char in shown} & {"Cc", "Cs", "Zl", "Zp"}
    assert "\u202e" not in shown and "\x1b" not in shown
    assert name.isascii() is False or not name.isprintable() or shown.endswith(name)


def test_the_command_line_prints_names_it_can_print(tmp_path: Path) -> None:
    """A refused run names its files on a real stdout and stderr, with nothing raw in them."""
    for name in ("\x1b[2Jcleared.mp4", os.fsdecode(b"\xff.mp4"), "two\nlines.mp4"):
        sound_only(tmp_path / "sound.mp4").rename(tmp_path / name)
    job = tmp_path / "job.yaml"
    job.write_text(json.dumps(small_job([str(tmp_path)], tmp_path / "out").model_dump(mode="json")))
    done = subprocess.run(
        [sys.executable, "-m", "raydepth", "run", str(job)],
        capture_output=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 2
    text = done.stderr.decode("utf-8")
    assert "no frames to edit in 3 sources" in text and "Traceback" not in text
    assert "\x1b" not in text and "\\x1b[2Jcleared" in text and "two\\nlines" in text


def test_links_loops_pipes_and_folders(source: Path, tmp_path: Path) -> None:
    """What can't be read is told once; what is no file is passed over; nothing goes round in
    circles or waits.
    """
    (tmp_path / "deep" / "er").mkdir(parents=True)
    shutil.copy(source, tmp_path / "good.mp4")
    for link, target in (
        ("loop a.mp4", "loop b.mp4"),
        ("loop b.mp4", "loop a.mp4"),
        ("myself.mp4", "myself.mp4"),
        ("nowhere.mp4", "gone.mp4"),
        ("again.mp4", "good.mp4"),
        ("here", "."),
        ("deep/up", ".."),
        ("deep/er/root", "/"),
    ):
        (tmp_path / link).symlink_to(target)
    (tmp_path / "folder.mp4").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    found = expand([str(tmp_path)])
    refused = {}
    for path in found:
        try:
            assert len(probe(path).pts) == 6
        except SourceError as error:
            refused[os.path.basename(path)] = error.error_type
    assert refused == {
        "loop a.mp4": "Unreadable",
        "loop b.mp4": "Unreadable",
        "myself.mp4": "Unreadable",
        "nowhere.mp4": "Missing",
    }
    assert len(found) == 5


@pytest.mark.parametrize(
    ("name", "error_type"),
    [
        ("pipe.mp4", "NotAVideo"),
        ("loop.mp4", "Unreadable"),
        ("nowhere.mp4", "Missing"),
        ("/dev/zero", "NotAVideo"),
        ("/dev/null", "NotAVideo"),
        ("/proc/self/mem", "EmptyFile|Unreadable"),
        ("socket.mp4", "NotAVideo"),
    ],
)
def test_what_is_named_and_no_file_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, error_type: str
) -> None:
    import socket

    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "nowhere.mp4").symlink_to("gone.mp4")
    with socket.socket(socket.AF_UNIX) as made:
        monkeypatch.chdir(tmp_path)  # a socket's path may have 107 bytes only
        made.bind("socket.mp4")
        (path,) = expand([str(tmp_path / name)])
        with pytest.raises(SourceError) as raised:
            probe(path)
    assert raised.value.error_type in error_type


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_files_and_folders_without_permission(source: Path) -> None:
    """As nobody: a locked file is a row, a locked folder is a job that can't be what was meant."""
    import tempfile

    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        folder.chmod(0o755)
        (folder / "files").mkdir(mode=0o755)
        (folder / "closed").mkdir()
        for name in ("files/locked.mp4", "closed/clip.mp4"):
            shutil.copy(source, folder / name)
        (folder / "files/locked.mp4").chmod(0)
        (folder / "closed").chmod(0)
        os.seteuid(65534)
        (path,) = expand([str(folder / "files")])
        with pytest.raises(SourceError, match=r"locked\.mp4 can't be read: Permission denied"):
            probe(path)
        with pytest.raises(JobError, match="can't be listed: Permission denied"):
            expand([str(folder)])
    finally:
        os.seteuid(0)
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "a\0b.mp4",
        "\0/*",
        "x" * 300 + ".mp4",
        "/".join(["deep"] * 1200) + "/*.mp4",
        "[",
        "[!",
        "**/nothing.mp4",
        "~nobody-here/*",
        "*\n*",
    ],
    ids=range(10),
)
def test_paths_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(JobError, match=r"input\.paths"):
        expand([path])


def test_thousands_of_tiny_files(source: Path, tmp_path: Path) -> None:
    """Two thousand files, one of them good: every other one is told."""
    data = source.read_bytes()
    for i in range(1000):
        (tmp_path / f"{i:04d} empty.mp4").touch()
        (tmp_path / f"{i:04d} text.avi").write_bytes(b"text %d" % i)
    (tmp_path / "good.mp4").write_bytes(data)
    found = find_segments(small_job([str(tmp_path)], tmp_path / "out").input)
    segments, unreadable = found.segments, found.unreadable
    assert sum(len(segment) for segment in segments) == 6
    assert len({problem.path for problem in unreadable}) == 2000


def test_a_thousand_folders_deep(tmp_path: Path, source: Path) -> None:
    """Deeper than Python recurses."""
    here = os.getcwd()
    try:
        os.chdir(tmp_path)
        for _ in range(1100):
            os.mkdir("d")
            os.chdir("d")
        shutil.copy(source, "clip.mp4")
        os.chdir(tmp_path)
        (path,) = expand([str(tmp_path)])
        assert path.count("/d") >= 1100
        assert len(probe(path).pts) == 6
    finally:
        os.chdir(here)
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)


def test_an_image_folder_of_thousands(tmp_path: Path) -> None:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    for i in range(3000):
        (tmp_path / f"{i}.png").write_bytes(buffer.getvalue() if i % 3 else b"")
    segments = plan_segments(probe(str(tmp_path)), size=32, stride=100)
    images = [os.path.basename(image) for segment in segments for image in segment.images]
    assert images == [f"{i}.png" for i in range(0, 3000, 100)]
    found = [frame for segment in segments for frame in decode(segment)]
    assert [frame.rgb is None for frame in found] == [i % 3 == 0 for i in range(0, 3000, 100)]


def test_one_clip_under_two_names_is_one_clip(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", frames=3)
    shutil.copy(clip, tmp_path / "b.mp4")
    segments = find_segments(small_job([str(tmp_path)], tmp_path / "out").input).segments
    assert sum(len(segment) for segment in segments) == 3
