"""The interface of everything that turns a layer stack into one picture, and the factory that reads the job."""

from typing import Protocol

import numpy as np

from raydepth.edits.plan import EditPlan
from raydepth.job import Compose, JobError


class Compositor(Protocol):
    """Composes batches of frames. After a call, ``notes`` and ``failed`` speak of the frames of that call."""

    notes: list[str]
    """What happened to each frame beyond the usual; empty where nothing did."""
    failed: np.ndarray
    """bool [N]: frames without a usable picture."""

    def __call__(self, plan: EditPlan, source: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """Composes N frames.

        Args:
            plan: layers and region of the frames.
            source: uint8 [N,H,W,3], the frames.
            seeds: int64 [N] >= 0; a frame's result depends on its own seed alone.

        Returns:
            uint8 [N,H,W,3].
        """
        ...

    def round_trip(self, rgb: np.ndarray) -> np.ndarray | None:
        """Takes pictures uint8 [N,H,W,3] through the method's codec and back; None where the method has no codec."""
        return None


def load_compositor(
    compose: Compose, *, device: str, dtype: str, image_prompt: str | None = None
) -> Compositor:
    """Loads what the job's ``compose`` section names.

    Args:
        compose: the section.
        device: ``cpu`` or ``cuda``.
        dtype: ``float32``, ``float16`` or ``bfloat16``.
        image_prompt: the inserted object's picture file, which ``compose.ip_adapter`` is shown.

    Raises:
        JobError: the model, LoRA, prompt, sampler or block names do not go together.
    """
    # Here, because diffusers takes seconds to import and the baselines do without.
    if compose.method == "featglac-grad":
        from raydepth.featglac.grad import FeatGLaCGrad
        from raydepth.featglac.load import load_models

        return FeatGLaCGrad(load_models(compose, device=device, dtype=dtype), compose)
    if compose.method == "featglac-kv":
        from raydepth.featglac.kv import FeatGLaC
        from raydepth.featglac.load import load_models

        models, prompt = load_models(compose, device=device, dtype=dtype), None
        if compose.ip_adapter is not None:
            from raydepth.featglac.ip_adapter import load_image_prompt

            if image_prompt is None:
                raise JobError("compose.ip_adapter: needs an object to look at; set edit.kind: insert")
            prompt = load_image_prompt(compose.ip_adapter, models.unet, image_prompt, device=device)
        return FeatGLaC(models, compose, prompt)
    from raydepth.featglac.baselines import Paste, Poisson

    return {"paste": Paste, "poisson": Poisson}[compose.method](keep_source=compose.paste_back)
