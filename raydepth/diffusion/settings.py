"""What a job says of a Stable-Diffusion-class model: shared by every section that names one."""

from typing import Annotated, Literal

from pydantic import Field

from raydepth.section import Names, Section


class Diffusion(Section):
    """The model and its prompts."""

    model: Annotated[str, Names("model")] = "builtin"
    """``builtin``, a hub id or a local directory of a Stable-Diffusion-class pipeline."""
    lora: Annotated[str | None, Names("model")] = None
    """Hub id or path of LoRA weights, for example ``latent-consistency/lcm-lora-sdv1-5``."""
    prompt: str = ""
    """What lies beyond the text encoder's window (77 tokens) is not read, and the run says so."""
    negative_prompt: str = ""


Sampler = Literal["ddim", "dpm++", "lcm"]


class Sampling(Diffusion):
    """A model, and how it is sampled."""

    sampler: Sampler = "ddim"
    steps: Annotated[int, Field(ge=1, le=1000)] = 10
    """Steps of the full schedule; ``strength`` says what part of them runs."""
    strength: Annotated[float, Field(gt=0, le=1)] = 0.6
    """Noise level that generation starts from: the last ``strength`` part of the steps runs."""
    guidance: Annotated[float, Field(ge=1)] = 1.0
    """Classifier-free guidance scale; 1 switches it off and saves its lane."""
