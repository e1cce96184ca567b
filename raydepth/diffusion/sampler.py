"""The sampling loop: from noised latents to clean ones, with guidance and references.

``featglac-kv`` generates with it, and so does the hole filler ``diffusion``.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention

from raydepth.diffusion.attention import Injection
from raydepth.diffusion.early_exit import early_exit
from raydepth.diffusion.schedule import Schedule


@dataclass(frozen=True)
class Condition:
    """Text embeddings, encoded once a job."""

    prompt: torch.Tensor
    """[1,L,D], for generation and reference lanes."""
    negative: torch.Tensor
    """[1,L,D], for the unconditional lane of classifier-free guidance."""


@dataclass(frozen=True)
class References:
    """The reference rows that give keys and values, and where and when they do."""

    latents: torch.Tensor
    """float32 [R,C,h,w], clean."""
    noise: torch.Tensor
    """float32 [R,C,h,w], each row the noise of its frame."""
    modules: dict[str, Attention]
    injection: Injection
    steps: range
    """In which steps; in all others the reference lanes are not run."""


@dataclass(frozen=True)
class KnownRegion:
    """Known-region blend: what stays the source's at every noise level.

    Avrahami et al., Blended Latent Diffusion, 2023.
    """

    original: torch.Tensor
    """float32 [N,C,h,w], clean latents of the frames."""
    region: torch.Tensor
    """float32 [N,1,h,w], 0..1: where latents are generated."""


def seeded_noise(
    seeds: Sequence[int] | np.ndarray, shape: Sequence[int]
) -> tuple[torch.Tensor, list[torch.Generator]]:
    """Draws noise float32 [N,*shape], shape [C,h,w], on the CPU, frame by frame.

    So it depends neither on the device nor on the batch.

    Returns:
        The noise, and the generators. These go on with the draws of samplers that add noise in
        every step (LCM).
    """
    generators = [torch.Generator("cpu").manual_seed(int(seed)) for seed in seeds]
    return torch.stack(
        [torch.randn(*shape, generator=generator) for generator in generators]
    ), generators


def sample(
    unet: UNet2DConditionModel,
    schedule: Schedule,
    start: torch.Tensor,
    noise: torch.Tensor,
    generators: list[torch.Generator],
    condition: Condition,
    *,
    guidance: float = 1.0,
    references: References | None = None,
    known: KnownRegion | None = None,
    conditioning: torch.Tensor | None = None,
) -> torch.Tensor:
    """Generates N frames together.

    Without references and known region it is diffusers' image-to-image, bit for bit. Latents stay
    in float32 whatever the U-Net's dtype. References are noised to the step's level with the
    frame's own noise, not inverted: z_t = sqrt(abar_t) z_0 + sqrt(1 - abar_t) eps. For LCM eps is
    the noise of the start.

    Args:
        unet: any SD-class U-Net.
        schedule: made for this run; its state is used up.
        start: float32 [N,C,h,w], clean latents of the naive composites.
        noise: float32 [N,C,h,w].
        generators: N, for samplers that draw in every step.
        condition: text embeddings.
        guidance: classifier-free guidance scale; 1 runs no unconditional row.
        references: reference rows; None for plain image-to-image.
        known: what to hold outside the region; None to hold nothing.
        conditioning: float32 [N,E,h,w], further input channels of an inpainting U-Net, concatenated
            to the latents in every step; such a U-Net has no reference rows.

    Returns:
        float32 [N,C,h,w], clean latents.
    """
    scheduler, frames = schedule.scheduler, len(start)
    prompt = condition.prompt.expand(frames, -1, -1)
    generated = [condition.negative.expand(frames, -1, -1), prompt] if guidance > 1 else [prompt]

    def noised(clean: torch.Tensor, eps: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return scheduler.add_noise(clean, eps, t.expand(len(clean)))

    latents = noised(start, noise, schedule.timesteps[0])
    for step, t in enumerate(schedule.timesteps):
        if known is not None:
            latents = torch.lerp(noised(known.original, noise, t), latents, known.region)
        lanes, text = [latents] * len(generated), generated
        injection: AbstractContextManager[None] = nullcontext()
        if references is not None and step in references.steps:
            lanes = [*lanes, noised(references.latents, references.noise, t)]
            text = [*text, condition.prompt.expand(len(references.latents), -1, -1)]
            injection = early_exit(
                unet, references.modules, references.injection, len(references.latents)
            )
        with injection:
            seen = scheduler.scale_model_input(torch.cat(lanes), t)
            if conditioning is not None:
                seen = torch.cat([seen, torch.cat([conditioning] * len(lanes))], 1)
            prediction = unet(
                seen.to(unet.dtype),
                t,
                encoder_hidden_states=torch.cat(text).to(unet.dtype),
                return_dict=False,
            )[0].float()
        if len(generated) == 2:
            unconditional, conditional = prediction.chunk(2)
            prediction = unconditional + guidance * (conditional - unconditional)
        latents = scheduler.step(prediction, t, latents, generator=generators, return_dict=False)[0]
    return latents if known is None else torch.lerp(known.original, latents, known.region)
