"""The segmenters that a job may name at ``layers.segmenter.method``."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from raydepth.layers.things.protocol import Segmenter, SegmenterHost, TextFinder
from raydepth.layers.things.settings import DepthSegmenter, OnnxPair, SamSegmenter
from raydepth.models.names import NamedModel, form_of
from raydepth.registry import Entry, Registry


def named_sam(model: str | OnnxPair, field: str) -> Iterator[NamedModel]:
    """The files of a Segment Anything model that a job names at ``field``."""
    if isinstance(model, OnnxPair):
        for part, path in (("encoder", model.encoder), ("decoder", model.decoder)):
            yield NamedModel(f"{field}.{part}", path, form_of(path), "segmentation")
    else:
        yield NamedModel(field, model, form_of(model), "segmentation")


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
    reads_text: Callable[[Any], bool] = lambda segmenter: False
    """Whether ``finder`` will give something, told without loading it."""


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


def _sam_models(settings: SamSegmenter) -> Iterator[NamedModel]:
    yield from named_sam(settings.model, "layers.segmenter.model")
    if settings.detector is not None:
        name = settings.detector
        yield NamedModel("layers.segmenter.detector", name, form_of(name), "detection")


def _load_finder(settings: SamSegmenter, host: SegmenterHost) -> TextFinder | None:
    from raydepth.layers.things.detect import load_detector

    return load_detector(settings.detector, host) if settings.detector else None


def _sam_reads(settings: SamSegmenter) -> bool:
    return settings.detector is not None


SEGMENTERS.register(SegmenterEntry(DepthSegmenter, _load_depth))
SEGMENTERS.register(
    SegmenterEntry(SamSegmenter, _load_sam, _sam_models, _load_finder, reads_text=_sam_reads)
)
