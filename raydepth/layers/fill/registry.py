"""The fillers that a job may name at ``layers.fill.method`` (step 5)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from raydepth.diffusion.settings import Diffusion
from raydepth.layers.fill.protocol import Filler
from raydepth.layers.fill.settings import DiffusionFill, OnnxFill, OpenCVFill, PlateFill
from raydepth.models.footprint import Footprint, Workload
from raydepth.models.names import NamedModel, form_of
from raydepth.registry import Entry, Registry


@dataclass(frozen=True)
class FillHost:
    """What a worker gives a filler."""

    device: str = "cpu"
    dtype: str = "float32"
    threads: int = 2
    """CPU threads of an ONNX model; torch's are set for the whole process."""
    seed: int = 0
    """The job's."""
    compose: Diffusion | None = None
    """What the compositor's section says of its diffusion model; None: it has none."""
    loaded: Any = None
    """The compositor's ``diffusion.load.Models``, to be shared; None: it has none."""


def _no_models(fill: Any, compose: Diffusion | None) -> Iterator[NamedModel]:
    return iter(())


@dataclass(frozen=True)
class FillerEntry(Entry):
    """A filler."""

    load: Callable[[Any, FillHost], Filler]
    """Loads it; raises JobError where a model is missing or of another form."""
    models: Callable[[Any, Diffusion | None], Iterator[NamedModel]] = _no_models
    """The models that it names, given the compositor's."""
    evaluations: Callable[[Any, Diffusion | None], int] = lambda fill, compose: 0
    """U-Net evaluations of a frame's hole."""
    memory: Callable[[Any, Diffusion | None, Workload], Footprint | None] = (
        lambda fill, compose, work: None
    )
    """Its models' peak memory; None: small beside a diffusion model's."""
    with_plates: Callable[[Callable[[str], Any], Filler], Filler] | None = None
    """For a method that shows the shot's plate in the hole. Given, by shot id, the shot's
    ``Plate`` (or why it has none), and what ``load`` gave, which fills what no frame of the shot
    shows. None: the method makes no plates."""


FILLERS: Registry[FillerEntry] = Registry("layers.fill.method", "telea")


def load_filler(fill: Any, host: FillHost | None = None) -> Filler:
    """The filler that ``layers.fill`` names.

    Raises:
        JobError: a model is missing, unreadable, or not of the form that the method needs.
    """
    return FILLERS.of(fill).load(fill, host or FillHost())


def _load_opencv(fill: Any, host: FillHost) -> Filler:
    import cv2

    from raydepth.layers.fill.opencv import OpenCVFiller

    flag = cv2.INPAINT_NS if fill.method == "navier-stokes" else cv2.INPAINT_TELEA
    return OpenCVFiller(flag, fill.radius)


def _load_onnx(fill: OnnxFill, host: FillHost) -> Filler:
    from raydepth.layers.fill.bounded import BoundedFiller
    from raydepth.layers.fill.onnx import OnnxFiller

    network = OnnxFiller(fill.model, device=host.device, threads=host.threads)
    return BoundedFiller(network, fill.max_hole)


def _onnx_models(fill: Any, compose: Diffusion | None) -> Iterator[NamedModel]:
    if fill.model:
        yield NamedModel("layers.fill.model", fill.model, form_of(fill.model), "fill")


def _load_plate(fill: PlateFill, host: FillHost) -> Filler:
    if fill.model:
        network = OnnxFill(method="onnx", model=fill.model, max_hole=fill.max_hole)
        return _load_onnx(network, host)
    return _load_opencv(OpenCVFill(radius=fill.radius), host)


def _show_plates(plates: Callable[[str], Any], rest: Filler) -> Filler:
    from raydepth.layers.fill.plate import PlateFiller

    return PlateFiller(plates, rest)


def _load_diffusion(fill: DiffusionFill, host: FillHost) -> Filler:
    # Here, because diffusers takes seconds to import and the other methods do without.
    from raydepth.layers.fill.bounded import BoundedFiller
    from raydepth.layers.fill.diffusion import load_diffusion_filler

    painter = load_diffusion_filler(
        fill,
        host.compose or Diffusion(),
        seed=host.seed,
        device=host.device,
        dtype=host.dtype,
        loaded=host.loaded,
    )
    return BoundedFiller(painter, fill.max_hole)


def _painter(fill: DiffusionFill, compose: Diffusion | None) -> str:
    return fill.model or (compose.model if compose else "builtin")


def _diffusion_models(fill: DiffusionFill, compose: Diffusion | None) -> Iterator[NamedModel]:
    name = _painter(fill, compose)
    yield NamedModel("layers.fill.model", name, form_of(name), "inpaint")


def _diffusion_evaluations(fill: DiffusionFill, compose: Diffusion | None) -> int:
    # Here, because they import diffusers.
    from raydepth.diffusion.schedule import steps_run
    from raydepth.layers.fill.diffusion import BUILTIN_STEPS, BUILTIN_STRENGTH

    own = _painter(fill, compose) == "builtin"
    steps = fill.steps or (BUILTIN_STEPS if own else 20)
    strength = fill.strength or (BUILTIN_STRENGTH if own else 1.0)
    return steps_run(steps, strength) * (2 if fill.guidance > 1 else 1)


def _diffusion_memory(
    fill: DiffusionFill, compose: Diffusion | None, work: Workload
) -> Footprint | None:
    from raydepth.diffusion.memory import footprint

    lanes = 2 if fill.guidance > 1 else 1
    one = footprint(_painter(fill, compose), "inpaint", work, lanes=lanes, pictures=1, frames=1)
    return Footprint(one.model, one.weights, {"fill": max(one.steps.values())})


FILLERS.register(FillerEntry(OpenCVFill, _load_opencv))
FILLERS.register(FillerEntry(OnnxFill, _load_onnx, _onnx_models))
FILLERS.register(FillerEntry(PlateFill, _load_plate, _onnx_models, with_plates=_show_plates))
FILLERS.register(
    FillerEntry(
        DiffusionFill, _load_diffusion, _diffusion_models, _diffusion_evaluations, _diffusion_memory
    )
)
