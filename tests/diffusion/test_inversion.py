"""DDIM steps are the scheduler's, inversion brings pictures back, null-text optimisation does so
under guidance.
"""

from dataclasses import replace

import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler

from raydepth.compose.featglac.recipes import NULL_ITERATIONS
from raydepth.diffusion.inversion import guided, invert, make_ddim_schedule, optimise_null_text
from raydepth.diffusion.schedule import make_schedule
from raydepth.errors import JobError


@pytest.fixture
def world(make_models):
    """(predict, ddim, scheduler, condition) of a small U-Net."""

    def make(prediction_type="epsilon", steps=50, strength=1.0):
        models = make_models(prediction_type=prediction_type)
        schedule = make_schedule(models.scheduler_config, "ddim", steps=steps, strength=strength)

        def predict(latents, t, text):
            return models.unet(latents, t, text, return_dict=False)[0]

        return predict, make_ddim_schedule(schedule), schedule.scheduler, models.condition

    return make


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_steps_are_the_schedulers_and_up_undoes_down(world, prediction_type):
    _, ddim, scheduler, _ = world(prediction_type, steps=20)
    latents, prediction = normal(2, 2, 4, 8, 8).unbind(0)
    for step, t in enumerate(ddim.timesteps):
        down = ddim.down(latents, prediction, step)
        theirs = scheduler.step(prediction, t, latents, eta=0.0, return_dict=False)[0]
        assert torch.allclose(down, theirs, atol=1e-5)
        assert torch.allclose(ddim.up(down, prediction, step), latents, atol=1e-4)


def test_inversion_is_diffusers_inverse_scheduler(world):
    _, ddim, scheduler, _ = world(steps=20)
    inverse = DDIMInverseScheduler.from_config(scheduler.config)
    inverse.set_timesteps(20)
    assert inverse.timesteps.tolist() == ddim.timesteps.tolist()[::-1]
    latents, prediction = normal(2, 1, 4, 8, 8).unbind(0)
    for step, t in zip(reversed(range(20)), inverse.timesteps, strict=True):
        theirs = inverse.step(prediction, t, latents, return_dict=False)[0]
        assert torch.allclose(ddim.up(latents, prediction, step), theirs, atol=1e-4)


def sampled(predict, ddim, start, nulls, text, scale):
    with torch.no_grad():
        for step, t in enumerate(ddim.timesteps):
            start = ddim.down(start, guided(predict, start, t, nulls[step], text, scale), step)
    return start


@pytest.mark.parametrize(
    ("prediction_type", "strength", "tolerance"),
    [("epsilon", 0.5, 0.06), ("v_prediction", 1.0, 0.02)],  # RMS, of latents of variance 1
)
def test_sampling_from_the_inverted_noise_gives_the_picture_back(
    world, prediction_type, strength, tolerance
):
    """At strength 1 an untrained epsilon model does not: the first steps divide its noise by
    sqrt(abar) = 0.07.
    """
    clean, errors = normal(2, 4, 8, 12), {}
    for steps in (50, 10):
        predict, ddim, _, condition = world(prediction_type, steps, strength)
        text, run, visited = condition.prompt.expand(2, -1, -1), int(steps * strength), []
        levels = invert(predict, ddim, clean, text, visited.append)
        assert len(levels) == run + 1 and torch.equal(levels[-1], clean)
        assert visited == list(reversed(range(run)))
        back = sampled(predict, ddim, levels[0], [None] * run, text, 1.0)
        errors[steps] = (back - clean).square().mean().sqrt()
    assert errors[50] < tolerance
    assert errors[50] < 0.5 * errors[10]  # the error is one of step length


def test_null_text_keeps_guided_sampling_on_the_path(world):
    predict, ddim, _, condition = world("v_prediction", steps=20)
    text, clean = condition.prompt.expand(2, -1, -1), normal(2, 4, 8, 8)
    null = condition.negative.expand(2, -1, -1)
    levels = invert(predict, ddim, clean, text)
    found = optimise_null_text(
        predict, ddim, levels, null, text, scale=7.5, iterations=NULL_ITERATIONS
    )

    def errors(nulls):
        return (
            (sampled(predict, ddim, levels[0], nulls, text, 7.5) - clean)
            .square()
            .flatten(1)
            .mean(1)
        )

    assert len(found) == 20 and (errors(found) < 0.5 * errors([null] * 20)).all()


def test_null_text_of_a_row_is_its_own_while_others_stop_early(make_models):
    """In float64: Adam divides a gradient by its size, and guidance by 7.5 carries float32's last
    bits from step to step.
    """
    models = make_models(prediction_type="v_prediction")
    models.unet.double()
    ddim = make_ddim_schedule(make_schedule(models.scheduler_config, "ddim", steps=8, strength=1.0))
    ddim = replace(ddim, alphas=ddim.alphas.double())
    calls = []

    def predict(latents, t, text):
        calls.append(torch.is_grad_enabled())
        return models.unet(latents, t, text.double(), return_dict=False)[0]

    text = models.condition.prompt.expand(2, -1, -1).double()
    null = models.condition.negative.expand(2, -1, -1)
    levels = invert(predict, ddim, normal(2, 4, 8, 8).double(), text)
    steps = []

    def optimise(rows):
        calls.clear()
        found = optimise_null_text(
            predict, ddim, [level[rows] for level in levels], null[rows], text[rows], scale=7.5,
            iterations=NULL_ITERATIONS, early_stop=(0.01, 0.0),
        )  # fmt: skip
        steps.append(sum(calls))
        return found

    together = optimise([0, 1])
    for row in (0, 1):
        for both, alone in zip(together, optimise([row]), strict=True):
            assert torch.allclose(both[[row]], alone, rtol=0, atol=1e-5)
    assert min(steps[1], steps[2]) < steps[0], "one row has stopped while the other went on"


def test_null_text_stops_early(world):
    predict, ddim, _, condition = world(steps=4)
    calls = []

    def counted(latents, t, text):
        calls.append(torch.is_grad_enabled())
        return predict(latents, t, text)

    levels = invert(predict, ddim, normal(1, 4, 8, 8), condition.prompt)
    for early_stop, iterations in (((1e9, 0.0), 1), ((0.0, 0.0), 5)):
        calls.clear()
        optimise_null_text(
            counted,
            ddim,
            levels,
            condition.negative,
            condition.prompt,
            scale=7.5,
            iterations=5,
            early_stop=early_stop,
        )
        assert sum(calls) == 4 * iterations


def test_other_predictions_are_refused():
    scheduler = DDIMScheduler(prediction_type="sample")
    with pytest.raises(JobError, match="predicts 'sample'"):
        make_ddim_schedule(make_schedule(scheduler.config, "ddim", steps=4, strength=1.0))
