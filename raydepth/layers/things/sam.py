"""Method ``sam`` of ``layers.segmenter``: which Segment Anything model the job names."""

from raydepth.errors import JobError
from raydepth.layers.things.protocol import Segmenter
from raydepth.layers.things.registry import SegmenterHost
from raydepth.layers.things.settings import OnnxPair, SamSegmenter

EVERY = 4
"""Frames from one call of an image model to the next, by default."""


def load_sam(settings: SamSegmenter, host: SegmenterHost) -> Segmenter:
    """The model that ``layers.segmenter.model`` names.

    Raises:
        JobError: it is missing, unreadable, or no Segment Anything model.
    """
    if isinstance(settings.model, OnnxPair):
        from raydepth.layers.things.onnx_sam import OnnxSam

        return OnnxSam(
            settings.model,
            every=settings.every or EVERY,
            device=host.device,
            threads=host.threads,
        )
    raise JobError(
        f"layers.segmenter.model: {settings.model}: checkpoints of transformers cannot be loaded; "
        "give an ONNX pair {encoder, decoder}"
    )
