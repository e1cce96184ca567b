"""What travels with a submitted job: which files, under which names, how much of them; and what the
cluster must have.
"""

import os
import sys
import tomllib
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from raydepth.depth.files import DepthFiles
from raydepth.errors import JobError
from raydepth.frames.sources import expand
from raydepth.job import Job
from raydepth.run.submit import entrypoint, requirements
from raydepth.run.submit.packing import JOB, Parcel, pack
from tests.support.runs import small_job


def touch(path: Path, size: int = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with another one beside it."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def job(*paths: str, **fields: object) -> Job:
    return small_job(list(paths), Path("/shared/out"), **fields)


def unpacked(parcel: Parcel, folder: Path) -> Path:
    """What a node has as its current directory."""
    parcel.write(folder.with_suffix(".zip"))
    with zipfile.ZipFile(folder.with_suffix(".zip")) as archive:
        archive.extractall(folder)
    return folder


def test_below_the_current_directory_nothing_is_renamed(here: Path, tmp_path: Path):
    touch(here / "clips/a.mp4"), touch(here / "clips/b.mp4"), touch(here / "clips/notes.txt")
    touch(here / "models/depth.onnx"), touch(here / "models/depth.onnx.data")
    before = job("clips/*.mp4", "clips", depth__model="models/depth.onnx")
    parcel = pack(before, limit_mb=1)
    assert parcel.job == before
    assert sorted(parcel.files) == [
        "clips/a.mp4",
        "clips/b.mp4",
        "models/depth.onnx",
        "models/depth.onnx.data",
    ]
    there = unpacked(parcel, tmp_path / "there")
    for name, file in parcel.files.items():
        assert (there / name).read_bytes() == Path(file).read_bytes()
    assert (there / JOB).is_file()


def test_files_from_elsewhere_keep_apart_and_are_found_there(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    other = tmp_path / "other"
    for name in ("x/clip.mp4", "y/clip.mp4", "frames/2.png", "frames/10.png"):
        touch(other / name)
    (other / "x/link.mp4").symlink_to(other / "y/clip.mp4")
    paths = [
        "../other/x/clip.mp4",
        str(other / "y/*.mp4"),
        str(other / "frames"),
        f"{other}/x/l*.mp4",
    ]
    parcel = pack(job(*paths), limit_mb=1)
    here_found = [
        Path(source).read_bytes() if os.path.isfile(source) else source for source in expand(paths)
    ]
    there = unpacked(parcel, tmp_path / "there")
    monkeypatch.chdir(there)
    assert not any(os.path.isabs(path) or ".." in path for path in parcel.job.input.paths)
    found = expand(parcel.job.input.paths)
    assert all(source.startswith(str(there)) for source in found)
    assert [Path(source).read_bytes() for source in found[:2]] == here_found[:2]
    assert sorted(os.listdir(found[2])) == ["10.png", "2.png"]
    # A folder that is the current directory itself does not take them, or the job file, for its
    # own.
    touch(here / "mine.mp4")
    monkeypatch.chdir(here)
    parcel = pack(job(".", str(other / "x/clip.mp4")), limit_mb=1)
    monkeypatch.chdir(unpacked(parcel, tmp_path / "again"))
    assert [Path(source).name for source in expand(parcel.job.input.paths)] == [
        "mine.mp4",
        "clip.mp4",
    ]


def test_models_given_as_directories(here: Path, tmp_path: Path):
    for name in ("config.json", "model.safetensors", ".cache/lock", "cv2.py", "av/__init__.py"):
        touch(tmp_path / "model" / name)
    (tmp_path / "model/linked.json").symlink_to(tmp_path / "model/config.json")
    touch(here / "a.mp4"), touch(here / "fill.onnx")
    parcel = pack(
        job(
            "a.mp4",
            depth__model=str(tmp_path / "model"),
            layers={"fill": {"method": "onnx", "model": "fill.onnx"}},
        ),
        limit_mb=1,
    )
    assert parcel.job.depth.model == f".outside{tmp_path}/model"
    there = unpacked(parcel, tmp_path / "there")
    assert sorted(os.listdir(there / parcel.job.depth.model)) == [
        "config.json",
        "linked.json",
        "model.safetensors",
    ]
    assert (there / "fill.onnx").is_file()


@pytest.mark.parametrize(
    "pattern",
    [
        "depth/{frame_index:06d}.png",
        "{parent}/../depth/{frame_index:06d}.png",
        "{parent}/{stem}_depth/{frame_index:06d}.png",
        "HERE/depth/{frame_index:06d}.png",
        "OTHER/depth/{frame_index:06d}.png",
    ],
)
def test_depth_files_are_found_by_their_pattern(
    pattern: str, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    touch(here / "clips/a.mp4")
    for folder in (here / "depth", here / "clips/a_depth", tmp_path / "other/depth"):
        folder.mkdir(parents=True)
        for index in (0, 8):
            cv2.imwrite(f"{folder}/{index:06d}.png", np.full((4, 4), 1000, np.uint16))
    pattern = pattern.replace("HERE", str(here)).replace("OTHER", str(tmp_path / "other"))
    parcel = pack(
        job("clips/a.mp4", depth__model=f"files:{pattern}", depth__truth=pattern), limit_mb=1
    )
    assert len(parcel.files) == 3
    there = unpacked(parcel, tmp_path / "there")
    monkeypatch.chdir(there)
    assert parcel.job.depth.model == f"files:{parcel.job.depth.truth}"
    files = DepthFiles(str(parcel.job.depth.truth))
    batch = {
        "path": np.array([str(there / "clips/a.mp4")] * 2),
        "frame_index": np.array([0, 8]),
        "pts": np.zeros(2),
    }
    for row in range(2):
        path = Path(files.path(batch, row)).resolve()
        assert path.is_file() and path.is_relative_to(there)


def test_what_is_not_local_stays_as_it_is(here: Path):
    before = job(
        "s3://bucket/clips/",
        depth__model="owner/name",
        depth__truth="s3://bucket/depth/{stem}.png",
        compose={"method": "featglac-kv", "model": "builtin", "lora": "owner/lora"},
    )
    assert pack(before, limit_mb=0) == Parcel(before, {})


def test_large_files_are_refused_with_sizes_and_advice(here: Path):
    touch(here / "a.mp4", 2_000_000), touch(here / "b.mp4", 1_500_000)
    assert pack(job("*.mp4"), limit_mb=3.5).size_bytes == 3_500_000
    with pytest.raises(JobError) as refused:
        pack(job("*.mp4"), limit_mb=3.4)
    for words in (
        "2 local files are 3.5 MB",
        "3.4 MB",
        "2.0 MB",
        "a.mp4",
        "s3://",
        "--paths-on-cluster",
        "--pack-limit",
    ):
        assert words in str(refused.value)
    assert pack(job(str(here / "*.mp4")), limit_mb=0, on_cluster=True).files == {}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"input__paths": ["nowhere.mp4"]}, "input.paths: 'nowhere.mp4' matches nothing"),
        ({"depth__model": "./nowhere"}, "depth.model: nothing at ./nowhere"),
        ({"depth__model": "/nowhere/x.onnx"}, "depth.model: nothing at /nowhere/x.onnx"),
        (
            {"depth__model": "files:{parent}/{stem}.png"},
            "depth.model: '{parent}/{stem}.png' matches no file",
        ),
        (
            {"depth__truth": "depth/{frame_index}.png"},
            "depth.truth: 'depth/{frame_index}.png' matches no file",
        ),
        (
            {"depth__truth": "{parent}/../other/{frame_index}.png"},
            "leads out of the current directory",
        ),
        ({"depth__truth": "{parent"}, "pattern '{parent': expected '}'"),
        (
            {"output__path": "runs/x"},
            "output.path: 'runs/x' would be a temporary folder of one node",
        ),
    ],
)
def test_what_would_not_be_found_there_is_refused(
    fields: dict[str, object], words: str, here: Path, tmp_path: Path
):
    touch(here / "a.mp4"), touch(tmp_path / "other/0.png")
    with pytest.raises(JobError) as refused:
        pack(job("a.mp4", **fields), limit_mb=1)
    assert words in str(refused.value)
    if "output__path" not in fields and "expected '}'" not in words:
        assert "--paths-on-cluster" in str(refused.value)


