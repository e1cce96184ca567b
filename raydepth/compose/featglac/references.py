"""The layers' pictures at all noise levels, and their decoder features."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from raydepth.compose.featglac.features import Taps
from raydepth.compose.featglac.recipes import NULL_ITERATIONS, Recipe
from raydepth.diffusion.inversion import (
    EARLY_STOP,
    DDIMSchedule,
    Predict,
    guided,
    invert,
    optimise_null_text,
)
from raydepth.diffusion.sampler import Condition

Features = dict[int, torch.Tensor]


@dataclass(frozen=True)
class Trajectories:
    """R pictures at all noise levels."""

    latents: list[torch.Tensor]
    """float32 [R,C,h,w] by level, S + 1 of them, noisiest first."""
    nulls: list[torch.Tensor] | None
    """[R,L,D] by step: null embeddings under which guided sampling gives the pictures back; None:
    not optimised."""
    features: Callable[[int], Features | None]
    """The features of a step's latents, called once in each step, in order; None where they were
    not kept."""


@torch.no_grad()
def trace(
    predict: Predict,
    taps: Taps,
    ddim: DDIMSchedule,
    recipe: Recipe,
    clean: torch.Tensor,
    noise: torch.Tensor,
    condition: Condition,
) -> Trajectories:
    """Finds the references' latents as the recipe says: ``renoise``, ``invert`` or ``nulltext``.

    ``invert`` records features on the way, so they are those of latents one level cleaner than the
    step's. It keeps the guided steps' features until they are used: about 8 MB a step and picture
    for SD 1.5 at 512 x 512 in float16. The other two run the references together with the
    generation, in every step. ``nulltext`` is as published, with nothing shared between its passes:
    see ``recipes.lanes``.

    Args:
        predict: the U-Net.
        taps: on the U-Net.
        ddim: the steps.
        recipe: resolved.
        clean: float32 [R,C,h,w].
        noise: float32 [R,C,h,w], each row its frame's; for ``renoise``.
        condition: text embeddings.
    """
    prompt = condition.prompt.expand(len(clean), -1, -1)

    def conditional_features(latents: torch.Tensor, step: int) -> Features:
        with torch.no_grad():
            predict(latents, ddim.timesteps[step], prompt)
        return taps.rows(0)

    if recipe.references == "renoise":
        levels = [a.sqrt() * clean + (1 - a).sqrt() * noise for a in ddim.alphas]
        return Trajectories(levels, None, lambda step: conditional_features(levels[step], step))
    kept: dict[int, Features] = {}
    if recipe.references == "invert":

        def keep(step: int) -> None:
            if step in recipe.window:
                kept[step] = taps.rows(0)

        return Trajectories(
            invert(predict, ddim, clean, prompt, keep), None, lambda step: kept.pop(step, None)
        )
    levels = invert(predict, ddim, clean, prompt)
    nulls = [condition.negative.float().expand(len(clean), -1, -1)] * len(ddim.timesteps)
    if recipe.guidance > 1:  # without guidance no null embedding is read
        nulls = optimise_null_text(
            predict,
            ddim,
            levels,
            nulls[0],
            prompt,
            scale=recipe.guidance,
            iterations=NULL_ITERATIONS,
            early_stop=EARLY_STOP,
        )
    here = levels[0]

    def replayed(step: int) -> Features:
        nonlocal here
        with torch.no_grad():
            t = ddim.timesteps[step]
            found = conditional_features(here, step)
            here = ddim.down(
                here, guided(predict, here, t, nulls[step], prompt, recipe.guidance), step
            )
        return found

    return Trajectories(levels, nulls, replayed)
