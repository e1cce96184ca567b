"""``raydepth init``: every template loads, plans, and overwrites nothing."""

import os
from pathlib import Path

import cv2
import pytest
import yaml

from raydepth.edits.registry import check_edit
from raydepth.errors import JobError
from raydepth.job import load_job
from raydepth.job.paths import refuse_missing
from raydepth.job.start import DISC, KINDS, write_job
from raydepth.run.check import check_models
from tests.support.clips import write_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips: #1 [a]")
    return write_clip(folder / "it's.mp4", frames=3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_is_a_job_of_the_clip(kind: str, clip: Path, tmp_path: Path):
    file = tmp_path / "new" / "mine.yaml"
    written = write_job(kind, str(clip), file)
    assert written[0] == file
    job = load_job(file)
    refuse_missing(job, file)
    check_models(job)
    check_edit(job.edit, job.layers)
    assert job.input.paths == [str(clip)]
    assert job.output.path == "runs/mine"
    assert "raydepth preview" in file.read_text()
    own = [line for line in file.read_text().splitlines() if str(tmp_path) not in line]
    assert all(len(line) <= 100 for line in own if "paths:" not in line)


def test_things_have_a_place_for_clicks(clip: Path, tmp_path: Path):
    for kind in ("remove", "insert", "background"):
        write_job(kind, str(clip), tmp_path / f"{kind}.yaml")
        tree = yaml.safe_load((tmp_path / f"{kind}.yaml").read_text())
        assert tree["layers"]["things"][0]["point"] == [0.5, 0.5]
    assert cv2.imread(str(tmp_path / DISC), cv2.IMREAD_UNCHANGED).shape == (256, 256, 4)


def test_a_clip_below_the_job_is_named_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_clip(tmp_path / "clips" / "clip.mp4", frames=2)
    monkeypatch.chdir(tmp_path)
    write_job("planes", "clips/clip.mp4", Path("job.yaml"))
    assert yaml.safe_load(Path("job.yaml").read_text())["input"]["paths"] == ["clips/clip.mp4"]
    os.chdir("/")
    assert load_job(tmp_path / "job.yaml").input.paths == [str(tmp_path / "clips/clip.mp4")]


def test_nothing_is_overwritten(clip: Path, tmp_path: Path):
    file = tmp_path / "job.yaml"
    file.write_text("mine")
    with pytest.raises(JobError, match="is there already"):
        write_job("remove", str(clip), file)
    assert file.read_text() == "mine"
    (tmp_path / DISC).write_text("mine too")
    with pytest.raises(JobError, match=f"{DISC} is there already"):
        write_job("insert", str(clip), tmp_path / "other.yaml")
    assert not (tmp_path / "other.yaml").exists()
    assert (tmp_path / DISC).read_text() == "mine too"


def test_a_clip_that_is_not_there_writes_nothing(tmp_path: Path):
    with pytest.raises(JobError, match="nowhere"):
        write_job("remove", str(tmp_path / "nowhere.mp4"), tmp_path / "job.yaml")
    assert list(tmp_path.iterdir()) == []
