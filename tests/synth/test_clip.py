"""The clip writer: what is on disk is what was rendered, truths agree, memory does not grow, errors
are clear.
"""

import json
import shutil
from collections import namedtuple
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
from PIL import Image
from typer.testing import CliRunner

from raydepth.cli import app
from raydepth.errors import JobError
from raydepth.job import parse_job
from raydepth.synth import clip as clip_module
from raydepth.synth import write_clip
from raydepth.synth.case import Snapshot
from raydepth.synth.matte import alpha_over
from raydepth.synth.setup import random_setup

SIZE = (32, 48)


def _read(folder: Path, index: int) -> np.ndarray:
    return np.asarray(Image.open(folder / f"{index:06d}.png"))


def _frames(video: Path) -> list[np.ndarray]:
    with av.open(str(video)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> clip_module.ClipPaths:
    out = tmp_path_factory.mktemp("clip")
    return write_clip(
        out, frames=2, size=SIZE, seed=5, fps=2.0, layers=True, truths=True, samples=4
    )


def test_video_depth_and_camera(clip):
    frames = _frames(clip.video)
    assert len(frames) == 2
    with av.open(str(clip.video)) as container:
        assert float(container.streams.video[0].average_rate) == 2.0
    snapshot = Snapshot(random_setup(5, 1.5), 0.5, SIZE, samples=4)
    depth = _read(clip.depth, 1)
    assert depth.dtype == np.uint16
    assert np.abs(depth / 1000 - snapshot.depth).max() <= 0.00051
    assert np.array_equal(_read(clip.frames, 1), snapshot.rgb())
    assert np.abs(frames[1].astype(int) - snapshot.rgb()).mean() < 6
    assert not np.array_equal(depth, _read(clip.depth, 0))
    camera = json.loads(clip.camera.read_text())
    assert camera["fx"] == pytest.approx(snapshot.camera.focal * 32)
    assert len(camera["frames"]) == 2
    assert camera["frames"][1]["threshold_m"] == snapshot.threshold_m
    assert camera["frames"][1]["position"] == list(snapshot.camera.position)


def test_layers_and_truths_agree_with_frames_and_depth(clip):
    camera = json.loads(clip.camera.read_text())
    for index in range(2):
        rgb, near = _read(clip.frames, index), _read(clip.truth / "near", index) == 255
        assert np.array_equal(
            alpha_over(_read(clip.layers / "near", index), _read(clip.layers / "rest", index)), rgb
        )
        millimetres = 1000 * camera["frames"][index]["threshold_m"]
        assert np.array_equal(near, _read(clip.depth, index) < millimetres)
        snapshot = Snapshot(random_setup(5, 1.5), index / 2, SIZE, samples=4)
        assert np.array_equal(_read(clip.truth / "fill", index), snapshot.fill()[0])
        assert np.array_equal(_read(clip.truth / "insert", index), snapshot.insert()[0])
        assert np.array_equal(_read(clip.truth / "background", index), snapshot.composite()[0])
    assert len(_frames(clip.truth / "background.mp4")) == 2


def test_insert_json_is_a_job_section_that_puts_the_object_where_it_is(clip):
    edit = json.loads((clip.truth / "insert.json").read_text())
    parse_job(
        {"schema_version": 1, "input": {"paths": ["x.mp4"]}, "edit": edit, "output": {"path": "y"}}
    )
    picture = np.asarray(Image.open(edit["object"]))
    focal = 48 / 2 / np.tan(np.radians(edit["fov_deg"]) / 2)
    assert focal * edit["height_m"] / edit["at"]["metres"] == pytest.approx(
        picture.shape[0], rel=1e-3
    )
    snapshot = Snapshot(random_setup(5, 1.5), 0.0, SIZE, samples=4)
    _, (x0, _, x1, y1) = snapshot.cut_out()
    assert edit["point"] == pytest.approx([(x0 + x1) / 2 / 48, y1 / 32], abs=1e-4)
    assert edit["at"]["metres"] == pytest.approx(snapshot.object_depth_m, abs=1e-3)


def test_same_arguments_same_bytes(clip, tmp_path):
    again = write_clip(
        tmp_path, frames=2, size=SIZE, seed=5, fps=2.0, layers=True, truths=True, samples=4
    )
    files = sorted(path for path in clip.video.parent.rglob("*") if path.is_file())
    assert len(files) == 5 + 2 * 8
    for path in files:
        other = tmp_path / path.relative_to(clip.video.parent)
        if path.name == "insert.json":
            assert {**json.loads(path.read_text()), "object": 0} == {
                **json.loads(other.read_text()),
                "object": 0,
            }
        else:
            assert path.read_bytes() == other.read_bytes(), path
    assert again.layers == tmp_path / "layers"


def test_memory_does_not_grow_with_length(tmp_path, monkeypatch):
    used = []

    class Watched(Snapshot):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            used.append(psutil.Process().memory_info().rss)

    monkeypatch.setattr(clip_module, "Snapshot", Watched)
    write_clip(tmp_path, frames=60, size=SIZE, seed=5, samples=1)
    assert max(used[40:]) - used[20] < 12e6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": 0}, "frames"),
        ({"samples": 0}, "samples"),
        ({"size": (33, 64)}, "even"),
        ({"size": (32, 16)}, "at least 32"),
        ({"size": (4322, 8000)}, "at most 4320"),
    ],
)
def test_impossible_clips_are_refused_before_anything_is_written(tmp_path, changes, message):
    with pytest.raises(JobError, match=message):
        write_clip(tmp_path / "out", **{"frames": 1, "size": SIZE, "seed": 0, **changes})
    assert not (tmp_path / "out").exists()


def test_no_room_on_the_disk(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 10**5))
    with pytest.raises(JobError, match=r"needs about 3\.1 GB of disk, and 0\.0 GB are free"):
        write_clip(tmp_path, frames=1000, size=(1080, 1440), seed=0, samples=1)
    monkeypatch.undo()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(clip_module, "_save", full)
    with pytest.raises(JobError, match="no room left"):
        write_clip(tmp_path, frames=1, size=SIZE, seed=5, samples=1)


def test_the_command_writes_what_was_asked_and_refuses_what_cannot_be(tmp_path):
    small = ["--frames", "1", "--size", "32", "--aspect", "1", "--samples", "1", "--seed", "5"]
    done = CliRunner().invoke(app, ["synth", str(tmp_path / "a"), *small, "--layers"])
    assert done.exit_code == 0, done.output
    assert [Path(line).name for line in done.output.split()] == [
        "clip.mp4", "depth", "camera.json", "frames", "layers",
    ]  # fmt: skip
    odd = CliRunner().invoke(app, ["synth", str(tmp_path / "b"), "--size", "33"])
    assert isinstance(odd.exception, JobError) and "58x33" in str(odd.exception)
    (tmp_path / "c").write_text("")
    taken = CliRunner().invoke(app, ["synth", str(tmp_path / "c")])
    assert isinstance(taken.exception, JobError) and "is a file" in str(taken.exception)


@pytest.mark.parametrize("name", ["clip.mp4", "camera.json", "depth/mine.png", "truth/mine.txt"])
def test_nothing_that_is_there_is_replaced(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(JobError, match=r"is there already, and nothing is replaced; name another"):
        write_clip(tmp_path, frames=1, size=SIZE, seed=5, samples=1)
    found = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert found == [tmp_path / name] and found[0].read_text() == "mine"
