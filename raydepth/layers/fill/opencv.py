"""What lies behind the near layers: hole fillers for colour, continuation of the far depth."""

import math
from typing import Any, Protocol

import cv2
import numpy as np

from raydepth.errors import JobError
from raydepth.layers.settings import Fill
from raydepth.models.onnx_session import open_session, signature

_FULL_RESOLUTION = 12_000
"""Holes of up to so many pixels are filled at full resolution by the OpenCV methods."""


class Filler(Protocol):
    """Inpaints the pixels of a hole; its result outside the hole is not used."""

    def __call__(self, rgb: np.ndarray, hole: np.ndarray) -> np.ndarray:
        """Fills.

        Args:
            rgb: uint8 [H,W,3].
            hole: bool [H,W], neither empty nor full.

        Returns:
            uint8 [H,W,3].
        """
        ...

    name: str = ""
    """For notes."""

    note: str = ""
    """What the last call has to say about its frame; empty where nothing."""

    def for_clip(self, video: str) -> "Filler":
        """The filler of one clip, by video id, where clips are filled differently."""
        return self

    def shared_background(self, rgb: np.ndarray, hole: np.ndarray) -> np.ndarray | None:
        """A far layer uint8 [H,W,3] that this frame shares with others of its clip, or None."""
        return None


def load_filler(fill: Fill, *, device: str = "cpu") -> Filler:
    """The filler that ``layers.fill`` names, of those that need only the frame: OpenCV's and ONNX.

    For ``plate`` it is the one that fills what no frame of the clip shows.

    Raises:
        JobError: the ONNX model is missing, unreadable, or not of the form that ``OnnxFiller``
            states.
    """
    if fill.method in ("onnx", "plate") and fill.model:
        return OnnxFiller(fill.model, device=device)
    return OpenCVFiller(
        cv2.INPAINT_NS if fill.method == "navier-stokes" else cv2.INPAINT_TELEA, fill.radius
    )


