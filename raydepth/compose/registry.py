"""The compositor that a job names (step 6)."""

from raydepth.compose.protocol import Compositor
from raydepth.compose.settings import Compose
from raydepth.errors import JobError


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
        from raydepth.compose.featglac.grad import FeatGLaCGrad
        from raydepth.diffusion.load import load_models

        return FeatGLaCGrad(load_models(compose, device=device, dtype=dtype), compose)
    if compose.method == "featglac-kv":
        from raydepth.compose.featglac.kv import FeatGLaC
        from raydepth.diffusion.load import load_models

        models, prompt = load_models(compose, device=device, dtype=dtype), None
        if compose.ip_adapter is not None:
            from raydepth.compose.featglac.ip_adapter import load_image_prompt

            if image_prompt is None:
                raise JobError(
                    "compose.ip_adapter: needs an object to look at; set edit.kind: insert"
                )
            prompt = load_image_prompt(compose.ip_adapter, models.unet, image_prompt, device=device)
        return FeatGLaC(models, compose, prompt)
    from raydepth.compose.baselines import Paste, Poisson

    return {"paste": Paste, "poisson": Poisson}[compose.method](keep_source=compose.paste_back)
