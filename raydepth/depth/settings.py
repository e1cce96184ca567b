"""Section ``depth``: how depth is estimated."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from raydepth.section import Names, Section, Unit

DepthKind = Literal["disparity_rel", "depth_rel", "depth_m"]


class Depth(Section):
    """How depth is estimated: ``depth``."""

    renamed: ClassVar = {"steady": "stabilise"}

    model: Annotated[str, Names("model")] = "builtin"
    """``builtin``, a hub id, a local directory, an ``.onnx`` file, or ``files:PATTERN`` for depth
    files beside the input.

    A pattern may use ``{parent}`` (folder of the source), ``{stem}`` (its name without ending),
    ``{frame_index}`` (with a format, ``{frame_index:06d}``), ``{pts}`` and, for image folders,
    ``{image}`` (the image's name without ending).
    """
    kind: DepthKind | None = None
    """What the model's numbers are; null: as the checkpoint or its class says (``depth_m`` for ONNX
    and files)."""
    scale: Annotated[float, Field(gt=0), Unit("metres per unit")] = 0.001
    """Metres per unit of 16-bit depth files (0.001: millimetres)."""
    input_size: Annotated[Annotated[int, Field(ge=32, le=8192)] | None, Unit("pixels")] = None
    """Short side in pixels that the model sees; null: what its preprocessor file or its fixed input
    shape says."""
    calibration_frames: Annotated[int, Field(ge=1)] = 16
    """Frames sampled over a clip to fix its normalisation and thresholds, once per clip."""
    stabilise: bool = False
    """With a camera that stands still: the sampled frames that show the same colours at a pixel
    vote on its depth, so that it does not waver with the estimator; what moves keeps its own, on
    one scale. Where the camera moves nothing is changed. More ``calibration_frames`` know more of
    what moves."""
    guided: bool = False
    """Brings the edges of depth to the picture's edges near by (guided filter, He et al. 2010): for
    estimators with soft edges."""
    truth: Annotated[str | None, Names("pattern")] = None
    """Pattern of ground-truth depth files in metres (as in ``files:``), or null."""
