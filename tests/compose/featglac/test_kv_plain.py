"""Without injection, FeatGLaC is diffusers' own image-to-image pipeline, bit for bit, and runs no
reference lane.
"""

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline

from raydepth.compose.featglac.kv import FeatGLaC
from raydepth.compose.registry import count_evaluations
from raydepth.diffusion.codec import to_uint8
from raydepth.diffusion.sampler import sample, seeded_noise
from raydepth.diffusion.schedule import SAMPLERS, make_schedule, steps_run, window_steps
from raydepth.errors import JobError


def diffusers_result(models, compose, start, seeds, output_type):
    pipeline = StableDiffusionImg2ImgPipeline(
        vae=models.codec.vae, text_encoder=None, tokenizer=None, unet=models.unet, safety_checker=None,
        scheduler=SAMPLERS[compose.sampler].from_config(models.scheduler_config), feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    frames = len(start)
    return pipeline(
        image=start, strength=compose.strength, num_inference_steps=compose.steps, guidance_scale=compose.guidance,
        prompt_embeds=models.condition.prompt.expand(frames, -1, -1),
        negative_prompt_embeds=models.condition.negative.expand(frames, -1, -1),
        generator=[torch.Generator().manual_seed(int(seed)) for seed in seeds], output_type=output_type,
    ).images  # fmt: skip


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("guidance", [1.0, 3.5])
@pytest.mark.parametrize("sampler", ["ddim", "dpm++", "lcm"])
def test_latents_equal_the_img2img_pipeline_bit_for_bit(
    make_models, make_compose, sampler, guidance, prediction_type
):
    models = make_models(prediction_type=prediction_type)
    compose = make_compose(sampler=sampler, guidance=guidance, steps=5, strength=0.8)
    start, seeds = torch.randn(3, 4, 8, 12, generator=torch.Generator().manual_seed(0)), [4, 5, 6]
    with torch.inference_mode():
        schedule = make_schedule(models.scheduler_config, sampler, steps=5, strength=0.8)
        noise, generators = seeded_noise(seeds, (4, 8, 12))
        ours = sample(
            models.unet, schedule, start, noise, generators, models.condition, guidance=guidance
        )
    assert torch.equal(ours, diffusers_result(models, compose, start, seeds, "latent"))


@pytest.mark.parametrize(
    "inject", [{"weight": 0.0}, {"window": [0.5, 0.5]}, {"weight": 0.0, "mode": "concat"}]
)
@pytest.mark.parametrize("sampler", ["ddim", "dpm++", "lcm"])
def test_pictures_equal_the_img2img_pipeline_when_injection_is_off(
    make_models, make_compose, make_plan, sampler, inject
):
    models, compose = make_models(), make_compose(sampler=sampler, inject=inject)
    plan, source, seeds = make_plan()
    start = models.codec.encode(
        np.concatenate([plan.stack.flatten(), source, plan.stack.layers[-1].rgb])
    )[:2]
    theirs = diffusers_result(models, compose, start, seeds, "pt")
    assert np.array_equal(FeatGLaC(models, compose)(plan, source, seeds), to_uint8(theirs * 2 - 1))


@pytest.mark.parametrize(
    ("settings", "inject", "planes", "lanes"),
    [
        (
            {"steps": 20, "strength": 1.0, "guidance": 7.5},
            {},
            1,
            80,
        ),  # method.md, section 5: kv, CFG on gen
        ({"steps": 20, "strength": 0.5}, {}, 1, 30),
        ({"steps": 8, "strength": 1.0, "sampler": "lcm"}, {}, 1, 24),
        ({"steps": 4, "strength": 1.0, "sampler": "lcm"}, {}, 1, 12),
        ({"steps": 10, "strength": 0.6}, {"weight": 0.0}, 1, 6),
        ({"steps": 10, "strength": 0.6}, {"window": [0.4, 0.4]}, 1, 6),
        ({"steps": 10, "strength": 1.0}, {"window": [0.2, 0.5]}, 1, 16),
        (
            {"steps": 10, "strength": 0.6, "guidance": 2.0},
            {"window": [0.0, 0.5], "mode": "concat"},
            1,
            18,
        ),
        ({"steps": 10, "strength": 0.6}, {}, 3, 18),  # near layers all show the frame: one lane
    ],
)
def test_lanes_are_counted_as_they_run(
    make_models, make_compose, make_plan, settings, inject, planes, lanes
):
    models, compose = make_models(), make_compose(inject=inject, **settings)
    ran = []
    models.unet.register_forward_pre_hook(lambda module, arguments: ran.append(len(arguments[0])))
    FeatGLaC(models, compose)(*make_plan(frames=1, height=16, width=16, planes=planes))
    assert sum(ran) == lanes == count_evaluations(compose, 2, frames=1)
    assert len(ran) == steps_run(compose.steps, compose.strength)
    assert count_evaluations(compose, 2, frames=6) == 6 * lanes


def test_baselines_cost_no_lanes(make_compose):
    assert count_evaluations(make_compose(method="paste"), 2, frames=3) == 0


def test_a_still_far_layer_is_one_lane_for_frames_of_one_seed(make_models, make_compose, make_plan):
    models = make_models()
    plan, source, seeds = make_plan(frames=3)
    plan.stack.layers[-1].rgb[:] = plan.stack.layers[-1].rgb[0]
    ran = []
    models.unet.register_forward_pre_hook(lambda module, arguments: ran.append(len(arguments[0])))
    shared = FeatGLaC(models, make_compose()).generate(plan, source, np.zeros(3, np.int64))
    assert set(ran) == {3 + 3 + 1}
    ran.clear()
    FeatGLaC(models, make_compose()).generate(plan, source, seeds)
    assert set(ran) == {3 + 3 + 3}
    alone = FeatGLaC(models, make_compose()).generate(
        plan.take(np.array([2])), source[2:], np.zeros(1, np.int64)
    )
    assert torch.allclose(shared[2:], alone, atol=1e-5)


def test_a_picture_that_frames_share_is_encoded_once_a_clip_and_to_the_same_bits(
    make_models, make_compose, make_plan
):
    plan, source, seeds = make_plan(frames=4)
    still = np.repeat(plan.stack.layers[-1].rgb[:1], 4, 0)
    models, compose = make_models(vae="AutoencoderKL"), make_compose()
    encoded = []
    models.codec.vae.encoder.register_forward_pre_hook(
        lambda module, arguments: encoded.append(len(arguments[0]))
    )

    def pictures(compositor, rows):
        part = plan.take(rows)
        part.stack.layers[-1].shared = still[rows]
        encoded.clear()
        return compositor.generate(part, source[rows], seeds[rows])

    worker, first, second = FeatGLaC(models, compose), np.array([0, 1]), np.array([2, 3])
    pictures(worker, first)
    assert encoded == [1, 4]  # the plate; the frames and their composites
    kept = pictures(worker, second)
    assert encoded == [4]
    assert torch.equal(kept, pictures(FeatGLaC(models, compose), second)), "history has no say"


def test_steps_and_windows():
    assert [steps_run(10, strength) for strength in (1.0, 0.6, 0.05)] == [10, 6, 1]
    assert list(window_steps([0, 1], 6)) == list(range(6))
    assert list(window_steps([0.0, 0.5], 6)) == [0, 1, 2]
    assert not window_steps([0.5, 0.5], 7)


def test_too_many_lcm_steps_are_a_job_error(make_models, make_compose):
    with pytest.raises(JobError, match=r"compose\.steps: 60 does not fit sampler lcm"):
        FeatGLaC(make_models(), make_compose(sampler="lcm", steps=60))
