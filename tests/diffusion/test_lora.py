"""A LoRA lands by whichever trainer's names, one for another model is refused, and a part is said
to be one.
"""

import json
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from raydepth.diffusion.load import Models, load_models
from raydepth.diffusion.settings import Diffusion
from raydepth.errors import JobError, JobNote

LAYER = "up_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
KOHYA = f"lora_unet_{LAYER.replace('.', '_')}"
TEXT = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"


def matrix(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


DOWN, UP = matrix(2, 16), matrix(16, 2)


def load(model: Path, lora: Path | None = None, prompt: str = "") -> Models:
    settings = Diffusion(model=str(model), lora=lora and str(lora), prompt=prompt)
    return load_models(settings, device="cpu", dtype="float32")


def write(folder: Path, down: str, up: str, shape: int = 16, **extra: torch.Tensor) -> Path:
    file = folder / "lora.safetensors"
    save_file({down: matrix(2, shape), up: matrix(shape, 2), **extra}, file)
    return file


@pytest.mark.parametrize(
    ("down", "up", "alpha"),
    [
        (f"unet.{LAYER}.lora_A.weight", f"unet.{LAYER}.lora_B.weight", None),
        (f"unet.{LAYER}.lora.down.weight", f"unet.{LAYER}.lora.up.weight", None),
        (
            f"{LAYER.replace('.to_q', '.processor.to_q')}_lora.down.weight",
            f"{LAYER.replace('.to_q', '.processor.to_q')}_lora.up.weight",
            None,
        ),
        (f"{KOHYA}.lora_down.weight", f"{KOHYA}.lora_up.weight", f"{KOHYA}.alpha"),
        (f"{LAYER}.lora_A.weight", f"{LAYER}.lora_B.weight", None),
        (
            f"base_model.model.{LAYER}.lora_A.weight",
            f"base_model.model.{LAYER}.lora_B.weight",
            "adapter_config.json",
        ),
    ],
    ids=["diffusers", "diffusers 2023", "diffusers 2022", "kohya", "bare", "PEFT"],
)
def test_it_lands_by_every_trainers_names(
    save_pipeline, tmp_path: Path, down: str, up: str, alpha: str | None
):
    model = save_pipeline(text=True)
    extra = {}
    if alpha == "adapter_config.json":
        (tmp_path / alpha).write_text(json.dumps({"r": 2, "lora_alpha": 1}))
    elif alpha:
        extra = {alpha: torch.tensor(1.0)}
    with warnings.catch_warnings():
        warnings.simplefilter("error", JobNote)
        fused = load(model, write(tmp_path, down, up, **extra))
    change = (0.5 if alpha else 1.0) * UP @ DOWN
    before = load(model).unet.get_submodule(LAYER).weight
    assert torch.allclose(fused.unet.get_submodule(LAYER).weight, before + change, atol=1e-5)


def test_peft_without_its_alpha_says_what_is_taken(save_pipeline, tmp_path: Path):
    names = (f"base_model.model.{LAYER}.lora_{side}.weight" for side in "AB")
    with pytest.warns(JobNote, match=r"no adapter_config\.json .* its rank"):
        load(save_pipeline(), write(tmp_path, *names))


def test_one_for_the_text_encoder_alone(save_pipeline, tmp_path: Path):
    lora = write(tmp_path, f"{TEXT}.lora_A.weight", f"{TEXT}.lora_B.weight", 8)
    model = save_pipeline(text=True)
    plain, fused = (load(model, file, "a cat").condition.prompt for file in (None, lora))
    assert not torch.allclose(plain, fused)


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        ("transformer.transformer_blocks.0.attn.to_q", True),
        ("unet.down_blocks.9.attentions.0.transformer_blocks.0.attn1.to_q", True),
        ("text_encoder_2.text_model.encoder.layers.0.self_attn.q_proj", True),
        (TEXT, False),
    ],
    ids=["Flux", "a deeper U-Net", "SDXL's second encoder", "no text encoder"],
)
def test_one_for_another_model_is_refused(save_pipeline, tmp_path: Path, layer: str, text: bool):
    lora = write(tmp_path, f"{layer}.lora_A.weight", f"{layer}.lora_B.weight", 8)
    with pytest.raises(JobError, match=r"compose\.lora: .*lora\.safetensors") as refused:
        load(save_pipeline(text=text), lora)
    said = str(refused.value)
    assert "its 2 keys" in said or "does not load into this model" in said
    assert len(said.splitlines()) == 1
    assert len(said) < 900


def test_one_of_other_shapes_is_refused_in_a_line(save_pipeline, tmp_path: Path):
    names = (f"unet.{LAYER}.lora_{side}.weight" for side in "AB")
    with pytest.raises(JobError, match=r"does not load into this model .*size mismatch") as refused:
        load(save_pipeline(), write(tmp_path, *names, shape=24))
    assert len(str(refused.value).splitlines()) == 1


def test_the_real_one_for_another_size_of_u_net_is_refused(save_pipeline, data: Path):
    with pytest.raises(JobError, match=r"compose\.lora: .*sd15_rank4"):
        load(save_pipeline(), data / "weights" / "lora" / "sd15_rank4.safetensors")


def test_a_part_that_fits_is_counted(save_pipeline, tmp_path: Path):
    deeper = "unet." + LAYER.replace("up_blocks.1", "up_blocks.3")
    extra = {f"{deeper}.lora_A.weight": DOWN.clone(), f"{deeper}.lora_B.weight": UP.clone()}
    lora = write(tmp_path, *(f"unet.{LAYER}.lora_{side}.weight" for side in "AB"), **extra)
    with pytest.warns(JobNote, match="1 of 2 layers .* fit this model"):
        load(save_pipeline(text=True), lora)


def test_a_prompt_that_is_longer_than_the_window_is_said_to_be_cut(save_pipeline):
    model = save_pipeline(text=True)  # reads 14 tokens, which are letters
    with pytest.warns(JobNote, match="reads 14 of its 16 tokens; not read: 'op'"):
        cut = load(model, prompt="abcdefghijklmn op").condition.prompt
    with warnings.catch_warnings():
        warnings.simplefilter("error", JobNote)
        fits = load(model, prompt="abcdefghijklmn").condition.prompt
    assert torch.equal(cut, fits)
