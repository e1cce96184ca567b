"""The compositors that a job may name at ``compose.method`` (step 6)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from raydepth.compose.featglac.settings import FeatGLaCGrad, FeatGLaCKV
from raydepth.compose.protocol import Compositor
from raydepth.compose.settings import Compose, Paste, Poisson
from raydepth.errors import JobError
from raydepth.models.footprint import Footprint, Workload
from raydepth.models.names import NamedModel, form_of
from raydepth.registry import Entry, Registry


@dataclass(frozen=True)
class ComposeHost:
    """What a worker gives a compositor."""

    device: str = "cpu"
    dtype: str = "float32"
    image_prompt: str | None = None
    """The inserted object's picture file, where the edit has one."""


@dataclass(frozen=True)
class CompositorEntry(Entry):
    """A compositor."""

    load: Callable[[Any, ComposeHost], Compositor]
    """Loads it; raises JobError where model, LoRA, prompt, sampler or blocks do not go together."""
    models: Callable[[Any], Iterator[NamedModel]] = lambda compose: iter(())
    """The models that it names."""
    evaluations: Callable[[Any, int], int] = lambda compose, references: 0
    """U-Net evaluations of a frame, forward and backward, given its distinct layer pictures."""
    memory: Callable[[Any, Workload], Footprint | None] = lambda compose, work: None
    """Its models' peak memory; None: it has no model."""
    paints: Callable[[Any, str], bool] = lambda compose, prompt: False
    """Whether it makes a picture of a prompt where the region allows it (``edit.prompt``)."""
    has_codec: bool = True
    """Whether pictures go through a codec, whose round trip is then measured."""
    faster: str = ""
    """For a method that takes minutes a frame: what makes it faster, in words. A job of such a
    method that cannot meet its deadline is refused."""


COMPOSITORS: Registry[CompositorEntry] = Registry("compose.method", "featglac-kv")


def parse_compose(tree: dict[str, Any]) -> Any:
    """A section ``compose`` as nested dictionaries, checked by its method's settings."""
    return COMPOSITORS.parse(tree)


def count_evaluations(compose: Compose, references: int, frames: int = 1) -> int:
    """U-Net evaluations, forward and backward, of frames with so many distinct layer pictures.

    Frames with an empty region are not sampled. With frozen weights a backward evaluation costs
    about what a forward one does.
    """
    return frames * COMPOSITORS.of(compose).evaluations(compose, references)


def load_compositor(
    compose: Compose, *, device: str, dtype: str, image_prompt: str | None = None
) -> Compositor:
    """Loads what the job's ``compose`` section names.

    Args:
        compose: the section.
        device: ``cpu`` or ``cuda``.
        dtype: ``float32``, ``float16`` or ``bfloat16``.
        image_prompt: the inserted object's picture file, for methods that look at it.

    Raises:
        JobError: the model, LoRA, prompt, sampler or block names do not go together.
    """
    return COMPOSITORS.of(compose).load(compose, ComposeHost(device, dtype, image_prompt))


# Loaders import inside, because diffusers takes seconds to import and the baselines do without.


def _load_paste(compose: Paste, host: ComposeHost) -> Compositor:
    from raydepth.compose import baselines

    return baselines.Paste(keep_source=compose.paste_back)


def _load_poisson(compose: Poisson, host: ComposeHost) -> Compositor:
    from raydepth.compose import baselines

    return baselines.Poisson(keep_source=compose.paste_back)


def _load_kv(compose: FeatGLaCKV, host: ComposeHost) -> Compositor:
    from raydepth.compose.featglac.kv import FeatGLaC
    from raydepth.diffusion.load import load_models

    models, prompt = load_models(compose, device=host.device, dtype=host.dtype), None
    if compose.ip_adapter is not None:
        from raydepth.compose.featglac.ip_adapter import load_image_prompt

        if host.image_prompt is None:
            raise JobError("compose.ip_adapter: needs an object to look at; set edit.kind: insert")
        prompt = load_image_prompt(
            compose.ip_adapter, models.unet, host.image_prompt, device=host.device
        )
    return FeatGLaC(models, compose, prompt)


def _load_grad(compose: FeatGLaCGrad, host: ComposeHost) -> Compositor:
    from raydepth.compose.featglac import grad
    from raydepth.diffusion.load import load_models

    models = load_models(compose, device=host.device, dtype=host.dtype)
    return grad.FeatGLaCGrad(models, compose)


def _latent_models(compose: Any) -> Iterator[NamedModel]:
    yield NamedModel("compose.model", compose.model, form_of(compose.model), "diffusion")
    if compose.lora:
        yield NamedModel("compose.lora", compose.lora, form_of(compose.lora), "lora")


def _kv_models(compose: FeatGLaCKV) -> Iterator[NamedModel]:
    yield from _latent_models(compose)
    if adapter := compose.ip_adapter:
        file = f"{adapter.subfolder}/{adapter.weight_name}".lstrip("/")
        yield NamedModel(
            "compose.ip_adapter.model", adapter.model, form_of(adapter.model), "adapter", file
        )


def _kv_evaluations(compose: FeatGLaCKV, references: int) -> int:
    from raydepth.compose.featglac.lanes import kv_lanes

    return kv_lanes(compose, layers=references)


def _grad_evaluations(compose: FeatGLaCGrad, references: int) -> int:
    from raydepth.compose.featglac import recipes

    return sum(recipes.lanes(recipes.resolve(compose.grad), references))


def _kv_memory(compose: FeatGLaCKV, work: Workload) -> Footprint:
    from raydepth.diffusion.memory import footprint

    lanes = work.batch * ((2 if compose.guidance > 1 else 1) + work.references)
    return footprint(
        compose.model,
        "diffusion",
        work,
        lanes=lanes,
        pictures=work.batch * work.pictures,
        frames=work.batch,
    )


def _grad_memory(compose: FeatGLaCGrad, work: Workload) -> Footprint:
    from raydepth.compose.featglac.memory import guided_step
    from raydepth.diffusion.memory import footprint

    return footprint(
        compose.model,
        "diffusion",
        work,
        lanes=work.batch,
        pictures=work.batch * work.pictures,
        frames=work.batch,
        checkpointing=compose.grad.checkpointing,
        sample=guided_step(work.batch, work.batch * work.references),
    )


def _kv_paints(compose: FeatGLaCKV, prompt: str) -> bool:
    # With the layers' keys and values the old background would be made again.
    free = compose.inject.weight == 0 and compose.blend
    return compose.model != "builtin" and compose.prompt == prompt and free


COMPOSITORS.register(
    CompositorEntry(
        FeatGLaCKV, _load_kv, _kv_models, _kv_evaluations, _kv_memory, paints=_kv_paints
    )
)
COMPOSITORS.register(
    CompositorEntry(
        FeatGLaCGrad,
        _load_grad,
        _latent_models,
        _grad_evaluations,
        _grad_memory,
        faster="choose compose.grad.recipe: lite",
    )
)
COMPOSITORS.register(CompositorEntry(Paste, _load_paste, has_codec=False))
COMPOSITORS.register(CompositorEntry(Poisson, _load_poisson, has_codec=False))
