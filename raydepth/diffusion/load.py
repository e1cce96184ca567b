"""Loads the parts of a Stable-Diffusion-class pipeline: hub, local directory or built-in."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextModel, CLIPTokenizer

from raydepth.diffusion.codec import Codec
from raydepth.diffusion.lora import fuse_lora
from raydepth.diffusion.sampler import Condition
from raydepth.diffusion.settings import Diffusion
from raydepth.errors import JobError, JobNote
from raydepth.models import builtin
from raydepth.models.checkpoint import DIFFUSION_CONFIGS, check_unet, weights_variant


@dataclass
class Models:
    """Everything that sampling needs; the text encoder has been used and released."""

    unet: UNet2DConditionModel
    codec: Codec
    scheduler_config: Mapping[str, Any]
    condition: Condition

    @property
    def levels(self) -> int:
        """Resolutions of the U-Net."""
        return 1 + sum(block.downsamplers is not None for block in self.unet.down_blocks)

    @property
    def multiple(self) -> int:
        """Pictures must be multiples of this many pixels, so that every level halves evenly."""
        return self.codec.factor * 2 ** (self.levels - 1)

    def halves(self) -> list[torch.nn.Module]:
        """The parts that are in float16."""
        return [part for part in (self.unet, self.codec.vae) if part.dtype == torch.float16]

    @contextmanager
    def in_float32(self) -> Iterator[None]:
        """Casts the float16 parts to float32 for a while."""
        halves = self.halves()
        try:
            for part in halves:
                part.float()
            yield
        finally:
            for part in halves:
                part.half()  # exact: these weights came from float16


def load_models(
    settings: Diffusion,
    *,
    device: str,
    dtype: str,
    section: str = "compose",
    inpainting: bool = False,
) -> Models:
    """Loads U-Net, codec, scheduler config and the prompt's embeddings.

    A model without text encoder (``builtin``) is conditioned on one all-zero token
    [1,1,cross_attention_dim]. Weights must be safetensors: pickled ones run code.

    Args:
        settings: names the model, the LoRA and the prompts.
        device: ``cpu`` or ``cuda``.
        dtype: of U-Net and codec; a codec whose config says ``force_upcast`` stays in float32.
        section: of the job that names them, for messages.
        inpainting: whether a U-Net that also takes a mask and the masked picture's latents (2 C + 1
            channels) will do; ``builtin`` then is one.

    Raises:
        JobError: something is missing or unreadable, the U-Net is not of the Stable Diffusion
            1.x/2.x class, or there is a prompt but no text encoder.
    """
    kind = getattr(torch, dtype)
    where = settings.model
    if where == "builtin":
        where = str(builtin.path("inpaint" if inpainting else "diffusion"))
    parts = [f"{part}/{name}" for part, name in DIFFUSION_CONFIGS.items()]
    missing = [
        part for part in parts if Path(where).is_dir() and not (Path(where) / part).is_file()
    ]
    if missing:
        raise JobError(
            f"{section}.model: directory {where!r} has no {', '.join(missing)}; expected a "
            "diffusers pipeline"
        )
    try:
        unet = UNet2DConditionModel.from_pretrained(
            where,
            subfolder="unet",
            dtype=kind,
            use_safetensors=True,
            variant=weights_variant(where, "unet"),
        )
        codec = _load_codec(where, kind, device)
        scheduler_config = DDIMScheduler.load_config(where, subfolder="scheduler")
        text = _load_text_encoder(where, kind)
    except (
        Exception
    ) as error:  # a checkpoint can be wrong in many ways, each with a class of its own
        raise JobError(
            f"{section}.model: {settings.model!r} does not load as a Stable-Diffusion-class "
            "pipeline (a hub id, or a directory "
            f"with unet/, vae/ and scheduler/ in safetensors): {error}"
        ) from error
    named = f"{section}.model: the U-Net of {settings.model!r}"
    check_unet(unet.config, codec.channels, named, inpainting=inpainting)
    if settings.lora is not None:
        fuse_lora(settings.lora, unet, text)
    unet = unet.to(device, memory_format=torch.channels_last).requires_grad_(False).eval()
    condition = _encode_prompts(settings, text, unet, section)
    return Models(unet=unet, codec=codec, scheduler_config=scheduler_config, condition=condition)


def with_prompts(models: Models, settings: Diffusion, *, section: str) -> Models:
    """The same weights under other prompts: only the text encoder is loaded again.

    Not for ``builtin``, nor for a model with a LoRA.

    Raises:
        JobError: as load_models.
    """
    text = _load_text_encoder(settings.model, models.unet.dtype)
    return replace(models, condition=_encode_prompts(settings, text, models.unet, section))


def _encode_prompts(
    settings: Diffusion,
    text: tuple[CLIPTextModel, CLIPTokenizer] | None,
    unet: UNet2DConditionModel,
    section: str,
) -> Condition:
    if text is None and (settings.prompt or settings.negative_prompt):
        raise JobError(
            f"{section}.prompt: model {settings.model!r} has no text encoder; leave the prompts "
            "empty"
        )
    if text is None:
        prompt = negative = torch.zeros(1, 1, unet.config.cross_attention_dim)
    else:
        prompt, negative = (
            _encode_prompt(*text, getattr(settings, name), f"{section}.{name}")
            for name in ("prompt", "negative_prompt")
        )
    return Condition(*(embedding.to(unet.device, unet.dtype) for embedding in (prompt, negative)))


def codec_class(config: Mapping[str, Any]) -> Any:
    """The class that a VAE's configuration names, of diffusers or raydepth's own.

    Raises ValueError for any other.
    """
    name = config["_class_name"]
    found: Any = getattr(diffusers, name, None)
    if found is None:
        from raydepth.models.builtin import codec as builtin_codec

        found = getattr(builtin_codec, name, None)
    is_model = isinstance(found, type) and issubclass(found, diffusers.ModelMixin)
    if not is_model:
        raise ValueError(
            f"unknown VAE class {name!r}"
        )  # a pipeline class, for one, could bring code of its own
    return found


def _load_codec(where: str, dtype: torch.dtype, device: str) -> Codec:
    config = AutoencoderKL.load_config(where, subfolder="vae")
    vae = codec_class(config).from_pretrained(
        where,
        subfolder="vae",
        dtype=torch.float32,
        use_safetensors=True,
        variant=weights_variant(where, "vae"),
    )
    # What the checkpoint's own file says: the class's default is to upcast, which costs SD 1.5 its
    # speed for nothing.
    if not config.get("force_upcast", False):
        # Not by .to(), of which diffusers warns whatever the model.
        vae = {torch.float32: vae.float, torch.float16: vae.half, torch.bfloat16: vae.bfloat16}[
            dtype
        ]()
    return Codec(vae.to(device).requires_grad_(False).eval())


def _load_text_encoder(
    where: str, dtype: torch.dtype
) -> tuple[CLIPTextModel, CLIPTokenizer] | None:
    if Path(where).is_dir():
        present = (Path(where) / "text_encoder").is_dir()
    else:
        present = DiffusionPipeline.load_config(where).get("text_encoder", [None])[0] is not None
    if not present:
        return None
    encoder = CLIPTextModel.from_pretrained(
        where,
        subfolder="text_encoder",
        dtype=dtype,
        use_safetensors=True,
        variant=weights_variant(where, "text_encoder"),
    )
    return encoder.eval(), CLIPTokenizer.from_pretrained(where, subfolder="tokenizer")


@torch.inference_mode()
def _encode_prompt(
    encoder: CLIPTextModel, tokenizer: CLIPTokenizer, prompt: str, field: str
) -> torch.Tensor:
    """Embeddings [1,L,D]; a ``JobNote`` says what of a prompt lies beyond the encoder's window."""
    length = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)
    whole = tokenizer(prompt, verbose=False).input_ids
    if len(whole) > length:
        cut = tokenizer.decode(whole[length - 1 : -1], skip_special_tokens=True).strip()
        note = f"{field}: the text encoder reads {length - 2} of its {len(whole) - 2} tokens; not "
        warnings.warn(JobNote(note + f"read: {cut!r}"), stacklevel=2)
    ids = tokenizer(
        prompt, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    ).input_ids
    return encoder(ids)[0]
