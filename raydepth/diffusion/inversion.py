"""DDIM steps in both directions, and null-text inversion.

See raydepth/README.md, "FeatGLaC by gradients".
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from raydepth.diffusion.schedule import Schedule
from raydepth.errors import JobError

EARLY_STOP = (1e-5, 2e-5)
"""Loss at which a step of null-text optimisation ends, and how much it grows with each step."""


class Predict(Protocol):
    """A U-Net as a function of latents, timestep and text.

    Latents float32 [B,C,h,w] and text [B,L,D] give a prediction float32 [B,C,h,w].
    """

    def __call__(
        self, latents: torch.Tensor, t: torch.Tensor, text: torch.Tensor
    ) -> torch.Tensor: ...


@dataclass(frozen=True)
class DDIMSchedule:
    """The S steps that run, noisiest first, and the noise levels between them (level S: clean)."""

    timesteps: torch.Tensor
    """int64 [S]; step i goes from level i to level i + 1."""
    alphas: torch.Tensor
    """float32 [S+1], abar of each level."""
    prediction_type: str

    def _step(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Factors p and q of z' = p z + q prediction, the DDIM step with eta 0.

        Song et al. 2021, eq. 12.
        """
        a, a_to = self.alphas[step : step + 2].sqrt()
        b, b_to = (1 - self.alphas[step : step + 2]).sqrt()
        if self.prediction_type == "v_prediction":  # z_0 = a z - b v, eps = a v + b z
            return a_to * a + b_to * b, b_to * a - a_to * b
        return a_to / a, b_to - a_to * b / a

    def down(self, latents: torch.Tensor, prediction: torch.Tensor, step: int) -> torch.Tensor:
        """From level ``step`` to the next cleaner one; latents and prediction float32 [B,C,h,w]."""
        p, q = self._step(step)
        return p * latents + q * prediction

    def up(self, latents: torch.Tensor, prediction: torch.Tensor, step: int) -> torch.Tensor:
        """Undoes ``down`` for the same prediction: from level ``step + 1`` to level ``step``."""
        p, q = self._step(step)
        return (latents - q * prediction) / p


def make_ddim_schedule(schedule: Schedule) -> DDIMSchedule:
    """The levels of a DDIM schedule.

    Raises:
        JobError: the checkpoint predicts neither noise nor v.
    """
    scheduler: Any = schedule.scheduler
    kind = scheduler.config.prediction_type
    if kind not in ("epsilon", "v_prediction"):
        raise JobError(
            "compose.model: method featglac-grad needs a model of noise or v, this one predicts "
            f"{kind!r}"
        )
    levels = [
        scheduler.alphas_cumprod[schedule.timesteps.cpu()],
        scheduler.final_alpha_cumprod.reshape(1),
    ]
    return DDIMSchedule(schedule.timesteps, torch.cat(levels).to(schedule.timesteps.device), kind)


def guided(
    predict: Predict,
    latents: torch.Tensor,
    t: torch.Tensor,
    null: torch.Tensor,
    text: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    """Classifier-free guidance in one call; without an unconditional row where the scale is 1.

    Rows are [unconditional, conditional].

    Args:
        predict: the U-Net.
        latents: float32 [B,C,h,w].
        t: the timestep.
        null: [B,L,D], text of the unconditional rows.
        text: [B,L,D].
        scale: of guidance, >= 1.
    """
    if scale == 1:
        return predict(latents, t, text)
    unconditional, conditional = predict(
        torch.cat([latents] * 2), t, torch.cat([null, text])
    ).chunk(2)
    return unconditional + scale * (conditional - unconditional)


@torch.no_grad()
def invert(
    predict: Predict,
    ddim: DDIMSchedule,
    clean: torch.Tensor,
    text: torch.Tensor,
    on_step: Callable[[int], None] = lambda step: None,
) -> list[torch.Tensor]:
    """DDIM inversion at guidance 1: the deterministic sampler run backwards.

    After Dhariwal and Nichol 2021. A step needs the prediction of the noisier latents, which are
    not known yet. As usual, the U-Net is given the cleaner ones with the noisier timestep. The
    error is of second order in the step's length.

    Args:
        predict: the U-Net.
        ddim: the steps.
        clean: float32 [R,C,h,w].
        text: [R,L,D].
        on_step: called after the U-Net's call for each step, S - 1 first: what it left in hooks
            belongs to that step.

    Returns:
        The S + 1 latents [R,C,h,w] by level, noisiest first.
    """
    latents = [clean]
    for step in reversed(range(len(ddim.timesteps))):
        prediction = predict(latents[-1], ddim.timesteps[step], text)
        on_step(step)
        latents.append(ddim.up(latents[-1], prediction, step))
    return latents[::-1]


def optimise_null_text(
    predict: Predict,
    ddim: DDIMSchedule,
    latents: list[torch.Tensor],
    null: torch.Tensor,
    text: torch.Tensor,
    *,
    scale: float,
    iterations: int,
    early_stop: tuple[float, float] = EARLY_STOP,
) -> list[torch.Tensor]:
    """Null-text inversion: null embeddings that keep guided sampling on the inverted path.

    Mokady et al., CVPR 2023. In each step i a new Adam moves the embedding of the step before, with
    rate 1e-2 (1 - i/100). It stops where the row's mean squared distance from the path is below
    ``early_stop[0] + early_stop[1] i``. Rows are independent: each has its own loss, and one that
    has stopped stays as it is.

    Args:
        predict: the U-Net, differentiable in ``text``.
        ddim: the steps.
        latents: from ``invert``, the S + 1 levels.
        null: [R,L,D], the embedding to begin with.
        text: [R,L,D].
        scale: of guidance, > 1.
        iterations: at most so many Adam steps in each sampling step.
        early_stop: as EARLY_STOP; 0, 0: never.

    Returns:
        float32 [R,L,D] for each of the S steps.
    """
    found, here, null = [], latents[0], null.float()
    for step, t in enumerate(ddim.timesteps):
        with torch.no_grad():
            conditional = predict(here, t, text)
        leaf = null.clone().requires_grad_(True)
        adam = torch.optim.Adam([leaf], lr=1e-2 * (1 - step / 100))
        active = torch.ones(len(leaf), dtype=torch.bool, device=leaf.device)
        for _ in range(iterations):
            with torch.enable_grad():
                unconditional = predict(here, t, leaf)
                there = ddim.down(here, unconditional + scale * (conditional - unconditional), step)
                losses = (there - latents[step + 1]).square().flatten(1).mean(1)
                (leaf.grad,) = torch.autograd.grad(losses.sum(), leaf)
            before = leaf.detach().clone()
            adam.step()
            with torch.no_grad():
                usable = active & leaf.isfinite().flatten(1).all(1)
                leaf.copy_(torch.where(usable[:, None, None], leaf, before))
            active &= losses.detach() >= early_stop[0] + early_stop[1] * step
            if not active.any():
                break
        null = leaf.detach()
        with torch.no_grad():
            here = ddim.down(here, guided(predict, here, t, null, text, scale), step)
        found.append(null)
    return found
