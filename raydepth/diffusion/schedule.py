"""Samplers and their steps: the noise levels of a run, and the steps with injection."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, LCMScheduler

from raydepth.errors import JobError

SAMPLERS = {"ddim": DDIMScheduler, "dpm++": DPMSolverMultistepScheduler, "lcm": LCMScheduler}


@dataclass
class Schedule:
    """A scheduler for exactly one sampling run, and the timesteps that it runs.

    Multistep schedulers keep state, so none is used twice.
    """

    scheduler: Any
    timesteps: torch.Tensor
    """int64 [S], descending."""


def make_schedule(
    config: Mapping[str, Any], sampler: str, *, steps: int, strength: float, device: str = "cpu"
) -> Schedule:
    """Builds a sampler from a checkpoint's scheduler config, for the last part of its steps.

    That part is ``strength``. The noise schedule, prediction type (epsilon or v) and timestep
    spacing are the checkpoint's; the solver is the job's. Clipping of x_0 to [-1, 1], DDIM's
    default, is meant for pixels, so it is off where the config does not mention it. LCM is meant
    for weights that were distilled for it (an LCM LoRA). On plain weights it runs, but gives soft
    pictures.

    Raises:
        JobError: the sampler cannot make so many steps.
    """
    scheduler = SAMPLERS[sampler].from_config({"clip_sample": False} | dict(config))
    try:
        scheduler.set_timesteps(steps, device=device)
    except ValueError as error:
        raise JobError(f"compose.steps: {steps} does not fit sampler {sampler}: {error}") from error
    begin = len(scheduler.timesteps) - steps_run(steps, strength)
    if hasattr(scheduler, "set_begin_index"):  # DDIM has no state to begin
        scheduler.set_begin_index(begin)
    return Schedule(scheduler, scheduler.timesteps[begin:])


def steps_run(steps: int, strength: float) -> int:
    """Number of steps that run, at least one.

    It is rounded down as in diffusers' image-to-image pipelines.
    """
    return max(1, int(steps * strength))


def window_steps(window: Sequence[float], run: int) -> range:
    """The steps of a run of length ``run`` that lie in ``window``.

    The window is fractions [first, last]; [a, a] is empty.
    """
    first, last = (round(part * run) for part in window)
    return range(first, last)
