"""The diffusion filler: diffusers' own inpainting pipeline bit for bit, for 9 and for 4 channels,
and the job's ways to it.
"""

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionInpaintPipeline

from raydepth.diffusion.noise import clip_seed
from raydepth.diffusion.schedule import SAMPLERS, steps_run
from raydepth.diffusion.settings import Sampling
from raydepth.errors import JobError
from raydepth.layers.fill.diffusion import (
    BUILTIN_STEPS,
    BUILTIN_STRENGTH,
    DiffusionFiller,
    NonFiniteFill,
    load_diffusion_filler,
)
from raydepth.layers.fill.hole import fill_hole
from raydepth.layers.fill.settings import DiffusionFill
from tests.depth.tiny import frames
from tests.layers.test_fill import disc

HOLE = disc(32, 48, 10) > 0


def theirs(models, settings, started, hole, video):
    """The same in diffusers' pipeline: float32 [1,3,H,W], -1..1."""
    pipeline = StableDiffusionInpaintPipeline(
        vae=models.codec.vae, text_encoder=None, tokenizer=None, unet=models.unet, safety_checker=None,
        scheduler=SAMPLERS[settings.sampler].from_config(models.scheduler_config), feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    picture = torch.from_numpy(started[None]).permute(0, 3, 1, 2).float() / 127.5 - 1
    latents = pipeline(
        image=picture, mask_image=torch.from_numpy(hole[None, None]).float(), height=32, width=48,
        strength=settings.strength, num_inference_steps=settings.steps, guidance_scale=settings.guidance,
        prompt_embeds=models.condition.prompt, negative_prompt_embeds=models.condition.negative,
        generator=[torch.Generator().manual_seed(clip_seed(3, video))], output_type="latent",
    ).images  # fmt: skip
    return models.codec.decode(latents)


@pytest.mark.parametrize("guidance", [1.0, 3.5])
@pytest.mark.parametrize("sampler", ["ddim", "dpm++", "lcm"])
@pytest.mark.parametrize("channels", [9, 4])
def test_equals_diffusers_inpainting_pipeline_bit_for_bit(make_models, channels, sampler, guidance):
    models = make_models(in_channels=channels)
    settings = Sampling(sampler=sampler, guidance=guidance, steps=5, strength=0.8)
    rgb = frames(1, 32, 48, 0)[0]
    filler = DiffusionFiller(models, settings, 3).for_clip("v")
    assert torch.equal(filler.generate(rgb, HOLE), theirs(models, settings, rgb, HOLE, "v"))


@pytest.mark.parametrize("channels", [9, 4])
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_frame_outside_noise_of_the_clip_and_lanes(make_models, channels, guidance):
    """Sizes that are no multiples; the hole's old content has no say; a lane a step, two with
    guidance.
    """
    models, lanes = make_models(in_channels=channels), []
    models.unet.register_forward_pre_hook(lambda module, arguments: lanes.append(len(arguments[0])))
    settings = Sampling(steps=4, strength=0.75, guidance=guidance)
    filler, (rgb,) = DiffusionFiller(models, settings, 0).for_clip("a"), frames(1, 30, 45, 0)
    near = disc(30, 45, 8)
    first, hole = fill_hole(filler, rgb, near, 3)
    assert lanes == [2 if guidance > 1 else 1] * steps_run(4, 0.75)
    assert np.array_equal(first[~hole], rgb[~hole])
    assert not np.array_equal(first[hole], rgb[hole])
    assert np.array_equal(
        fill_hole(filler, np.where(hole[..., None], 255 - rgb, rgb), near, 3)[0], first
    )
    assert np.array_equal(fill_hole(filler.for_clip("a"), rgb, near, 3)[0], first)
    assert not np.array_equal(fill_hole(filler.for_clip("b"), rgb, near, 3)[0], first)


def test_overflow_is_an_error_or_repeated_in_float32(make_models):
    models, rgb = make_models(), frames(1, 32, 48, 0)[0]
    filler = DiffusionFiller(models, Sampling(steps=2, strength=0.5), 0)
    good = filler(rgb, HOLE)
    assert filler.note == ""
    models.unet.half()
    handle = models.unet.register_forward_hook(
        lambda module, arguments, output: (
            output[0] * (torch.inf if module.dtype == torch.float16 else 1),
        )
    )
    again = filler(rgb, HOLE)
    assert (
        filler.note == "filled in float32 after float16 overflow"
        and models.unet.dtype == torch.float16
    )
    assert np.abs(again.astype(int) - good).max() <= 2  # the weights were rounded to float16
    handle.remove()
    models.unet.float().register_forward_hook(
        lambda module, arguments, output: (output[0] * torch.inf,)
    )
    with pytest.raises(NonFiniteFill, match="painted no finite picture"):
        filler(rgb, HOLE)


def load(fill, compose, loaded=None):
    fill = DiffusionFill(method="diffusion", **fill)
    return load_diffusion_filler(
        fill, Sampling(**compose), seed=0, device="cpu", dtype="float32", loaded=loaded
    )


def test_the_compositors_model_is_shared_where_it_is_the_same(save_pipeline):
    path = str(save_pipeline(text=True))
    first = load({}, {"model": path}).models
    assert load({"model": path}, {"model": path}, first).models is first
    prompted = load({"prompt": "wall"}, {"model": path}, first).models
    assert prompted.unet is first.unet and prompted.codec is first.codec
    assert not torch.equal(prompted.condition.prompt, first.condition.prompt)
    assert load({"model": path}, {"model": "builtin"}, first).models.unet is not first.unet


def test_inpainting_checkpoints_load_for_fill_alone(save_pipeline):
    path = str(save_pipeline(in_channels=9))
    filler = load({"model": path}, {})
    assert filler.models.unet.config.in_channels == 9 and filler.settings.strength == 1.0
    assert load({"model": path, "strength": 0.4}, {}).settings.strength == 0.4
    with pytest.raises(JobError, match=r"compose\.model: .* takes 9 channels"):
        from raydepth.diffusion.load import load_models

        load_models(Sampling(model=path), device="cpu", dtype="float32")
    with pytest.raises(JobError, match=r"layers\.fill\.prompt: .* no text encoder"):
        load({"model": path, "prompt": "wall"}, {})
    with pytest.raises(JobError, match=r"layers\.fill\.model: .*nowhere"):
        load({"model": "./nowhere"}, {})


@pytest.mark.parametrize("name", ["builtin", None])
def test_builtin_fills_with_a_model_of_its_own(name):
    """Not with the compositor's, though both are named builtin; steps and strength are its own too."""
    composing = load({"model": "builtin"}, {}).models
    filler = load({"model": name}, {"model": "builtin"}, composing)
    assert filler.models is not composing and filler.models.unet.config.in_channels == 97
    assert (filler.settings.steps, filler.settings.strength) == (BUILTIN_STEPS, BUILTIN_STRENGTH)
    assert (
        load({"model": name, "steps": 7, "strength": 0.6}, {"model": "builtin"}).settings.steps == 7
    )
