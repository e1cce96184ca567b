"""Depth from an ONNX file such as FastDepth, on the CPU or a CUDA provider."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from raydepth.batch import Batch
from raydepth.depth.files import fill_nearest
from raydepth.depth.preprocess import read_preprocessing
from raydepth.depth.settings import DepthKind
from raydepth.errors import JobError
from raydepth.models.onnx_session import open_session, signature

_CREDIBLE_M = 0.1
"""Metres nearer than this are a network's failure, not a distance."""


class OnnxDepth:
    """A network with one picture input and a map as first output.

    The input is [N,3,H,W] or [N,1,H,W], the map [N,1,h,w] or [N,h,w]. Sizes may be fixed or
    dynamic. For fixed ones the picture is resized to them and the map back. For dynamic ones the
    working size is rounded to what the network accepts. The input is float32 RGB 0..1, or luma for
    one channel. A sidecar file ``preprocessor_config.json`` in transformers' format overrides that.

    Attributes:
        name: path of the file.
        kind: what its numbers are.
    """

    def __init__(
        self,
        path: str,
        *,
        kind: DepthKind = "depth_m",
        input_size: int | None = None,
        device: str = "cpu",
        threads: int = 2,
    ) -> None:
        """Opens the file and runs it once, so that a wrong model is refused before the run.

        Raises:
            JobError: as ``open_session``, or the inputs, outputs or sizes are not those above.
        """
        self.name, self.kind = path, kind
        self.session = open_session(path, "depth.model", device=device, threads=threads)
        inputs = self.session.get_inputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        if len(shape) != 4 or inputs[0].type != "tensor(float)" or shape[1] not in (1, 3):
            raise JobError(
                f"depth.model: {path}: expected one input tensor(float) [N,3,H,W] or [N,1,H,W] of "
                "pictures, "
                f"got {signature(inputs)}"
            )
        self.channels: int = shape[1]
        self.batch = shape[0] if isinstance(shape[0], int) else None
        if self.batch not in (None, 1):
            raise JobError(
                f"depth.model: {path}: expected a batch of 1 or of any size, got "
                f"{signature(inputs)}"
            )
        fixed = (
            (shape[2], shape[3])
            if isinstance(shape[2], int) and isinstance(shape[3], int)
            else None
        )
        preprocessor_file = Path(path).with_name("preprocessor_config.json")
        self.preprocessing = read_preprocessing(
            json.loads(preprocessor_file.read_text()) if preprocessor_file.is_file() else {}
        )
        if fixed and input_size not in (None, min(fixed)):
            raise JobError(
                f"depth.input_size: got {input_size}, but {path} has the fixed input "
                f"{fixed[0]}x{fixed[1]}: "
                "leave it out"
            )
        if fixed:
            self.preprocessing = replace(
                self.preprocessing, size=fixed, keep_aspect_ratio=False, multiple_of=1
            )
            self._try(*fixed)
            return
        # 1: fully convolutional; 14 and 16: patches; 32 and 64: encoders that halve five or six
        # times.
        failures = []
        for multiple in (1, 14, 16, 32, 64):
            try:
                self._try(multiple * -(-65 // multiple), multiple * -(-97 // multiple))
            except JobError as error:
                failures.append(str(error))
                continue
            multiple = max(multiple, int(self.preprocessing.multiple_of))
            self.preprocessing = replace(
                self.preprocessing, multiple_of=multiple, short_side=input_size
            )
            return
        raise JobError(failures[0])

    def __call__(self, batch: Batch) -> np.ndarray:
        """Raw maps float32 [N,H,W] in the kind's unit."""
        rgb = torch.tensor(batch["rgb"])
        pixels = self.preprocessing.apply(rgb)
        if self.channels == 1:
            pixels = (pixels * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(
                1, keepdim=True
            )
        maps = self._run(pixels.numpy())
        if self.kind == "depth_m":
            # FastDepth's last unit is dead in bright skies and gives 0 m there. That would be the
            # nearest depth of all and swap the layers. Such a patch takes the depth of the
            # nearest credible pixel.
            maps = np.stack(
                [
                    fill_nearest(np.where(depth >= _CREDIBLE_M, depth, np.float32(np.nan)))
                    for depth in maps
                ]
            )
        return self.preprocessing.undo(torch.from_numpy(maps), *rgb.shape[1:3]).numpy()

    def _run(self, pixels: np.ndarray) -> np.ndarray:
        """Input float32 [N,C,h,w] to maps float32 [N,h',w']."""
        name = self.session.get_inputs()[0].name
        parts = (
            [pixels]
            if self.batch is None
            else [pixels[row : row + 1] for row in range(len(pixels))]
        )
        maps = np.concatenate([self.session.run(None, {name: part})[0] for part in parts])
        return maps.reshape(len(pixels), *maps.shape[-2:]).astype(np.float32)

    def _try(self, height: int, width: int) -> None:
        count = self.batch or 2
        try:
            self._run(np.zeros((count, self.channels, height, width), np.float32))
        except Exception as error:  # onnxruntime's errors share no base class but Exception
            raise JobError(
                f"depth.model: {self.name}: expected a map [N,1,h,w] or [N,h,w] as first output, "
                "got "
                f"{signature(self.session.get_outputs())}; a picture of {height}x{width} gave "
                f"{' '.join(str(error).split())}"
            ) from error
