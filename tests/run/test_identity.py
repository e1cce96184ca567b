"""The guard against mixing knows what was loaded: weights by content or commit, device and dtype as
they come out; every difference is refused with field, there and here.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import raydepth
from raydepth.errors import JobError
from raydepth.job import Job
from raydepth.models import builtin
from raydepth.output import record
from raydepth.output.folder import OutputFolder
from raydepth.run import identity
from raydepth.run.identity import check_worker, digest, identify
from raydepth.run.load import resolved
from raydepth.run.memory import job_memory
from tests.support.runs import small_job

COMMITS = ["a" * 40, "b" * 40]


def job(tmp_path: Path, **fields: Any) -> Job:
    return small_job(["a.mp4"], tmp_path / "out", **fields)


def refusal(tmp_path: Path, before: Job, after: Job, there: dict[str, str]) -> str:
    """What is said where a folder's frames were made with ``there``; empty where nothing is."""
    folder = OutputFolder.at(str(tmp_path / "out"))
    record.record_job(folder, before.tree(), there)
    try:
        record.check_same_job(folder, after.tree(), identify(after))
    except JobError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("fields", "device", "dtype"),
    [
        ({}, "cpu", "float32"),
        ({"run__gpus_per_worker": 1}, "cuda", "float16"),
        ({"run__gpus_per_worker": 0.5, "run__dtype": "bfloat16"}, "cuda", "bfloat16"),
        ({"run__gpus_per_worker": 1, "run__logical_gpus": 1}, "cpu", "float32"),
    ],
)
def test_auto_is_compared_by_what_it_comes_to(tmp_path: Path, fields, device, dtype):
    there = job(tmp_path)
    here = job(tmp_path, **fields)
    assert resolved(here) == {"device": device, "dtype": dtype}
    message = refusal(tmp_path, there, here, identify(there))
    assert bool(message) == (device == "cuda")
    if message:
        assert "what was loaded as device: cpu there, cuda here" in message
        assert f"what was loaded as dtype: float32 there, {dtype} here" in message


def test_memory_is_planned_for_the_dtype_that_is_loaded(tmp_path: Path):
    kv = {"compose__method": "featglac-kv", "run__gpus_per_worker": 1}
    half, logical = job(tmp_path, **kv), job(tmp_path, **kv, run__logical_gpus=1)
    weights = [job_memory(one, 64, 64)["weights"] for one in (half, logical)]  # type: ignore[index]
    assert weights[0] < weights[1]


def test_the_same_models_go_on_and_a_changed_file_is_refused(tmp_path: Path):
    folder = tmp_path / "model"
    shutil.copytree(builtin.path("depth"), folder)
    named = job(tmp_path, depth__model=str(folder))
    there = identify(named)
    (folder / "README.md").write_text("beside the point")
    assert refusal(tmp_path, named, named, there) == ""
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1  # one weight, in a file of the same header and size
    weights.write_bytes(data)
    message = refusal(tmp_path, named, named, there)
    before, after = there["depth.model"], identify(named)["depth.model"]
    assert f"what was loaded as depth.model: {before} there, {after} here" in message
    assert before.startswith("sha256 ") and before != after


@pytest.mark.parametrize("file", ["net.onnx", "net.onnx.data", "preprocessor_config.json"])
def test_an_onnx_model_is_all_its_files(tmp_path: Path, file: str):
    for name in ("net.onnx", "net.onnx.data", "preprocessor_config.json", "other.onnx"):
        (tmp_path / name).write_bytes(b"{}")
    named = job(tmp_path, depth__model=str(tmp_path / "net.onnx"))
    there = identify(named)["depth.model"]
    (tmp_path / "other.onnx").write_bytes(b"[]")
    assert identify(named)["depth.model"] == there
    (tmp_path / file).write_bytes(b"[]")
    assert identify(named)["depth.model"] != there


def test_builtin_weights_are_known_by_their_bytes(tmp_path: Path, monkeypatch):
    named = job(tmp_path, compose={"method": "featglac-kv"})
    there = identify(named)
    assert {"depth.model", "compose.model"} <= there.keys()
    changed = tmp_path / "changed"
    shutil.copytree(builtin.path("diffusion"), changed)
    (changed / "model_index.json").write_text("{}")
    path = builtin.path
    monkeypatch.setattr(
        builtin, "path", lambda name: changed if name == "diffusion" else path(name)
    )
    assert "what was loaded as compose.model" in refusal(tmp_path, named, named, there)


def cache(home: Path, commit: str) -> None:
    """A hub cache that holds one depth model at a commit, as huggingface_hub lays it out."""
    model = home / "models--owner--depth"
    (model / "refs").mkdir(parents=True, exist_ok=True)
    (model / "refs" / "main").write_text(commit)
    (model / "snapshots" / commit).mkdir(parents=True, exist_ok=True)
    (model / "snapshots" / commit / "config.json").write_text("{}")


def test_a_hub_model_is_known_by_its_commit(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(
        "huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path / "hub")
    )
    named = job(tmp_path, depth__model="owner/depth")
    cache(tmp_path / "hub", COMMITS[0])
    there = identify(named)
    assert there["depth.model"] == f"commit {COMMITS[0]}"
    cache(tmp_path / "hub", COMMITS[1])
    message = refusal(tmp_path, named, named, there)
    assert f"depth.model: commit {COMMITS[0]} there, commit {COMMITS[1]} here" in message
    with pytest.raises(JobError, match=f"depth.model: expected commit {COMMITS[0]}"):
        check_worker(named, there)
    check_worker(named, identify(named))


def test_an_object_that_was_exchanged_under_its_name(tmp_path: Path):
    picture = tmp_path / "object.png"
    picture.write_bytes(b"one")
    edit = {"kind": "insert", "object": str(picture), "point": [0.5, 0.5]}
    named = job(tmp_path, edit=edit)
    there = identify(named)
    assert refusal(tmp_path, named, named, there) == ""
    picture.write_bytes(b"two")
    assert "what was loaded as edit.object" in refusal(tmp_path, named, named, there)


def test_a_worker_of_another_device_does_not_begin(tmp_path: Path):
    here = job(tmp_path)
    with pytest.raises(JobError, match=r"frames would mix.*\n  device: expected cuda, got cpu"):
        check_worker(here, identify(here) | {"device": "cuda"})


def test_a_folder_that_does_not_say_what_was_loaded(tmp_path: Path, monkeypatch):
    here = job(tmp_path)
    message = refusal(tmp_path, here, here, {})
    assert "what was loaded as depth.model: not recorded there, sha256 " in message
    monkeypatch.setattr(raydepth, "__version__", "0.1.0")  # which recorded nothing
    folder = OutputFolder.at(str(tmp_path / "out"))
    record.record_job(folder, here.tree())
    monkeypatch.undo()
    with pytest.raises(JobError, match=rf"raydepth: 0\.1\.0 there, {raydepth.__version__} here"):
        record.check_same_job(folder, here.tree(), identify(here))


def test_large_files_are_sampled_from_end_to_end(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(identity, "WHOLE_BYTES", 1024 * 4)
    file = tmp_path / "large.safetensors"
    data = np.random.default_rng(0).integers(0, 256, 1024 * 40, np.uint8)

    def of(changed: slice) -> str:
        other = data.copy()
        other[changed] ^= 1
        file.write_bytes(other.tobytes())
        return digest(file)

    whole = of(slice(0, 0))
    assert whole not in (of(slice(0, 1)), of(slice(-1, None)), of(slice(20_000, 20_045)))
    file.write_bytes(data.tobytes() + b"\0")
    assert digest(file) != whole