def test_paths_of_the_cluster_must_be_absolute(here: Path):
    nodes = job(
        "/data/a.mp4",
        "s3://b/c.mp4",
        "~/d.mp4",
        depth__model="/data/m.onnx",
        depth__truth="{parent}/{stem}.png",
    )
    assert pack(nodes, limit_mb=0, on_cluster=True) == Parcel(nodes, {})
    for field, value in (
        ("input__paths", ["a.mp4"]),
        ("depth__model", "m.onnx"),
        ("depth__truth", "d/{pts}.png"),
    ):
        with pytest.raises(JobError, match="expected an absolute path"):
            pack(job("/data/a.mp4", **{field: value}), limit_mb=0, on_cluster=True)


def test_the_same_contents_make_the_same_bytes(here: Path, tmp_path: Path):
    """Ray names a package by its hash: a parcel that the cluster has is not sent again."""
    clip = touch(here / "a.mp4")
    pack(job("a.mp4"), limit_mb=1).write(tmp_path / "1.zip")
    os.utime(clip, (1, 1))
    clip.chmod(0o600)
    pack(job("a.mp4"), limit_mb=1).write(tmp_path / "2.zip")
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()


def test_the_entrypoint_asks_for_what_pyproject_asks_for():
    pyproject = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    asked = [
        line.replace("[data]", "").split(",")[0].split("[")[0].partition(">=")[::2]
        for line in pyproject["dependencies"]
    ]
    ours = {name: lowest for name, (_, lowest) in requirements.NEEDED.items()}
    assert {name: ours.get(name) for name, _ in asked} == dict(asked)
    assert pyproject["requires-python"] == ">=" + ".".join(map(str, entrypoint.PYTHON))
    assert requirements.lacking() == []


