"""Models bring no code: no pickles, no modules of their own."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from raydepth.depth.registry import load_depth
from raydepth.depth.settings import Depth
from raydepth.diffusion.load import load_models
from raydepth.diffusion.settings import Diffusion
from raydepth.errors import JobError
from raydepth.job import Job
from raydepth.models import builtin
from raydepth.run.check import check_models
from tests.depth.tiny import checkpoint, network
from tests.safety.conftest import EVIL_MODULE, Trap
from tests.support.runs import small_job

pytestmark = pytest.mark.timeout(60)


def job_with(**fields: object) -> Job:
    return small_job(["a.mp4"], Path("out"), **fields)


def pickled(path: Path) -> Path:
    """Weights with a trap among them, as torch.save writes them."""
    torch.save({"weight": torch.zeros(2), "trap": Trap()}, path)
    return path


def test_a_depth_model_brings_no_code(here: Path) -> None:
    (here / "model").mkdir()
    folder = Path(checkpoint(here / "model", "dpt"))
    for file in ("config.json", "preprocessor_config.json"):
        config = json.loads((folder / file).read_text())
        config["auto_map"] = {
            name: "evil.Evil"
            for name in ("AutoConfig", "AutoModelForDepthEstimation", "AutoImageProcessor")
        }
        (folder / file).write_text(json.dumps(config))
    (folder / "evil.py").write_text(EVIL_MODULE)
    with pytest.raises(
        JobError, match=r"wants code of its own \(config\.json: auto_map\), which is never run"
    ):
        check_models(job_with(depth__model=str(folder)))
    load_depth(
        Depth(model=str(folder), kind="disparity_rel")
    )  # the library's class, not the folder's
    config = json.loads((folder / "config.json").read_text()) | {
        "model_type": "evil",
        "architectures": ["Evil"],
    }
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(JobError, match="cannot be loaded"):
        load_depth(Depth(model=str(folder), kind="disparity_rel"))


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model.safetensors", "pytorch_model.bin.index.json"]
)
def test_pickled_depth_weights_are_refused(here: Path, name: str) -> None:
    (here / "model").mkdir()
    folder = Path(checkpoint(here / "model", "dpt"))
    (folder / "model.safetensors").unlink()
    pickled(folder / name.replace(".index.json", ""))
    if name.endswith(".index.json"):
        shards = {
            "metadata": {},
            "weight_map": dict.fromkeys(network("dpt").state_dict(), "pytorch_model.bin"),
        }
        (folder / name).write_text(json.dumps(shards))
    with pytest.raises(
        JobError, match=r"holds no \.safetensors weights \(pickled|is damaged or unreadable"
    ):
        check_models(job_with(depth__model=str(folder)))
    with pytest.raises(JobError, match="safetensors"):
        load_depth(Depth(model=str(folder), kind="disparity_rel"))


@pytest.fixture
def pipeline(here: Path) -> Path:
    """A copy of the built-in diffusion model as somebody's directory."""
    shutil.copytree(builtin.path("diffusion"), here / "pipeline")
    return here / "pipeline"


def load_pipeline(folder: Path, **fields: object) -> None:
    load_models(Diffusion(model=str(folder), **fields), device="cpu", dtype="float32")


def change(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_the_pipeline_loads_as_it_is(pipeline: Path) -> None:
    check_models(job_with(compose__method="featglac-kv", compose__model=str(pipeline)))
    load_pipeline(pipeline)


@pytest.mark.parametrize(
    "values",
    [{"_class_name": ["pipeline", "Evil"]}, {"unet": ["evil", "Evil"]}, {"extra": ["evil", "Evil"]}, {"auto_map": {"x": "evil.Evil"}}],
)  # fmt: skip
def test_a_pipeline_brings_no_code(pipeline: Path, values: dict) -> None:
    change(pipeline / "model_index.json", **values)
    for where in ("pipeline.py", "evil.py", "unet/evil.py", "vae/evil.py"):
        (pipeline / where).write_text(EVIL_MODULE)
    with pytest.raises(JobError, match=r"wants code of its own \(model_index\.json"):
        check_models(job_with(compose__method="featglac-kv", compose__model=str(pipeline)))
    load_pipeline(pipeline)  # had it not been refused, only the known classes would be used


@pytest.mark.parametrize(
    "name",
    ["DiffusionPipeline", "AutoPipelineForImage2Image", "utils", "Evil", "__name__", "CodecBase"],
)
def test_a_codec_is_a_codec(pipeline: Path, name: str) -> None:
    change(pipeline / "vae" / "config.json", _class_name=name)
    (pipeline / "vae" / "model_index.json").write_text(
        json.dumps({"_class_name": ["evil", "Evil"]})
    )
    (pipeline / "vae" / "evil.py").write_text(EVIL_MODULE)
    with pytest.raises(JobError, match="does not load as a Stable-Diffusion-class pipeline"):
        load_pipeline(pipeline)


def test_pickled_unet_weights_are_refused(pipeline: Path) -> None:
    (weights,) = (pipeline / "unet").glob("*.safetensors")
    pickled(weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(JobError, match="safetensors"):
        load_pipeline(pipeline)
    shutil.copy(weights.with_suffix(".bin"), weights)
    with pytest.raises(JobError, match="is damaged or unreadable"):
        check_models(job_with(compose__method="featglac-kv", compose__model=str(pipeline)))
    with pytest.raises(JobError, match="does not load"):
        load_pipeline(pipeline)


def test_a_pickled_text_encoder_is_refused(pipeline: Path) -> None:
    from transformers import CLIPTextConfig

    config = CLIPTextConfig(
        vocab_size=9, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    config.save_pretrained(pipeline / "text_encoder")
    pickled(pipeline / "text_encoder" / "pytorch_model.bin")
    with pytest.raises(JobError, match="does not load"):
        load_pipeline(pipeline)


@pytest.mark.parametrize("form", ["lora.bin", "lora.pt", "lora.ckpt", "folder", "lora.safetensors"])
def test_pickled_lora_weights_are_refused(pipeline: Path, here: Path, form: str) -> None:
    lora = here / form
    if form == "folder":
        lora.mkdir()
        pickled(lora / "pytorch_lora_weights.bin")
    else:
        pickled(lora)
    fields = {
        "compose__method": "featglac-kv",
        "compose__model": str(pipeline),
        "compose__lora": str(lora),
    }
    with pytest.raises(JobError, match=r"compose\.lora: .*(safetensors|damaged)"):
        check_models(job_with(**fields))
    with pytest.raises(
        JobError, match=r"compose\.lora: .* does not load into this model as LoRA weights"
    ):
        load_pipeline(pipeline, lora=str(lora))


def test_a_lora_file_in_safetensors_is_taken(pipeline: Path, here: Path) -> None:
    (weights,) = (pipeline / "unet").glob("*.safetensors")
    name = next(
        name for name in load_file(weights) if name.endswith("attn1.to_q.weight")
    ).removesuffix(".weight")
    width = load_file(weights)[f"{name}.weight"].shape
    lora = {
        f"unet.{name}.lora_A.weight": torch.ones(1, width[1]),
        f"unet.{name}.lora_B.weight": torch.ones(width[0], 1),
    }
    save_file(lora, here / "lora.safetensors")
    fields = {
        "compose__method": "featglac-kv",
        "compose__model": str(pipeline),
        "compose__lora": str(here / "lora.safetensors"),
    }
    check_models(job_with(**fields))
    load_pipeline(pipeline, lora=str(here / "lora.safetensors"))
