"""What `input.paths` may hold, and what it stands for."""

import os
import pickle
from pathlib import Path

import pytest

from raydepth.errors import JobError
from raydepth.frames.sources import SourceError, expand, natural_key


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    files = [
        "clips/b10.mp4",
        "clips/b2.MOV",
        "clips/cover.jpg",
        "clips/notes.txt",
        "clips/._b2.MOV",
        "clips/deep/c.webm",
        "walk/1.png",
        "walk/10.png",
        "walk/2.png",
        "sets/a/1.jpg",
        "sets/b/1.jpg",
        "sets/.hidden/1.jpg",
        "odd [1] ü 日本.mp4",
        "video.unusual",
        "text/readme.md",
    ]
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(file.encode())
    return tmp_path


def expanded(tree: Path, monkeypatch: pytest.MonkeyPatch, *paths: str) -> list[str]:
    monkeypatch.chdir(tree)
    found = expand(paths)
    assert all(os.path.isabs(path) for path in found)
    return [os.path.relpath(path, tree) for path in found]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["clips"], ["clips/b2.MOV", "clips/b10.mp4", "clips/deep/c.webm"]),  # the cover is no clip
        (["clips/*.mp4"], ["clips/b10.mp4"]),
        (["clips/*"], ["clips/b2.MOV", "clips/b10.mp4", "clips/cover.jpg", "clips/deep/c.webm"]),
        (["walk"], ["walk"]),
        (["walk/*.png"], ["walk/1.png", "walk/2.png", "walk/10.png"]),  # photos, a clip each
        (["sets"], ["sets/a", "sets/b"]),
        (["sets/*"], ["sets/a", "sets/b"]),
        (["odd [1] ü 日本.mp4"], ["odd [1] ü 日本.mp4"]),
        (["odd*"], ["odd [1] ü 日本.mp4"]),
        (["video.unusual"], ["video.unusual"]),
        (["*.unusual"], ["video.unusual"]),
        (["**/*.webm"], ["clips/deep/c.webm"]),
        (
            ["clips/deep", "clips", "./clips/b10.mp4"],
            ["clips/deep/c.webm", "clips/b2.MOV", "clips/b10.mp4"],
        ),
    ],
)
def test_expand(
    tree: Path, monkeypatch: pytest.MonkeyPatch, paths: list[str], expected: list[str]
) -> None:
    found = expanded(tree, monkeypatch, *paths)
    assert sorted(found, key=expected.index) == expected if "*" in paths[0] else found == expected


def test_a_link_and_its_target_count_once(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "link.mp4").symlink_to(tree / "clips/b10.mp4")
    (tree / "clips/round").symlink_to(tree / "clips")
    assert expanded(tree, monkeypatch, "link.mp4", "clips") == [
        "link.mp4",
        "clips/b2.MOV",
        "clips/deep/c.webm",
    ]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nothing.mp4", "'nothing.mp4' matches nothing"),
        ("clips/*.avi", r"'clips/\*.avi' matches nothing"),
        ("text", "'text' holds neither videos nor images"),
        ("ftp://host/a.mp4", "ftp:// is not known"),
    ],
)
def test_paths_that_stand_for_nothing(
    tree: Path, monkeypatch: pytest.MonkeyPatch, path: str, message: str
) -> None:
    monkeypatch.chdir(tree)
    with pytest.raises(JobError, match=message) as raised:
        expand(["walk", path])
    assert str(tree) in str(raised.value) or "ftp" in path


def test_natural_order() -> None:
    names = ["a1", "a01", "a2", "a10", "A11", "b", "1", "10", "2", "a1b2", "a1b10", ""]
    assert sorted(names, key=natural_key) == [
        "",
        "1",
        "2",
        "10",
        "a01",
        "a1",
        "a1b2",
        "a1b10",
        "a2",
        "a10",
        "A11",
        "b",
    ]


def test_source_errors_travel_between_processes() -> None:
    error = pickle.loads(pickle.dumps(SourceError("EmptyFile", "a.mp4 is empty")))
    assert (error.error_type, str(error)) == ("EmptyFile", "a.mp4 is empty")


def test_the_output_of_an_earlier_run_is_no_input(tmp_path: Path):
    for name in ("clip.mp4", "out/segments.parquet", "out/images/0123/000000_edited.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert expand([str(tmp_path)]) == [str(tmp_path / "clip.mp4")]
    with pytest.raises(JobError, match="holds neither"):
        expand([str(tmp_path / "out")])
