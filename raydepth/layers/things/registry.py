"""The segmenters that a job may name at ``layers.segmenter.method``."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from raydepth.layers.things.protocol import Segmenter, TextFinder
from raydepth.layers.things.settings import DepthSegmenter, SamSegmenter
from raydepth.models.names import NamedModel
from raydepth.registry import Entry, Registry


@dataclass(frozen=True)
class SegmenterHost:
    """What a worker gives a segmenter."""

    device: str = "cpu"
    dtype: str = "float32"
    threads: int = 2
    """CPU threads of an ONNX model; torch's are set for the whole process."""


def _no_models(segmenter: Any) -> Iterator[NamedModel]:
    return iter(())


def _no_finder(segmenter: Any, host: SegmenterHost) -> TextFinder | None:
    return None


@dataclass(frozen=True)
class SegmenterEntry(Entry):
    """A segmenter."""

    load: Callable[[Any, SegmenterHost], Segmenter]
    """Loads it; raises JobError where a model is missing or of another form."""
    models: Callable[[Any], Iterator[NamedModel]] = _no_models
    """The models that it names."""
    finder: Callable[[Any, SegmenterHost], TextFinder | None] = _no_finder
    """Loads what finds things by a word; None: the method has none."""


SEGMENTERS: Registry[SegmenterEntry] = Registry("layers.segmenter.method", "depth")


def load_segmenter(settings: Any, host: SegmenterHost | None = None) -> Segmenter:
    """The segmenter that ``layers.segmenter`` names.

    Raises:
        JobError: a model is missing, unreadable, or not of the form that the method needs.
    """
    return SEGMENTERS.of(settings).load(settings, host or SegmenterHost())


def _load_depth(settings: DepthSegmenter, host: SegmenterHost) -> Segmenter:
    from raydepth.layers.things.depth import DepthRegions

    return DepthRegions(settings)


def _load_sam(settings: SamSegmenter, host: SegmenterHost) -> Segmenter:
    # Here, because transformers and onnxruntime take seconds to import.
    from raydepth.layers.things.sam import load_sam

    return load_sam(settings, host)


SEGMENTERS.register(SegmenterEntry(DepthSegmenter, _load_depth))
SEGMENTERS.register(SegmenterEntry(SamSegmenter, _load_sam))
