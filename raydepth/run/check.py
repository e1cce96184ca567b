"""The models and files that a job names, found and checked before anything starts (step 1)."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np

from raydepth.compose.registry import COMPOSITORS
from raydepth.depth.estimator import Explains
from raydepth.depth.files import DepthFiles
from raydepth.depth.registry import depth_entry, load_depth
from raydepth.edits.registry import EDITS
from raydepth.errors import JobError
from raydepth.evaluate.true_edits import TrueEdits
from raydepth.frames.decode import batches
from raydepth.frames.segments import Segment
from raydepth.job import Job
from raydepth.layers.fill.registry import FILLERS
from raydepth.layers.things.files import MaskFiles
from raydepth.layers.things.kinds import CLICKED, WORDED, class_name
from raydepth.layers.things.onnx_sam import check_part
from raydepth.layers.things.registry import SEGMENTERS
from raydepth.layers.things.said import said
from raydepth.models import builtin
from raydepth.models.checkpoint import (
    DIFFUSION_CONFIGS,
    cached_snapshot,
    check_unet,
    has_weights,
    read_config,
)
from raydepth.models.names import NamedModel, cached
from raydepth.run.calibrator import sample_frames
from raydepth.run.load import check_metres
from raydepth.section import Section


def named_models(job: Job) -> Iterator[NamedModel]:
    """Every model that the job will load."""
    fill = job.layers.fill
    yield from depth_entry(job.depth.model).models(job.depth)
    yield from FILLERS.of(fill).models(fill, job.diffusion)
    yield from COMPOSITORS.of(job.compose).models(job.compose)
    if job.layers.things:
        yield from SEGMENTERS.of(job.layers.segmenter).models(job.layers.segmenter)
    yield from EDITS.of(job.edit).models(job.edit)


def check_models(job: Job) -> None:
    """Finds and opens every model that a job names, without loading weights into memory or
    downloading them, and tells from their configurations whether they do what the job asks.

    Patterns of ground truth are checked with them.

    Raises:
        JobError: a file or directory is missing, unreadable or truncated, or a hub id is neither
            cached nor reachable; a pattern is malformed; a prompt is given to a model without text
            encoder, metres are asked of a relative depth model, and the like.
    """
    if job.depth.truth:
        DepthFiles(job.depth.truth)
    if job.evaluate.truth:
        TrueEdits(job.evaluate.truth)
    for one in said(job.layers.things):
        if one.thing.masks:
            MaskFiles(one.thing)
    for model in named_models(job):
        if model.form == "onnx":
            _check_onnx(model)
        elif model.form == "hub":
            _check_hub(job, model)
        elif model.form == "files":
            DepthFiles(model.name.removeprefix("files:"))
        elif model.form == "file" and not Path(model.name).expanduser().is_file():
            raise JobError(f"{model.field}: no file {model.name}")
        elif model.form in ("builtin", "directory"):
            own: Literal["depth", "diffusion", "inpaint"] = (
                model.role if model.role in ("depth", "inpaint") else "diffusion"
            )
            path = builtin.path(own) if model.form == "builtin" else Path(model.name).expanduser()
            _check_directory(model, path)
            if model.role in ("diffusion", "inpaint"):
                _check_pipeline(job, model, path)
    entry = depth_entry(job.depth.model)
    if (kind := entry.kind(job.depth)) is not None:
        check_metres(job, kind)
    if EDITS.of(job.edit).estimates(job.edit) and not entry.reads_pixels:
        raise JobError(
            "edit.depth: aligned estimates the new scene's depth, which depth.model: "
            f"{job.depth.model} cannot; use behind"
        )


def check_depth_files(job: Job, segments: Sequence[Segment]) -> None:
    """Looks for depth of the frames that clips are calibrated on, where ``depth.model`` names
    files; ends with the first that there is.

    Raises:
        JobError: not a clip has any, so that all frames would fail.
    """
    if depth_entry(job.depth.model).reads_pixels:
        return
    estimator, reason = load_depth(job.depth), ""
    for _, clip in groupby(segments, key=lambda segment: segment.video):
        for segment in sample_frames(list(clip), job.depth.calibration_frames):
            for batch in batches(segment, 1, lost=("", "")):  # not decoded
                if np.isfinite(estimator(batch)).any():
                    return
                if not reason and isinstance(estimator, Explains):
                    reason = f" ({estimator.explain(batch, 0)[1]})"
    raise JobError(
        f"depth.model: {job.depth.model} has no depth for any frame that was looked for{reason}"
    )


def edit_files(edit: Section) -> Iterator[tuple[str, str]]:
    """Field and path of every local file that an edit brings in; URIs and colours are left out."""
    for field, path in EDITS.of(edit).files(edit):
        if path and not path.startswith("#") and "://" not in path:
            yield field, path


def thing_files(job: Job) -> Iterator[tuple[str, str]]:
    """Field and path, or pattern of paths, of the local files that say where things are."""
    things = job.layers.things
    if isinstance(things, str):
        named = [("layers.things", things)]
    else:
        named = [(f"layers.things.{i}.masks", one.masks or "") for i, one in enumerate(things)]
    yield from ((field, path) for field, path in named if path and "://" not in path)


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
    yield from thing_files(job)


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
        session = onnxruntime.InferenceSession(str(path), quiet, providers=["CPUExecutionProvider"])
    except (
        Exception
    ) as error:  # onnxruntime raises a family of its own for every way a file can be wrong
        raise JobError(f"{model.field}: {model.name} cannot be loaded as ONNX: {error}") from error
    if model.role == "segmentation":
        check_part(session, model.name, model.field)


def _check_directory(model: NamedModel, path: Path) -> None:
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
            config = read_config(path / index)
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
        _check_type(model, config)
    weights = [path] if lora_file else sorted(path.rglob("*.safetensors"))
    if not weights:
        raise JobError(
            f"{model.field}: {model.name} holds no .safetensors weights (pickled .bin files are "
            "not loaded)"
        )
    if model.role in ("depth", "segmentation", "detection") and not has_weights(path):
        raise JobError(_misnamed(model, path, "model.safetensors"))
    _check_weights(model, weights)


def _check_type(model: NamedModel, config: dict) -> None:
    """Refuses a checkpoint that cannot find things, where it is to find them."""
    known = {"segmentation": CLICKED, "detection": WORDED}.get(model.role)
    if known is not None:
        class_name(config, known, model.field, model.name)


def _check_weights(model: NamedModel, weights: list[Path]) -> None:
    from safetensors import SafetensorError, safe_open

    for file in weights:
        try:
            with safe_open(str(file), "numpy"):
                pass
        except (SafetensorError, OSError) as error:
            raise JobError(f"{model.field}: {file} is damaged or unreadable: {error}") from error


def _misnamed(model: NamedModel, folder: Path, expected: str) -> str:
    return (
        f"{model.field}: {folder} holds no weights by a name that would be loaded; expected "
        f"{expected}, or a variant such as .fp16.safetensors"
    )


def _check_pipeline(job: Job, model: NamedModel, path: Path) -> None:
    """A diffusion model's folder: its parts, its class, and whether it can read the prompts."""
    missing = [
        f"{part}/{name}"
        for part, name in DIFFUSION_CONFIGS.items()
        if not (path / part / name).is_file()
    ]
    if missing:
        raise JobError(
            f"{model.field}: directory {model.name} has no {', '.join(missing)}; expected a "
            "diffusers pipeline"
        )
    encodes = (path / "text_encoder").is_dir()
    for part in ("unet", "vae", *(["text_encoder"] if encodes else [])):
        if not has_weights(path / part):
            name = "model" if part == "text_encoder" else "diffusion_pytorch_model"
            raise JobError(_misnamed(model, path / part, f"{name}.safetensors"))
    if encodes and not (path / "tokenizer").is_dir():
        raise JobError(f"{model.field}: {model.name} has a text_encoder/, but no tokenizer/")
    _check_configs(job, model, path, encodes)


