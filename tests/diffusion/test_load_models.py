"""Loading: hub-style directories with and without text encoder, the built-in model, LoRA, and what
is refused.
"""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from raydepth.compose.registry import load_compositor
from raydepth.diffusion.load import load_models
from raydepth.errors import JobError
from raydepth.models import builtin


def load(make_compose, path, dtype="float32", **settings):
    return load_models(make_compose(model=str(path), **settings), device="cpu", dtype=dtype)


def test_a_directory_with_text_encoder_gives_embeddings(make_compose, save_pipeline):
    path = save_pipeline(text=True)
    models = load(make_compose, path, prompt="a cat", negative_prompt="dull")
    assert models.condition.prompt.shape == models.condition.negative.shape == (1, 16, 8)
    assert not torch.allclose(models.condition.prompt, models.condition.negative)
    other = load(make_compose, path, prompt="a dog", negative_prompt="dull")
    assert not torch.allclose(models.condition.prompt, other.condition.prompt)
    assert torch.equal(models.condition.negative, other.condition.negative)
    assert models.multiple == 4 and models.levels == 2 and models.codec.channels == 4


def test_without_text_encoder_the_condition_is_one_zero_token(make_compose, save_pipeline):
    path = save_pipeline(vae="AutoencoderTiny")
    models = load(make_compose, path)
    assert models.condition.prompt.shape == (1, 1, 8) and not models.condition.prompt.any()
    with pytest.raises(JobError, match=r"compose\.prompt: .* has no text encoder"):
        load(make_compose, path, prompt="a cat")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_dtypes_and_codecs_that_stay_in_float32(make_compose, make_plan, save_pipeline, dtype):
    path = save_pipeline()  # AutoencoderKL's force_upcast is true by default
    models = load(make_compose, path, dtype)
    assert models.unet.dtype == models.condition.prompt.dtype == getattr(torch, dtype)
    assert models.codec.vae.dtype == torch.float32
    config = json.loads((path / "vae" / "config.json").read_text()) | {"force_upcast": False}
    (path / "vae" / "config.json").write_text(json.dumps(config))
    assert load(make_compose, path, dtype).codec.vae.dtype == getattr(torch, dtype)
    plan, source, seeds = make_plan()
    full, half = (
        load_compositor(
            make_compose(model=str(path), inject={"mode": "concat"}), device="cpu", dtype=name
        )
        for name in ("float32", dtype)
    )
    difference = np.abs(full(plan, source, seeds).astype(int) - half(plan, source, seeds))
    assert difference.mean() < 4 and half.notes == ["", ""]


def test_lora_is_fused(make_compose, save_pipeline, tmp_path):
    path = save_pipeline(text=True)
    plain = load(make_compose, path)
    name = "up_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    weight = plain.unet.get_submodule(name).weight
    generator = torch.Generator().manual_seed(0)
    up, down = torch.randn(16, 2, generator=generator), torch.randn(2, 16, generator=generator)
    lora = {f"unet.{name}.lora_A.weight": down, f"unet.{name}.lora_B.weight": up}
    (tmp_path / "lora").mkdir()
    save_file(lora, tmp_path / "lora" / "pytorch_lora_weights.safetensors")
    fused = load(make_compose, path, lora=str(tmp_path / "lora"))
    assert torch.allclose(fused.unet.get_submodule(name).weight, weight + up @ down, atol=1e-5)
    assert list(dict(fused.unet.named_modules())) == list(dict(plain.unet.named_modules()))
    with pytest.raises(JobError, match=r"compose\.lora"):
        load(make_compose, path, lora=str(tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("unet", "message"),
    [
        ({"in_channels": 9}, "takes 9 channels, its VAE gives 4"),
        ({"time_cond_proj_dim": 8}, "time_cond_proj_dim"),
    ],
)
def test_other_unets_are_refused(make_compose, save_pipeline, unet, message):
    with pytest.raises(JobError, match=message):
        load(make_compose, save_pipeline(**unet))


def test_missing_parts_are_named(make_compose, save_pipeline, tmp_path):
    with pytest.raises(JobError, match=r"compose\.model: '.*nowhere' does not load"):
        load(make_compose, tmp_path / "nowhere")
    path = save_pipeline()
    (path / "scheduler" / "scheduler_config.json").unlink()
    with pytest.raises(JobError, match=r"has no scheduler/scheduler_config\.json"):
        load(make_compose, path)


def test_the_codec_round_trip_has_no_diffusion(make_compose, save_pipeline):
    compositor = load_compositor(
        make_compose(model=str(save_pipeline())), device="cpu", dtype="float32"
    )
    rgb = np.random.default_rng(0).integers(0, 256, (2, 30, 34, 3), np.uint8)
    assert compositor.round_trip(rgb).shape == rgb.shape


@pytest.mark.skipif(
    not (builtin.path("diffusion") / "unet").is_dir(), reason="the built-in model is not here"
)
def test_the_builtin_model_composes(make_compose, make_plan):
    compositor = load_compositor(
        make_compose(model="builtin", steps=2), device="cpu", dtype="float32"
    )
    plan, source, seeds = make_plan(frames=1, height=40, width=56)
    assert compositor(plan, source, seeds).shape == source.shape
    assert np.array_equal(compositor.round_trip(source), source)
