"""The sources of depth that a job may name at ``depth.model`` (step 3).

A model is named, not a method: each source says which names it answers to.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from raydepth.depth.estimator import DepthEstimator
from raydepth.depth.kinds import kind_of
from raydepth.depth.settings import Depth, DepthKind
from raydepth.errors import JobError
from raydepth.models import builtin
from raydepth.models.checkpoint import cached_snapshot, read_config
from raydepth.models.names import NamedModel, form_of
from raydepth.registry import load_plugins


@dataclass(frozen=True)
class DepthHost:
    """What a worker gives a source of depth."""

    device: str = "cpu"
    """``cpu``, ``cuda`` or ``cuda:1``."""
    dtype: str = "float32"
    """What a network runs in: ``float32``, ``float16`` or ``bfloat16``; maps are float32 always."""
    threads: int = 2
    """CPU threads of an ONNX model; torch's are set for the whole process."""


def _named(depth: Depth) -> Iterable[NamedModel]:
    yield NamedModel("depth.model", depth.model, form_of(depth.model), "depth")


@dataclass(frozen=True)
class DepthEntry:
    """A source of depth."""

    answers: Callable[[str], bool]
    """Whether a value of ``depth.model`` is its."""
    load: Callable[[Depth, DepthHost], DepthEstimator]
    """Loads it; raises JobError where the model is not there, cannot be read or is another kind."""
    models: Callable[[Depth], Iterable[NamedModel]] = _named
    """The models that it names."""
    reads_pixels: bool = True
    """Whether depth of an edited picture can be asked for."""
    kind: Callable[[Depth], DepthKind | None] = lambda depth: depth.kind
    """What its numbers are, told without loading it; None: not known before."""


_ENTRIES: list[DepthEntry] = []


def register_depth(entry: DepthEntry) -> None:
    """Adds a source of depth; what came last is asked first."""
    _ENTRIES.insert(0, entry)


def depth_entry(model: str) -> DepthEntry:
    """The source that answers to a value of ``depth.model``."""
    load_plugins()
    return next(entry for entry in _ENTRIES if entry.answers(model))


def names_no_file(model: str) -> bool:
    """Whether a value of ``depth.model`` names a source itself, not a model that it would open."""
    return not any(True for _ in depth_entry(model).models(Depth(model=model)))


def load_depth(
    depth: Depth, *, device: str = "cpu", dtype: str = "float32", threads: int = 2
) -> DepthEstimator:
    """Loads what ``depth.model`` names.

    That is ``builtin``, a hub id, a local directory, an ``.onnx`` file or ``files:PATTERN``, or
    what an installed package answers to.

    Args:
        depth: the job's section.
        device: see ``DepthHost``.
        dtype: see ``DepthHost``.
        threads: see ``DepthHost``.

    Raises:
        JobError: the model is not there, cannot be read, or is not one that raydepth knows how to
            ask.
    """
    return depth_entry(depth.model).load(depth, DepthHost(device, dtype, threads))


# Loaders import inside, because transformers takes seconds to import and files do without.


def _load_checkpoint(depth: Depth, host: DepthHost) -> DepthEstimator:
    from raydepth.depth.hub import HubDepth

    model, where = depth.model, depth.model
    if model == "builtin":
        where = str(builtin.path("depth"))
    elif not Path(model).is_dir() and (
        Path(model).exists() or model.count("/") != 1 or model.startswith((".", "/", "~"))
    ):
        raise JobError(
            f"depth.model: got {model!r}, which is no directory here; expected builtin, a hub id "
            "such as depth-anything/Depth-Anything-V2-Small-hf, a local directory, an .onnx file "
            "or files:PATTERN"
        )
    return HubDepth(
        where,
        name=model,
        kind=depth.kind,
        input_size=depth.input_size,
        device=host.device,
        dtype=host.dtype,
    )


def _load_onnx(depth: Depth, host: DepthHost) -> DepthEstimator:
    from raydepth.depth.onnx import OnnxDepth

    return OnnxDepth(
        depth.model,
        kind=depth.kind or "depth_m",
        input_size=depth.input_size,
        device=host.device,
        threads=host.threads,
    )


def _load_files(depth: Depth, host: DepthHost) -> DepthEstimator:
    from raydepth.depth.files import DepthFiles

    pattern = depth.model.removeprefix("files:")
    return DepthFiles(pattern, depth.kind or "depth_m", depth.scale, fill=True)


def _checkpoint_kind(depth: Depth) -> DepthKind | None:
    if depth.kind is not None:
        return depth.kind
    here = Path(depth.model).is_dir()
    where = Path(depth.model) if here else cached_snapshot(depth.model)
    if depth.model == "builtin":
        where = builtin.path("depth")
    if where is None:
        return None
    try:
        config = read_config(where / "config.json")
    except (OSError, ValueError, RecursionError):  # loading it says so in words
        return None
    return kind_of(config, depth.model)


def _metres_by_default(depth: Depth) -> DepthKind:
    return depth.kind or "depth_m"


register_depth(DepthEntry(lambda model: True, _load_checkpoint, kind=_checkpoint_kind))
register_depth(
    DepthEntry(lambda model: model.endswith(".onnx"), _load_onnx, kind=_metres_by_default)
)
register_depth(
    DepthEntry(
        lambda model: model.startswith("files:"),
        _load_files,
        reads_pixels=False,
        kind=_metres_by_default,
    )
)
