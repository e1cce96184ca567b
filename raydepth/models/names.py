"""How a model is named: builtin, hub id, local directory or ONNX file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Form = Literal["builtin", "onnx", "directory", "hub", "files", "file"]
"""``files``: a pattern of depth files; ``file``: any file that the method reads by itself."""


HUB_DEFAULTS = {
    "depth": [
        ("depth-anything/Depth-Anything-V2-Small-hf", "Apache-2.0"),
        ("Intel/dpt-hybrid-midas", "Apache-2.0"),
        ("Intel/zoedepth-nyu-kitti", "MIT"),
        ("apple/DepthPro-hf", "Apple AMLR"),
    ],
    "diffusion": [
        ("stable-diffusion-v1-5/stable-diffusion-v1-5", "CreativeML OpenRAIL-M"),
        ("latent-consistency/lcm-lora-sdv1-5", "OpenRAIL++"),
    ],
    "segmentation": [
        ("facebook/sam2.1-hiera-tiny", "Apache-2.0"),
        ("facebook/sam-vit-base", "Apache-2.0"),
    ],
    "detection": [
        ("google/owlv2-base-patch16-ensemble", "Apache-2.0"),
        ("IDEA-Research/grounding-dino-tiny", "Apache-2.0"),
    ],
}
"""Hub models that jobs and documentation name, with the licence that their page states (to be read
there)."""


@dataclass(frozen=True)
class NamedModel:
    """A model as a job names it: the field, the name, and what form of name it is."""

    field: str
    name: str
    form: Form
    role: Literal[
        "depth", "diffusion", "inpaint", "fill", "lora", "adapter", "segmentation", "detection"
    ]
    file: str | None = None
    """The file of it that the job names, if any."""


def form_of(name: str) -> Form:
    """What form of name a model has.

    A path is a path when it exists, looks absolute, or starts with a dot.
    """
    if name == "builtin":
        return "builtin"
    if name.startswith("files:"):
        return "files"
    if name.endswith(".onnx"):
        return "onnx"
    if Path(name).is_dir() or name.startswith(("/", "./", "../", "~")) or name.count("/") != 1:
        return "directory"
    return "hub"


def cached(name: str, file: str | None = None) -> bool:
    """Whether a hub model's configuration, or this file of it, is in the Hugging Face cache."""
    return cached_commit(name, file) is not None


def cached_commit(name: str, file: str | None = None) -> str | None:
    """The commit of a hub model whose configuration, or this file of it, is in the Hugging Face
    cache; None where it is not.
    """
    from huggingface_hub import try_to_load_from_cache

    files = (
        [file] if file else ["config.json", "model_index.json", "pytorch_lora_weights.safetensors"]
    )
    for wanted in files:
        path = try_to_load_from_cache(name, wanted)
        if isinstance(path, str):
            # .../snapshots/COMMIT/FILE, and FILE may lie in a folder
            return Path(path).parts[-1 - len(Path(wanted).parts)]
    return None
