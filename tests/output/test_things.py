"""Masks of things in the output folder: what was put comes back in any order; damage is said."""

import numpy as np
import pytest

from raydepth.errors import JobError
from raydepth.output.folder import OutputFolder
from raydepth.output.names import entry
from raydepth.output.things import CHUNK, MaskWriter, ThingTracks, Track, things_name

SHOT = "0123456789abcdef.2"
INDICES = np.arange(0, 5 * CHUNK, 7)


def mask(index: int) -> np.ndarray:
    return np.random.default_rng(index).random((27, 31)) < 0.5


def track() -> Track:
    n = len(INDICES)
    state = np.full((n, 2), "seen", object)
    state[:, 1], state[3, 0] = "hidden", "lost"
    depth = np.linspace(0, 1, 2 * n, dtype=np.float32).reshape(n, 2)
    return Track(("dog", "cup"), INDICES, state, depth, np.full((n, 2), np.nan, np.float32))


@pytest.fixture
def folder(tmp_path) -> OutputFolder:
    folder = OutputFolder.at(str(tmp_path))
    writer = MaskWriter(folder, SHOT)
    middle = len(INDICES) // 2
    for index in [*INDICES[middle:], *INDICES[:middle][::-1]]:
        writer.put(int(index), "dog", mask(int(index)))
    writer.finish(track())
    return folder


def test_everything_comes_back(folder):
    tracks = ThingTracks(folder, SHOT)
    for row, index in enumerate(INDICES.tolist()):
        found = tracks(index)
        assert list(found) == ["dog", "cup"]
        if row == 3:
            assert found["dog"].state == "lost" and found["dog"].mask is None
        else:
            assert np.array_equal(found["dog"].mask, mask(index))
        assert found["cup"].state == "hidden" and found["cup"].mask is None
        assert found["dog"].inv_depth == track().inv_depth[row, 0]
    assert tracks(1) == {}


def test_two_passes_share_a_chunk(tmp_path):
    folder = OutputFolder.at(str(tmp_path))
    writer = MaskWriter(folder, SHOT)
    for index in INDICES.tolist():
        writer.put(index, "dog", mask(index))
    for index in INDICES[::-1].tolist():
        writer.put(index, "cup", mask(index + 1))
    state = np.full((len(INDICES), 2), "seen", object)
    writer.finish(Track(("dog", "cup"), INDICES, state, *[np.zeros((len(INDICES), 2))] * 2))
    tracks = ThingTracks(folder, SHOT)
    for index in INDICES.tolist():
        assert np.array_equal(tracks(index)["dog"].mask, mask(index))
        assert np.array_equal(tracks(index)["cup"].mask, mask(index + 1))


def test_every_file_stands_under_the_shot(folder):
    names = folder.files("things")
    assert len(names) == 5 + 1 and {entry(name) for name in names} == {things_name(SHOT)}


def test_a_writer_holds_few_chunks(tmp_path):
    writer = MaskWriter(OutputFolder.at(str(tmp_path)), SHOT)
    for index in range(0, 40 * CHUNK, 10):
        writer.put(index, "dog", mask(0))
        assert len(writer._open) <= 2


@pytest.mark.parametrize("name", ["-frames.parquet", "-000000.parquet"])
@pytest.mark.parametrize("damage", ["gone", "cut", "other"])
def test_damage_is_said(folder, tmp_path, name, damage):
    file = tmp_path / (things_name(SHOT) + name)
    data = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(data[: len(data) // 2] if damage == "cut" else b"no table")
    with pytest.raises(JobError, match=f"things/{SHOT}{name}.*calibrations.json"):
        ThingTracks(folder, SHOT)(0)