def test_a_node_that_lacks_packages_says_which(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    needed = {
        "numpy": ("numpy", "999.1"),
        "no-such-thing": ("no_such_thing", "1.0"),
        "pyyaml": ("yaml", "6"),
    }
    monkeypatch.setattr(requirements, "NEEDED", needed)
    monkeypatch.setattr(sys, "argv", ["entrypoint", "job.yaml"])
    with pytest.raises(SystemExit) as end:
        entrypoint.main()
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert f"numpy>=999.1 (has {np.__version__})" in error
    assert "no-such-thing>=1.0 (missing)" in error
    assert "pyyaml" not in error


def test_what_an_edit_brings_in_travels_too(here: Path, tmp_path: Path):
    touch(here / "a.mp4"), touch(here / "chair.png"), touch(tmp_path / "elsewhere/wall.png")
    inserted = pack(
        job("a.mp4", edit={"kind": "insert", "object": "chair.png", "point": [0.5, 0.9]}),
        limit_mb=1,
    )
    assert inserted.job.edit.object == "chair.png"
    assert sorted(inserted.files) == ["a.mp4", "chair.png"]
    layers = ["keep", {"replace": str(tmp_path / "elsewhere/wall.png")}]
    planes = pack(job("a.mp4", edit={"kind": "planes", "layers": layers}), limit_mb=1)
    there = unpacked(planes, tmp_path / "there")
    assert (there / planes.job.edit.layers[1].replace).is_file()
    coloured = pack(job("a.mp4", edit={"kind": "background", "source": "#203040"}), limit_mb=1)
    assert sorted(coloured.files) == ["a.mp4"]
    with pytest.raises(JobError, match=r"edit.source: no file gone.png"):
        pack(job("a.mp4", edit={"kind": "background", "source": "gone.png"}), limit_mb=1)
