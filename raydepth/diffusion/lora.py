"""Adds a LoRA's weights to a model, by whichever trainer's names, and tells what of them fits."""

import json
import math
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import CLIPTextModel, CLIPTokenizer

from raydepth.errors import JobError, JobNote

_PEFT = "base_model.model."
"""What PEFT itself puts before the names of a model's layers."""
_UNET = ("down_blocks.", "mid_block.", "up_blocks.", "conv_in.", "conv_out.", "time_embedding.")
_TEXT = ("text_model.", "encoder.layers.")
_UP = re.compile(r"(lora_B|[._]lora\.up|lora_linear_layer\.up)\.weight$")
"""The second matrix of a layer; where it is zero the layer changes nothing."""


def fuse_lora(
    lora: str, unet: UNet2DConditionModel, text: tuple[CLIPTextModel, CLIPTokenizer] | None
) -> None:
    """Adds the LoRA's weights to the models', in place; attention processors are set later.

    Keys may be diffusers' (also those before 2023, without ``unet.``), kohya's or PEFT's. Where
    only a part of the layers fits, a ``JobNote`` says how many.

    Args:
        lora: hub id, directory or file.
        unet: the model's.
        text: its text encoder and tokenizer, or None.

    Raises:
        JobError: it cannot be read, its shapes are another model's, or none of its layers fits.
    """
    encoder, tokenizer = text or (None, None)
    pipeline = StableDiffusionPipeline(
        vae=None, text_encoder=encoder, tokenizer=tokenizer, unet=unet, scheduler=None,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    here = Path(lora).expanduser()
    try:
        loaded, alphas, metadata = pipeline.lora_state_dict(
            str(here) if here.exists() else lora, use_safetensors=True, return_lora_metadata=True
        )
        weights = dict(_named_for_pipeline(loaded, _peft_scale(lora, here, loaded)))
        if not all("lora" in key or "lokr" in key for key in weights):
            raise ValueError(f"it holds keys such as {next(iter(weights), 'none')!r}")
        pipeline.load_lora_into_unet(
            weights, network_alphas=alphas, unet=unet, metadata=metadata, _pipeline=pipeline
        )
        if encoder is not None:
            pipeline.load_lora_into_text_encoder(
                weights, network_alphas=alphas, text_encoder=encoder, metadata=metadata,
                _pipeline=pipeline,
            )  # fmt: skip
    except JobError:
        raise
    except Exception as error:  # a file can be wrong in many ways, each with a class of its own
        reason = " ".join(str(error).split())
        raise JobError(
            f"compose.lora: {lora!r} does not load into this model as LoRA weights: {reason[:400]}"
        ) from error
    _tell_what_fits(lora, weights, unet, encoder)
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()


def _named_for_pipeline(
    loaded: Mapping[str, torch.Tensor], scale: float
) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights with ``unet.`` or ``text_encoder.`` before the names of layers that lack it."""
    for key, value in loaded.items():
        own = key.removeprefix(_PEFT)
        part = (
            "unet." if own.startswith(_UNET) else "text_encoder." if own.startswith(_TEXT) else ""
        )
        yield part + own, value * scale if _UP.search(key) else value


def _peft_scale(lora: str, here: Path, loaded: Mapping[str, torch.Tensor]) -> float:
    """Scale (alpha / rank) of a file of PEFT's own, which has it in a file beside the weights."""
    if not any(key.startswith(_PEFT) for key in loaded):
        return 1.0
    file = (here if here.is_dir() else here.parent) / "adapter_config.json"
    if not file.is_file():
        note = f"compose.lora: {lora} has no adapter_config.json beside it; its alpha is taken to "
        warnings.warn(JobNote(note + "be its rank"), stacklevel=3)
        return 1.0
    config = json.loads(file.read_text(encoding="utf-8"))
    if config.get("rank_pattern") or config.get("alpha_pattern"):
        raise ValueError("its ranks or alphas differ from layer to layer (adapter_config.json)")
    rank = float(config["r"])
    return float(config["lora_alpha"]) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _tell_what_fits(
    lora: str, weights: Mapping[str, torch.Tensor], unet: Any, encoder: Any
) -> None:
    """Refuses a LoRA that changes nothing; notes how much of it changes something, if not all."""
    changed = sum(_changed_layers(model) for model in (unet, encoder) if model is not None)
    given = sum(bool(_UP.search(key)) and bool(value.any()) for key, value in weights.items())
    if not changed:
        names = (name for name, _ in unet.named_modules() if name.endswith(".to_q"))
        expected = f"unet.{next(names, 'down_blocks')}" + (
            "" if encoder is None else " or text_encoder.text_model.encoder.layers.0"
        )
        raise JobError(
            f"compose.lora: {lora!r} is made for another model: of its {len(weights)} keys none "
            f"names a layer that this one has; they look like {next(iter(weights), 'none')}, "
            f"expected is the like of {expected}; name a LoRA for Stable Diffusion of this version"
        )
    if changed < given:
        note = f"compose.lora: {changed} of {given} layers of {lora} fit this model; the others do "
        warnings.warn(JobNote(note + "nothing"), stacklevel=3)


def _changed_layers(model: torch.nn.Module) -> int:
    """Layers that the loaded LoRA changes."""
    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    ups = [list(getattr(layer, "lora_B", {}).values()) for layer in layers]
    return sum(not pair or any(bool(up.weight.any()) for up in pair) for pair in ups)
