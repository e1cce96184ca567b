"""The shipped models load through the hub's classes, give what they promise, and have learnt
something.
"""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    UNet2DConditionModel,
)
from transformers import AutoModelForDepthEstimation

from raydepth.diffusion.settings import Diffusion
from raydepth.evaluate.image import rmse, ssim
from raydepth.layers.fill.diffusion import load_diffusion_filler
from raydepth.layers.fill.hole import fill_hole
from raydepth.layers.fill.registry import load_filler
from raydepth.layers.fill.settings import DiffusionFill, OpenCVFill
from raydepth.models import builtin
from raydepth.synth.pictures import MOMENTS, fill_picture, scene_picture
from raydepth.training.depth import normalise
from raydepth.training.harmonise import Harmoniser
from tests.depth.tiny import frames
from tests.layers.test_fill import disc


def test_importing_the_package_is_light():
    code = (
        "import sys, raydepth.models.builtin as b; b.path('depth'); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with pytest.raises(ValueError, match="'depth', 'diffusion' and 'inpaint'"):
        builtin.path("fill")  # type: ignore[arg-type]


def test_size_on_disk():
    folders = [builtin.path(name) for name in ("depth", "diffusion", "inpaint")]
    assert (
        sum(f.stat().st_size for folder in folders for f in folder.rglob("*") if f.is_file()) < 40e6
    )


@pytest.fixture(scope="module")
def depth_model():
    return AutoModelForDepthEstimation.from_pretrained(
        builtin.path("depth"), dtype=torch.float32
    ).eval()


@torch.inference_mode()
def test_depth_shapes_and_kind(depth_model):
    config = json.loads((builtin.path("depth") / "config.json").read_text())
    assert config["raydepth_kind"] == "disparity_rel"
    disparity = depth_model(torch.zeros(2, 3, 96, 160)).predicted_depth
    assert disparity.shape == (2, 96, 160)
    assert disparity.isfinite().all()


@torch.inference_mode()
def test_depth_order_on_held_out_scenes(depth_model):
    rng = np.random.default_rng(0)
    right = []
    for seed in (3, 4, 6, 7, 8, 9):
        rgb, inverse = scene_picture(seed)
        pixels = normalise(torch.from_numpy(rgb).permute(2, 0, 1)[None] / 255)
        estimate = depth_model(
            torch.nn.functional.interpolate(
                pixels, size=(192, 192), mode="bilinear", antialias=True
            )
        )
        disparity = torch.nn.functional.interpolate(
            estimate.predicted_depth[None], size=inverse.shape, mode="bilinear"
        )
        guess, truth = disparity.flatten().numpy(), inverse.astype(np.float32).ravel()
        a, b = rng.integers(0, truth.size, (2, 4000))
        apart = np.maximum(truth[a] / truth[b], truth[b] / truth[a]) > 1.1
        right.append(np.mean((guess[a] > guess[b])[apart] == (truth[a] > truth[b])[apart]))
    assert np.mean(right) > 0.75


@pytest.fixture(scope="module")
def harmoniser():
    return Harmoniser(builtin.path("diffusion"))


def test_img2img_is_faithful_and_repeatable(harmoniser):
    rgb, _ = scene_picture(3)
    rgb = rgb[:128, :192]
    drawn = harmoniser(rgb, strength=0.4)
    assert np.array_equal(drawn, harmoniser(rgb, strength=0.4))
    assert np.array_equal(harmoniser(rgb, strength=0.0), rgb)
    error = np.sqrt(np.mean((drawn.astype(float) - rgb) ** 2))
    assert 0 < error < 20


def test_img2img_removes_noise_rather_than_adding_it(harmoniser):
    """From the same noisy latents, the model ends nearer to the picture than the noise was."""
    rgb, _ = scene_picture(6)
    rgb = rgb[:128, :128]
    clean = harmoniser.codec.encode(
        torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None] / 127.5 - 1
    ).latents
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    time = torch.tensor([400])
    alpha = harmoniser.scheduler.alphas_cumprod[400]
    noisy = harmoniser.scheduler.add_noise(clean, noise, time)
    with torch.inference_mode():
        velocity = harmoniser.unet(noisy, time, encoder_hidden_states=torch.zeros(1, 1, 32)).sample
    guess = alpha.sqrt() * noisy - (1 - alpha).sqrt() * velocity
    assert (guess - clean).square().mean() < 0.3 * (noisy / alpha.sqrt() - clean).square().mean()


def test_sizes_that_do_not_fit_are_named(harmoniser):
    with pytest.raises(ValueError, match="multiples of 16"):
        harmoniser(np.zeros((40, 64, 3), np.uint8), strength=0.3)


def test_parts_are_what_the_editor_expects(harmoniser):
    unet, scheduler = harmoniser.unet, harmoniser.scheduler
    assert isinstance(unet, UNet2DConditionModel) and isinstance(scheduler, DDIMScheduler)
    assert any(name.startswith("up_blocks") and "attn1" in name for name in unet.attn_processors)
    assert not scheduler.config.clip_sample
    assert scheduler.config.prediction_type == "v_prediction"


def test_whole_pipeline_loads_from_model_index(harmoniser):
    pipeline = StableDiffusionImg2ImgPipeline.from_pretrained(
        builtin.path("diffusion"), text_encoder=None, tokenizer=None
    )
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.vae_scale_factor == 4
    picture = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    token = torch.zeros(1, 1, 32)
    out = pipeline(
        image=picture,
        prompt_embeds=token,
        strength=0.4,
        num_inference_steps=5,
        guidance_scale=1.0,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
    ).images
    assert out.shape == (1, 64, 96, 3)
    assert np.isfinite(out).all()


@pytest.fixture(scope="module")
def filler():
    fill = DiffusionFill(method="diffusion", model="builtin")
    return load_diffusion_filler(
        fill, Diffusion(), seed=0, device="cpu", dtype="float32", loaded=None
    )


def test_inpaint_is_nearer_to_the_truth_than_telea(filler):
    """Held-out scenes: seeds below the training's."""
    telea, gains = load_filler(OpenCVFill()), []
    for number in range(500 * MOMENTS, 502 * MOMENTS):
        truth, near = fill_picture(number, 128)
        made, rough = (
            fill_hole(fill, truth, near.astype(np.float32), 8) for fill in (filler, telea)
        )
        assert np.array_equal(made[0][~made[1]], truth[~made[1]])
        gains.append(
            [
                measure(made[0], truth, made[1]) / measure(rough[0], truth, made[1])
                for measure in (rmse, ssim)
            ]
        )
    error, likeness = np.mean(gains, axis=0)
    assert error < 0.9 and likeness > 1.02


@pytest.mark.parametrize("size", [(37, 90), (200, 131)])
def test_inpaint_takes_any_size(filler, size):
    (rgb,) = frames(1, *size, 0)
    background, hole = fill_hole(filler, rgb, disc(*size, 12), 3)
    assert np.array_equal(background[~hole], rgb[~hole])
    assert np.array_equal(
        fill_hole(filler, np.where(hole[..., None], 255 - rgb, rgb), disc(*size, 12), 3)[0],
        background,
    )


def test_inpaint_loads_as_diffusers_pipeline():
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(
        builtin.path("inpaint"), text_encoder=None, tokenizer=None
    )
    assert pipeline.unet.config.in_channels == 97 and pipeline.vae_scale_factor == 4