def _check_configs(job: Job, model: NamedModel, path: Path, encodes: bool) -> None:
    try:
        unet, vae = (read_config(path / part / "config.json") for part in ("unet", "vae"))
    except (OSError, ValueError, RecursionError) as error:
        raise JobError(f"{model.field}: {model.name} has no readable config: {error}") from error
    named = f"{model.field}: the U-Net of {model.name!r}"
    channels = vae.get("latent_channels", 4)
    check_unet(unet, channels, named, inpainting=model.role == "inpaint")
    section = model.field.rpartition(".")[0]
    asks = job.layers.fill if section == "layers.fill" else job.compose
    prompts = [getattr(asks, name, "") for name in ("prompt", "negative_prompt")]
    if any(prompts) and not encodes:
        raise JobError(
            f"{section}.prompt: model {model.name!r} has no text encoder; leave the prompts empty"
        )


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


def _check_hub(job: Job, model: NamedModel) -> None:
    from huggingface_hub import HfApi

    if cached(model.name, model.file):
        _check_snapshot(job, model)
        return
    try:
        HfApi().model_info(model.name, timeout=20)
    except Exception as error:  # offline, no such model, gated: each has its own exception type
        raise JobError(
            f"{model.field}: {model.name} is not in the local cache and cannot be looked up on the "
            f"hub ({type(error).__name__}); "
            "check the id and the network, or name a local directory"
        ) from error


def _check_snapshot(job: Job, model: NamedModel) -> None:
    """What is in the cache of a hub model; what is not will be fetched, so nothing is missing."""
    path = cached_snapshot(model.name, model.file)
    if path is None:
        return
    _check_weights(model, sorted(path.rglob("*.safetensors")))
    if (path / "config.json").is_file():
        _check_type(model, read_config(path / "config.json"))
    configs = all((path / part / "config.json").is_file() for part in ("unet", "vae"))
    index = path / "model_index.json"
    if model.role in ("diffusion", "inpaint") and configs and index.is_file():
        encodes = read_config(index).get("text_encoder", [None])[0] is not None
        _check_configs(job, model, path, encodes)
