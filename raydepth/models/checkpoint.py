"""What a checkpoint's folder holds, told without loading weights, and so on the driver."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from raydepth.errors import JobError

DIFFUSION_CONFIGS = {
    "unet": "config.json",
    "vae": "config.json",
    "scheduler": "scheduler_config.json",
}
"""The parts of a diffusion pipeline that every model needs, and each one's configuration."""

_WEIGHTS = re.compile(
    r"(?:diffusion_pytorch_)?model(?:-\d+-of-\d+)?(?:\.(\w+))?(?:-\d+-of-\d+)?\.safetensors"
)
_EXTRAS = (
    "addition_embed_type",
    "class_embed_type",
    "encoder_hid_dim_type",
    "time_cond_proj_dim",
)


def cached_snapshot(name: str, file: str | None = None) -> Path | None:
    """The folder of a hub model's files in the Hugging Face cache; None where neither its
    configuration is there, nor this file of it.
    """
    from huggingface_hub import try_to_load_from_cache

    known = ("model_index.json", "config.json", "pytorch_lora_weights.safetensors")
    for wanted in (file,) if file else known:
        if isinstance(found := try_to_load_from_cache(name, wanted), str):
            return Path(found).parents[wanted.count("/")]
    return None


def weights_variant(where: str, part: str = "") -> str | None:
    """The ``variant`` by which a model's weights are to be loaded: None where plain ones are there,
    else ``fp16`` or whatever there is.

    Args:
        where: a directory, or a hub id.
        part: folder of the weights in it.
    """
    return _variant(_weights(where, part))


def has_weights(folder: Path) -> bool:
    """Whether a folder holds safetensors weights by a name that transformers or diffusers load."""
    return any(_WEIGHTS.fullmatch(file.name) for file in folder.glob("*.safetensors"))


def _weights(where: str, part: str) -> list[str]:
    """Names of the weights in a part of a model: in its directory, its cache or on the hub."""
    here = Path(where).is_dir()
    folder = Path(where) if here else cached_snapshot(where)
    found = [] if folder is None else [file.name for file in (folder / part).glob("*.safetensors")]
    if found or here:
        return found
    from huggingface_hub import HfApi

    try:
        files = [
            sibling.rfilename for sibling in HfApi().model_info(where, timeout=20).siblings or ()
        ]
    except Exception:  # offline, gated, no such model: loading says so in words
        return []
    return [file.rpartition("/")[2] for file in files if file.rpartition("/")[0] == part]


def _variant(names: Iterable[str]) -> str | None:
    variants = {match[1] for name in names if (match := _WEIGHTS.fullmatch(name))}
    if not variants or None in variants:
        return None
    return "fp16" if "fp16" in variants else min(variants)


def read_config(path: Path) -> dict[str, Any]:
    """A configuration file; raises OSError, ValueError or RecursionError where it is none."""
    config = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise ValueError("it is no JSON object")
    return config


def check_unet(config: Mapping[str, Any], channels: int, named: str, *, inpainting: bool) -> None:
    """Refuses a U-Net that is not of the Stable Diffusion 1.x/2.x class.

    Args:
        config: the U-Net's.
        channels: of its VAE's latents.
        named: what the message calls it.
        inpainting: whether one for inpainting (2 C + 1 channels) will do, too.

    Raises:
        JobError: what it takes that is not given to it.
    """
    takes = config.get("in_channels", 4)
    if takes not in ((channels, 2 * channels + 1) if inpainting else (channels,)):
        raise JobError(
            f"{named} takes {takes} channels, its VAE gives {channels}; name a "
            "text-to-image checkpoint"
            + (
                " or an inpainting one"
                if inpainting
                else "; inpainting and editing checkpoints do not fit here"
            )
        )
    present = [name for name in _EXTRAS if config.get(name) is not None]
    if present:
        raise JobError(
            f"{named} wants more than a text condition ({', '.join(present)}); "
            "name a Stable Diffusion 1.x or 2.x class model (LCM: as a LoRA, compose.lora)"
        )
