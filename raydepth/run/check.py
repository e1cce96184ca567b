"""The models and files that a job names, found and checked before anything starts (step 1)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from raydepth.compose.registry import COMPOSITORS
from raydepth.depth.files import DepthFiles
from raydepth.depth.registry import depth_entry
from raydepth.edits.registry import EDITS
from raydepth.errors import JobError
from raydepth.evaluate.true_edits import TrueEdits
from raydepth.job import Job
from raydepth.layers.fill.registry import FILLERS
from raydepth.models import builtin
from raydepth.models.names import NamedModel, cached
from raydepth.section import Section


def named_models(job: Job) -> Iterator[NamedModel]:
    """Every model that the job will load."""
    fill = job.layers.fill
    yield from depth_entry(job.depth.model).models(job.depth)
    yield from FILLERS.of(fill).models(fill, job.diffusion)
    yield from COMPOSITORS.of(job.compose).models(job.compose)
    yield from EDITS.of(job.edit).models(job.edit)


def check_models(job: Job) -> None:
    """Finds and opens every model that a job names, without loading weights into memory or
    downloading them.

    Patterns of ground truth are checked with them.

    Raises:
        JobError: a file or directory is missing, unreadable or truncated, or a hub id is neither
            cached nor reachable; a pattern is malformed.
    """
    if job.depth.truth:
        DepthFiles(job.depth.truth)
    if job.evaluate.truth:
        TrueEdits(job.evaluate.truth)
    for model in named_models(job):
        if model.form == "onnx":
            _check_onnx(model)
        elif model.form == "hub":
            _check_hub(model)
        elif model.form == "file" and not Path(model.name).expanduser().is_file():
            raise JobError(f"{model.field}: no file {model.name}")
        elif model.form in ("builtin", "directory"):
            own: Literal["depth", "diffusion", "inpaint"] = (
                model.role if model.role in ("depth", "inpaint") else "diffusion"
            )
            _check_directory(
                model,
                builtin.path(own) if model.form == "builtin" else Path(model.name).expanduser(),
            )


def edit_files(edit: Section) -> Iterator[tuple[str, str]]:
    """Field and path of every local file that an edit brings in; URIs and colours are left out."""
    for field, path in EDITS.of(edit).files(edit):
        if path and not path.startswith("#") and "://" not in path:
            yield field, path


def worker_paths(job: Job) -> Iterator[tuple[str, str]]:
    """Field and local path, or pattern of paths, of every file beside the input that workers open;
    URIs are left out.
    """
    for model in named_models(job):
        if model.form not in ("builtin", "hub") and "://" not in model.name:
            yield model.field, model.name.removeprefix("files:")
    if job.depth.truth and "://" not in job.depth.truth:
        yield "depth.truth", job.depth.truth
    if job.evaluate.truth and "://" not in job.evaluate.truth:
        yield "evaluate.truth", job.evaluate.truth
    yield from edit_files(job.edit)


def is_same_everywhere(path: str) -> bool:
    """Whether a local path or pattern does not depend on the folder that a process starts in."""
    return path.startswith(("/", "~", "{parent}"))


def check_paths(job: Job) -> None:
    """Checks that files which workers on other machines open have a name that means the same there.

    Raises:
        JobError: a relative path.
    """
    for field, path in worker_paths(job):
        if not is_same_everywhere(path):
            raise JobError(
                f"{field}: {path!r} is relative, and on a cluster workers start in folders of "
                "their own; "
                "give an absolute path that every node has, or use raydepth submit, which sends "
                "small files along"
            )


def _check_onnx(model: NamedModel) -> None:
    path = Path(model.name).expanduser()
    if not path.is_file():
        raise JobError(f"{model.field}: no file {model.name}")
    try:
        import onnxruntime
    except ImportError as error:
        raise JobError(
            f"{model.field}: .onnx models need onnxruntime; pip install 'raydepth[onnx]'"
        ) from error
    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 3
    try:
        onnxruntime.InferenceSession(str(path), quiet, providers=["CPUExecutionProvider"])
    except (
        Exception
    ) as error:  # onnxruntime raises a family of its own for every way a file can be wrong
        raise JobError(f"{model.field}: {model.name} cannot be loaded as ONNX: {error}") from error


def _check_directory(model: NamedModel, path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    lora_file = model.role == "lora" and path.is_file()
    if lora_file and path.suffix != ".safetensors":
        raise JobError(
            f"{model.field}: {model.name} is not .safetensors (pickled weights run code and are "
            "not loaded)"
        )
    if not lora_file and not path.is_dir():
        raise JobError(
            f"{model.field}: no directory {model.name} (a hub id has the form owner/name)"
        )
    if model.file and path.is_dir() and not (path / model.file).is_file():
        raise JobError(f"{model.field}: {model.name} holds no {model.file}")
    index = "model_index.json" if model.role in ("diffusion", "inpaint") else "config.json"
    if model.role not in ("lora", "adapter"):
        try:
            config = json.loads((path / index).read_text(encoding="utf-8"))
            if not isinstance(config, dict):
                raise ValueError("it is no JSON object")
        except (OSError, ValueError, RecursionError) as error:
            raise JobError(
                f"{model.field}: {model.name} has no readable {index}: {error}"
            ) from error
        if model.form == "directory" and (foreign := _foreign_code(config)):
            raise JobError(
                f"{model.field}: {model.name} wants code of its own ({index}: {foreign}), which is "
                "never run; name a model of "
                "transformers or diffusers"
            )
    weights = [path] if lora_file else sorted(path.rglob("*.safetensors"))
    if not weights:
        raise JobError(
            f"{model.field}: {model.name} holds no .safetensors weights (pickled .bin files are "
            "not loaded)"
        )
    for file in weights:
        try:
            with safe_open(str(file), "numpy"):
                pass
        except (SafetensorError, OSError) as error:
            raise JobError(f"{model.field}: {file} is damaged or unreadable: {error}") from error


def _foreign_code(config: dict) -> str:
    """What of a model's configuration names Python files beside it; empty where it stays with the
    libraries' classes.
    """
    if config.get("auto_map"):
        return "auto_map"
    known = ("diffusers", "transformers", "stable_diffusion", "raydepth.models.builtin.codec")
    for name, value in config.items():
        custom_pipeline = name == "_class_name" and not isinstance(value, str)
        component = not name.startswith("_") and isinstance(value, list) and len(value) == 2
        if custom_pipeline or (component and isinstance(value[0], str) and value[0] not in known):
            return name
    return ""


def _check_hub(model: NamedModel) -> None:
    from huggingface_hub import HfApi

    if cached(model.name, model.file):
        return
    try:
        HfApi().model_info(model.name, timeout=20)
    except Exception as error:  # offline, no such model, gated: each has its own exception type
        raise JobError(
            f"{model.field}: {model.name} is not in the local cache and cannot be looked up on the "
            f"hub ({type(error).__name__}); "
            "check the id and the network, or name a local directory"
        ) from error
