"""Probes of large files are kept between runs: equal to new ones, never those of another file."""

import os
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from raydepth.frames import known_probes
from raydepth.frames.known_probes import probe_once
from raydepth.frames.probe import probe
from raydepth.frames.source import Source
from tests.frames.barcodes import CLIPS, clip_of, make_clip

Asked = list[str]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Files that were probed; all are large enough to be kept, in a cache of the test's own."""
    files: Asked = []

    def counted(path: str) -> Source:
        files.append(path)
        return probe(path)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(known_probes, "LARGE", 1)
    monkeypatch.setattr(known_probes, "_ENDS", 64)
    monkeypatch.setattr(known_probes, "probe", counted)
    return files


def equal(a: Source, b: Source) -> bool:
    """Whether all fields are, and are of the same types."""
    pairs = [(getattr(a, item.name), getattr(b, item.name)) for item in fields(Source)]
    return all(
        type(x) is type(y)
        and ((x.dtype == y.dtype and np.array_equal(x, y)) if isinstance(x, np.ndarray) else x == y)
        for x, y in pairs
    )


@pytest.mark.parametrize("name", sorted(CLIPS)[::4])
def test_what_is_kept_equals_a_new_probe(asked: Asked, tmp_path: Path, name: str) -> None:
    clip = str(clip_of(tmp_path, name))
    first, second = probe_once(clip), probe_once(clip)
    assert asked == [clip]
    assert equal(first, second)
    assert equal(second, probe(clip))


def test_a_file_that_has_changed_is_probed_again(asked: Asked, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", 8)
    before, times = probe_once(str(clip)), os.stat(clip)
    data = bytearray(clip.read_bytes())
    data[len(data) // 2] ^= 255  # neither its size, nor its ends, nor the time that it shows
    clip.write_bytes(data)
    os.utime(clip, ns=(times.st_atime_ns, times.st_mtime_ns))
    probe_once(str(clip))
    assert len(asked) == 2
    make_clip(clip, 9)
    assert len(probe_once(str(clip)).pts) == 9
    assert len(before.pts) == 8


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive", None])
def test_a_damaged_cache_is_made_anew(asked: Asked, tmp_path: Path, damage: bytes | None) -> None:
    clip = str(make_clip(tmp_path / "clip.mp4", 8))
    probe_once(clip)
    (kept,) = (tmp_path / "cache/raydepth/probes").iterdir()
    kept.write_bytes(kept.read_bytes()[:-40] if damage is None else damage)
    assert equal(probe_once(clip), probe(clip))
    probe_once(clip)
    assert len(asked) == 2


def test_without_a_cache_folder_files_are_probed(
    asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    clip = str(make_clip(tmp_path / "clip.mp4", 8))
    assert equal(probe_once(clip), probe_once(clip))
    assert len(asked) == 2


def test_the_oldest_go_when_there_are_too_many(
    asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_probes, "MOST", 4)
    for number in range(5):
        probe_once(str(make_clip(tmp_path / f"{number}.mp4", 4)))
    assert len(list((tmp_path / "cache/raydepth/probes").iterdir())) == 3
    probe_once(str(tmp_path / "4.mp4"))
    assert len(asked) == 5


def test_small_files_folders_and_objects_are_not_kept(
    asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_probes, "LARGE", 16 << 20)
    probe_once(str(make_clip(tmp_path / "clip.mp4", 8)))
    assert not (tmp_path / "cache").exists()
