"""Method ``onnx`` of ``layers.fill``: an inpainting network as an ONNX file."""

from typing import Any

import cv2
import numpy as np

from raydepth.errors import JobError
from raydepth.layers.fill.opencv import OpenCVFiller
from raydepth.layers.fill.protocol import Filler
from raydepth.models.onnx_session import open_session, signature

_MULTIPLES = (1, 8, 16, 32, 64)
"""Of which the sides of a picture may have to be: encoders halve it three to six times."""


class OnnxFiller(Filler):
    """An inpainting network: picture [1,3,H,W] and mask [1,1,H,W] in, picture out.

    uint8 inputs are taken as MI-GAN's pipeline has them: colours 0..255, mask 255 = keep, 0 = hole.
    Float inputs as LaMa has them: colours 0..1, mask 1 = hole; the output may be 0..1 or 0..255.
    Sizes may be dynamic or fixed; for a fixed one the picture is resized to it and the filled hole
    back. To a dynamic one that takes only multiples (of 8, say) the picture is continued at its
    right and lower edge.

    The hole is filled roughly before the network sees it. MI-GAN's pipeline blends over the rim of
    its mask and takes what it finds there for context: with the thing still in the hole, a rim in
    its colours stayed and the network made it up again (250 grey levels between two fills of one
    hole with different colours inside; 0 with the rough fill).
    """

    def __init__(self, path: str, *, device: str = "cpu", threads: int = 2) -> None:
        """Opens the model and runs it once on a grey picture.

        Raises:
            JobError: as ``open_session``, or the model is not of the form above.
        """
        self.path, self.name = path, "the network"
        self.session = open_session(path, "layers.fill.model", device=device, threads=threads)
        inputs = self.session.get_inputs()
        pictures = [i for i in inputs if len(i.shape) == 4 and i.shape[1] == 3]
        masks = [i for i in inputs if len(i.shape) == 4 and i.shape[1] == 1]
        types = {i.type for i in inputs}
        if (
            len(inputs) != 2
            or len(pictures) != 1
            or len(masks) != 1
            or len(types) != 1
            or not types <= {"tensor(uint8)", "tensor(float)"}
        ):
            raise self._wrong(f"got {signature(inputs)}")
        self.image, self.mask = pictures[0].name, masks[0].name
        self.bytes = types == {"tensor(uint8)"}
        height, width = pictures[0].shape[2:]
        self.size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
        self.scale = 1.0
        self.rough = OpenCVFiller(cv2.INPAINT_TELEA, 5.0)
        self.multiple = 1
        failures = []
        for multiple in (1,) if self.size else _MULTIPLES:
            side = self.size or (multiple * -(-65 // multiple), multiple * -(-97 // multiple))
            hole = np.zeros(side, bool)
            hole[: side[0] // 4] = True
            try:
                picture = self._run(np.full((*side, 3), 128, np.uint8), hole)
            except Exception as error:  # onnxruntime's errors share no base class but Exception
                reason = " ".join(str(error).split())
                failures.append(f"a picture of {side[0]}x{side[1]} gave {reason}")
                continue
            if picture.shape == (*side, 3):
                self.multiple = multiple
                break
            failures.append(f"got the output {signature(self.session.get_outputs())}")
        else:
            raise self._wrong(failures[0])
        if not self.bytes and np.median(picture[~hole]) <= 1.5:
            self.scale = 255.0

    def __call__(self, rgb: np.ndarray, hole: np.ndarray) -> np.ndarray:
        """As ``Filler``."""
        height, width = hole.shape
        rgb = np.where(hole[..., None], self.rough(rgb, hole), rgb)
        if self.size is None or self.size == (height, width):
            rest = [(0, -side % self.multiple) for side in (height, width)]
            whole = np.pad(rgb, [*rest, (0, 0)], mode="edge"), np.pad(hole, rest)
            filled = self._run(*whole)[:height, :width]
        else:
            size = self.size[::-1]
            small_hole = cv2.resize(hole.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
            filled = self._run(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), small_hole)
            filled = cv2.resize(
                np.ascontiguousarray(filled), (width, height), interpolation=cv2.INTER_CUBIC
            )
        return np.rint(filled * self.scale).clip(0, 255).astype(np.uint8)

    def _run(self, rgb: np.ndarray, hole: np.ndarray) -> np.ndarray:
        picture = np.ascontiguousarray(rgb.transpose(2, 0, 1)[None])
        if self.bytes:
            feed: dict[str, Any] = {
                self.image: picture,
                self.mask: np.where(hole, 0, 255).astype(np.uint8)[None, None],
            }
        else:
            feed = {
                self.image: picture.astype(np.float32) / 255,
                self.mask: hole.astype(np.float32)[None, None],
            }
        return self.session.run(None, feed)[0][0].transpose(1, 2, 0)

    def _wrong(self, what: str) -> JobError:
        return JobError(
            f"layers.fill.model: {self.path}: expected two inputs, a picture [1,3,H,W] and a mask "
            "[1,1,H,W], "
            "both uint8 (0..255, 255 = keep) or both float (0..1, 1 = hole), and one picture as "
            "output; "
            f"{what}"
        )
