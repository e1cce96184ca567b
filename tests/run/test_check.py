"""What can be known of a job's models without loading them is told before anything starts."""

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from raydepth.depth.registry import depth_entry
from raydepth.diffusion.load import load_models
from raydepth.diffusion.settings import Diffusion
from raydepth.errors import JobError
from raydepth.frames.find import find_segments
from raydepth.models import builtin
from raydepth.models.checkpoint import cached_snapshot, weights_variant
from raydepth.run.check import check_depth_files, check_models
from raydepth.run.estimate import estimate
from tests.support.clips import write_clip
from tests.support.runs import small_job

KV = "featglac-kv"


def check(tmp_path: Path, **fields: object) -> None:
    check_models(small_job(["a.mp4"], tmp_path / "out", **fields))


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """A copy of the built-in diffusion model as somebody's directory."""
    shutil.copytree(builtin.path("diffusion"), tmp_path / "pipeline")
    return tmp_path / "pipeline"


def only_fp16(folder: Path) -> None:
    for file in list(folder.rglob("*.safetensors")):
        file.rename(file.with_suffix(".fp16.safetensors"))


def test_a_directory_of_fp16_weights_is_checked_and_loaded(tmp_path: Path, pipeline: Path):
    plain = load_models(Diffusion(model=str(pipeline)), device="cpu", dtype="float32")
    assert weights_variant(str(pipeline), "unet") is None
    only_fp16(pipeline)
    check(tmp_path, compose={"method": KV, "model": str(pipeline)})
    assert weights_variant(str(pipeline), "unet") == "fp16"
    half = load_models(Diffusion(model=str(pipeline)), device="cpu", dtype="float32")
    for name, value in plain.unet.state_dict().items():
        assert value.equal(half.unet.state_dict()[name])


def test_weights_by_another_name_are_refused(tmp_path: Path, pipeline: Path):
    file = pipeline / "unet" / "diffusion_pytorch_model.safetensors"
    file.rename(file.with_name("unet.safetensors"))
    with pytest.raises(JobError, match=r"unet holds no weights by a name .*\.fp16\.safetensors"):
        check(tmp_path, compose={"method": KV, "model": str(pipeline)})


@pytest.mark.parametrize("part", ["unet", "vae", "scheduler"])
def test_a_pipeline_that_lacks_a_part(tmp_path: Path, pipeline: Path, part: str):
    shutil.rmtree(pipeline / part)
    with pytest.raises(JobError, match=rf"compose\.model: directory .* has no {part}/"):
        check(tmp_path, compose={"method": KV, "model": str(pipeline)})


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"in_channels": 9}, "takes 9 channels"),
        ({"addition_embed_type": "text_time"}, "wants more"),
    ],
)
def test_a_u_net_of_another_class(tmp_path: Path, pipeline: Path, config: dict, words: str):
    file = pipeline / "unet" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))
    with pytest.raises(JobError, match=words):
        check(tmp_path, compose={"method": KV, "model": str(pipeline)})


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"compose": {"method": KV, "prompt": "a chair"}}, "compose.prompt"),
        ({"compose": {"method": KV, "negative_prompt": "dull"}}, "compose.prompt"),
        ({"layers__fill": {"method": "diffusion", "prompt": "grass"}}, "layers.fill.prompt"),
    ],
)
def test_a_prompt_without_text_encoder(tmp_path: Path, fields: dict, field: str):
    with pytest.raises(JobError, match=rf"{field}: model 'builtin' has no text encoder"):
        check(tmp_path, **fields)


def test_a_text_encoder_without_tokenizer(tmp_path: Path, save_pipeline):
    model = save_pipeline(text=True)
    (model / "model_index.json").write_text("{}")
    prompted = {"method": KV, "model": str(model), "prompt": "a cat"}
    check(tmp_path, compose=prompted)
    shutil.rmtree(model / "tokenizer")
    with pytest.raises(JobError, match="no tokenizer/"):
        check(tmp_path, compose=prompted)


INSERT = {"kind": "insert", "object": "a.png", "point": [0.5, 0.5]}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"layers__at": {"metres": 2.0}}, "layers.at"),
        ({"layers__at": ["auto", {"metres": 2.0}]}, "layers.at"),
        ({"edit": INSERT | {"at": {"metres": 2.0}}}, "edit.at"),
        ({"edit": INSERT | {"height_m": 1.8}}, "edit.height_m"),
    ],
)
def test_metres_of_a_relative_model(tmp_path: Path, fields: dict, field: str):
    with pytest.raises(JobError, match=rf"{field}: metres needs .* builtin gives disparity_rel"):
        check(tmp_path, **fields)
    check(tmp_path, **fields, depth__kind="depth_m")
    check(tmp_path, **fields, depth__model="files:{parent}/{frame_index}.png")


def test_a_new_scene_of_which_files_know_no_depth(tmp_path: Path):
    edit = {"kind": "background", "source": "#204060", "depth": "aligned"}
    check(tmp_path, edit=edit)
    with pytest.raises(JobError, match=r"edit\.depth: aligned"):
        check(tmp_path, edit=edit, depth__model="files:{parent}/{frame_index}.png")


def test_a_cached_hub_model_is_checked_as_a_directory_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / "models--somebody--paints"
    snapshot = folder / "snapshots" / ("0" * 40)
    shutil.copytree(builtin.path("diffusion"), snapshot)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    assert cached_snapshot("somebody/paints") == snapshot
    named = {"method": KV, "model": "somebody/paints"}
    check(tmp_path, compose=named)
    with pytest.raises(JobError, match="has no text encoder"):
        check(tmp_path, compose=named | {"prompt": "a cat"})
    only_fp16(snapshot)
    assert weights_variant("somebody/paints", "unet") == "fp16"
    weights = next((snapshot / "unet").glob("*.safetensors"))
    os.truncate(weights, weights.stat().st_size // 2)
    with pytest.raises(JobError, match="damaged"):
        check(tmp_path, compose=named)


def test_the_kind_of_a_checkpoint_is_known_from_its_configuration(tmp_path: Path):
    job = small_job(["a.mp4"], tmp_path)
    assert depth_entry("builtin").kind(job.depth) == "disparity_rel"
    unknown = small_job(["a.mp4"], tmp_path, depth__model="nobody/nothing-of-this-name").depth
    assert depth_entry(unknown.model).kind(unknown) is None


def test_depth_files_of_another_kind(tmp_path: Path):
    with pytest.raises(JobError, match=r"ends in \.png"):
        check(tmp_path, depth__model="files:{parent}/{frame_index}.exr")


def test_depth_files_that_no_frame_has(tmp_path: Path):
    clip = write_clip(tmp_path / "clip.mp4", frames=6)
    job = small_job(clip, tmp_path / "out", depth__model="files:{parent}/{frame_index}.png")
    segments = find_segments(job.input).segments
    with pytest.raises(JobError, match=r"no depth for any frame .*no depth file .*0\.png"):
        check_depth_files(job, segments)
    with pytest.raises(JobError, match="no depth for any frame"):
        estimate(job)
    (tmp_path / "5.png").write_text("no picture")
    with pytest.raises(JobError, match="no depth for any frame"):
        check_depth_files(job, segments)
    shape = (segments[0].height, segments[0].width)
    cv2.imwrite(str(tmp_path / "5.png"), np.full(shape, 2000, np.uint16))
    check_depth_files(job, segments)
