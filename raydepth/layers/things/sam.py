"""Method ``sam`` of ``layers.segmenter``: which Segment Anything model a job names."""

from raydepth.layers.things.protocol import Segmenter, SegmenterHost
from raydepth.layers.things.settings import OnnxPair, SamSegmenter

FIELD = "layers.segmenter.model"
EVERY = 4
"""Frames from one call of a model without memory to the next, by default.

So that tracking costs at most as much as the rest of a job on a T4. The largest encoder, SAM's
ViT-H, takes about 6 TFLOP a picture: 0.3 s at the 20 TFLOP/s that a T4 keeps up in float16, and a
fourth of that is 0.08 s a frame. The rest takes 0.23 s where no diffusion model is in it (depth,
layers, fill, paste, metrics, encoding at 910x512 on one core), seconds where one is. MobileSAM on
two CPU cores takes 1 s a picture, 0.25 s a frame.
"""


def load_sam(settings: SamSegmenter, host: SegmenterHost) -> Segmenter:
    """The model that ``layers.segmenter.model`` names.

    Raises:
        JobError: it is missing, unreadable, or no Segment Anything model.
    """
    return open_sam(settings.model, host, every=settings.every, field=FIELD)


def open_sam(
    model: str | OnnxPair, host: SegmenterHost, *, every: int | None = None, field: str = FIELD
) -> Segmenter:
    """A Segment Anything model by its name or as an ONNX pair.

    Args:
        model: hub id, directory, or pair of files.
        host: device, dtype and threads.
        every: the job's; None: 1 for a model with memory, else ``EVERY``.
        field: the job's field that names it, for messages.

    Raises:
        JobError: it is missing, unreadable, or no Segment Anything model.
    """
    if isinstance(model, OnnxPair):
        from raydepth.layers.things.onnx_sam import OnnxSam

        return OnnxSam(
            model, every=every or EVERY, device=host.device, threads=host.threads, field=field
        )
    from raydepth.layers.things.hub_sam import load_checkpoint

    return load_checkpoint(model, host, every=every, image_every=EVERY, field=field)
