"""The protocol of all depth estimators, and the loader of the one that a job names."""

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from raydepth.batch import Batch
from raydepth.depth.settings import Depth, DepthKind
from raydepth.errors import JobError


class DepthEstimator(Protocol):
    """Gives a depth map for each frame of a batch.

    Attributes:
        name: the model as the job names it.
        kind: what its numbers are.
    """

    name: str
    kind: DepthKind

    def __call__(self, batch: Batch) -> np.ndarray:
        """Raw maps float32 [N,H,W] in the kind's unit at the batch's working size.

        Error rows, whose pixels are zeros, are estimated like the others. So a frame's map does not
        depend on whether its neighbours failed. A row without a map is all NaN.
        """


@runtime_checkable
class Explains(Protocol):
    """An estimator that can say why a row has no map; for others the stage says it."""

    def explain(self, batch: Batch, row: int) -> tuple[str, str]:
        """Error type and message for a row whose map is not finite."""


def load_depth(depth: Depth, *, device: str = "cpu", dtype: str = "float32") -> DepthEstimator:
    """Loads what ``depth.model`` names.

    That is ``builtin``, a hub id, a local directory, an ``.onnx`` file or ``files:PATTERN``.

    Args:
        depth: the job's section.
        device: ``cpu``, ``cuda`` or ``cuda:1``; depth files ignore it.
        dtype: ``float32``, ``float16`` or ``bfloat16``, what a checkpoint's network runs in; maps
            are float32 always.

    Raises:
        JobError: the model is not there, cannot be read, or is of a form that raydepth does not
            know.
    """
    model = depth.model
    if model.startswith("files:"):
        from raydepth.depth.files import DepthFiles

        return DepthFiles(
            model.removeprefix("files:"), depth.kind or "depth_m", depth.scale, fill=True
        )
    if model.endswith(".onnx"):
        from raydepth.depth.onnx import OnnxDepth

        return OnnxDepth(
            model, kind=depth.kind or "depth_m", input_size=depth.input_size, device=device
        )
    from raydepth.depth.hub import HubDepth

    where = model
    if model == "builtin":
        from raydepth.models import builtin

        where = str(builtin.path("depth"))
    elif not Path(model).is_dir() and (
        Path(model).exists() or model.count("/") != 1 or model.startswith((".", "/", "~"))
    ):
        raise JobError(
            f"depth.model: got {model!r}, which is no directory here; expected builtin, a hub id "
            "such as "
            "depth-anything/Depth-Anything-V2-Small-hf, a local directory, an .onnx file or "
            "files:PATTERN"
        )
    return HubDepth(
        where, name=model, kind=depth.kind, input_size=depth.input_size, device=device, dtype=dtype
    )