class OpenCVFiller(Filler):
    """OpenCV's inpainting, coarse to fine: Telea (2004) or Navier-Stokes (Bertalmio et al. 2001).

    Both are made for scratches. In a large hole they take a second a frame at 512 x 912, and
    Telea's extrapolated gradients run into white. So a hole of more than 12,000 pixels is filled on
    a reduced picture and enlarged. Cells of the reduced picture average known pixels only. That
    takes 0.02 s and is smoother inside. Measured on ``dog``, with holes of 42 % and 78 %: 0.64 s
    and 1.1 s at full resolution on two busy cores.
    """

    def __init__(self, flag: int, radius: float) -> None:
        """Takes ``cv2.INPAINT_TELEA`` or ``cv2.INPAINT_NS``, and the radius in pixels."""
        self.flag, self.radius = flag, radius
        self.name = "telea" if flag == cv2.INPAINT_TELEA else "navier-stokes"

    def __call__(self, rgb: np.ndarray, hole: np.ndarray) -> np.ndarray:
        """As ``Filler``."""
        step = math.ceil(math.sqrt(np.count_nonzero(hole) / _FULL_RESOLUTION))
        if step <= 1:
            return cv2.inpaint(rgb, hole.astype(np.uint8), self.radius, self.flag)
        height, width = hole.shape
        size = (-(-width // step), -(-height // step))
        known = (~hole).astype(np.float32)
        weight = cv2.resize(known, size, interpolation=cv2.INTER_AREA)
        mean = (
            cv2.resize(rgb * known[..., None], size, interpolation=cv2.INTER_AREA)
            / np.maximum(weight, 1e-6)[..., None]
        )
        # A cell with any known pixels is known: its colour is the true one next to the hole.
        small = cv2.inpaint(
            np.rint(mean).clip(0, 255).astype(np.uint8),
            (weight < 1e-3).astype(np.uint8),
            max(self.radius / step, 1.5),
            self.flag,
        )
        return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


class OnnxFiller(Filler):
    """An inpainting network: picture [1,3,H,W] and mask [1,1,H,W] in, picture out.

    uint8 inputs are those of MI-GAN's pipeline: colours 0..255, mask 255 = keep, 0 = hole. Float
    inputs are those of LaMa: colours 0..1, mask 1 = hole; the output may be 0..1 or 0..255. Sizes
    may be dynamic or fixed. For a fixed one the picture is resized to it and the filled hole back.

    The hole is filled roughly before the network sees it. MI-GAN's pipeline blends over the edge of
    its mask and takes the pixels there for context. With the object still in the hole, an edge in
    its colours stayed, and the network painted the object again. (Two fills of one hole with
    different colours inside differed by 250 grey levels; by 0 with the rough fill.)
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
        side = self.size or (64, 64)
        hole = np.zeros(side, bool)
        hole[: side[0] // 4] = True
        try:
            picture = self._run(np.full((*side, 3), 128, np.uint8), hole)
        except Exception as error:  # onnxruntime's errors share no base class but Exception
            raise self._wrong(
                f"a picture of {side[0]}x{side[1]} gave {' '.join(str(error).split())}"
            ) from error
        if picture.shape != (*side, 3):
            raise self._wrong(f"got the output {signature(self.session.get_outputs())}")
        if not self.bytes and np.median(picture[~hole]) <= 1.5:
            self.scale = 255.0

    def __call__(self, rgb: np.ndarray, hole: np.ndarray) -> np.ndarray:
        """As ``Filler``."""
        height, width = hole.shape
        rgb = np.where(hole[..., None], self.rough(rgb, hole), rgb)
        if self.size is None or self.size == (height, width):
            filled = self._run(rgb, hole)
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


def fill_hole(
    filler: Filler, rgb: np.ndarray, near: np.ndarray, dilate: int
) -> tuple[np.ndarray, np.ndarray]:
    """Fills what the near layers hide; outside the hole the frame stays, bit for bit.

    Args:
        filler: as ``Filler``.
        rgb: uint8 [H,W,3].
        near: float32 [H,W], alpha of the near layers.
        dilate: radius in pixels of the ellipse by which ``near > 0`` is dilated, so that mixed edge
            pixels go too.

    Returns:
        background uint8 [H,W,3] and hole bool [H,W]. An empty hole, or one without any pixel to
        fill from, leaves the frame as it is. Where only the dilation would swallow the last known
        pixels, the hole is not dilated.
    """
    hole = find_hole(near, dilate)
    if not hole.any() or hole.all():
        return rgb.copy(), hole
    return np.where(hole[..., None], filler(rgb, hole), rgb), hole


def find_hole(near: np.ndarray, dilate: int) -> np.ndarray:
    """The hole bool [H,W] behind near layers of alpha float32 [H,W]; see fill_hole."""
    hole = near > 0
    if dilate > 0 and hole.any():
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * dilate + 1, 2 * dilate + 1))
        dilated = cv2.dilate(hole.astype(np.uint8), kernel).astype(bool)
        hole = hole if dilated.all() else dilated
    return hole


def far_depth(inv_depth: np.ndarray, hole: np.ndarray, plane: float) -> np.ndarray:
    """Continues the far layer's inverse depth under the hole, smoothly and from far pixels only.

    A push-pull pyramid (Gortler et al. 1996) gives every pixel of the hole a mean of the known far
    pixels around it. On each level some sweeps of diffusion bring it close to the harmonic
    solution, which has no extremum inside the hole.

    Args:
        inv_depth: float32 [H,W].
        hole: bool [H,W], where the near layers hide it.
        plane: the farthest plane.

    Returns:
        float32 [H,W]: the depth itself outside the hole, and everywhere strictly farther than the
        plane. Without any known far pixel it is flat, at the frame's farthest depth.
    """
    behind = np.nextafter(np.float32(plane), np.float32(-np.inf))
    known = ~hole & (inv_depth < np.float32(plane))
    if not known.any():
        return np.full_like(inv_depth, min(behind, inv_depth.min()))
    low, high = inv_depth[known].min(), inv_depth[known].max()
    levels = [(np.where(known, inv_depth, 0).astype(np.float32), known.astype(np.float32))]
    while min(levels[-1][1].shape) > 1 and not levels[-1][1].all():
        value, weight = levels[-1]
        size = (-(-weight.shape[1] // 2), -(-weight.shape[0] // 2))
        mass = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
        mean = cv2.resize(value * weight, size, interpolation=cv2.INTER_AREA) / np.maximum(
            mass, 1e-12
        )
        levels.append((mean, (mass > 0).astype(np.float32)))
    value, weight = levels.pop()
    filled = np.where(weight > 0, value, (value * weight).sum() / weight.sum()).astype(np.float32)
    for value, weight in reversed(levels):
        filled = cv2.resize(filled, weight.shape[::-1], interpolation=cv2.INTER_LINEAR)
        for _ in range(4):
            filled = np.where(weight > 0, value, filled)
            filled = cv2.blur(filled, (3, 3), borderType=cv2.BORDER_REPLICATE)
        filled = np.where(weight > 0, value, filled)
    return np.where(known, inv_depth, filled.clip(low, high))
