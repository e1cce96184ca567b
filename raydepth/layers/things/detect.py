"""Things found by a word: boxes of OWLv2 and Grounding DINO checkpoints of transformers."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch
import transformers

from raydepth.depth.preprocess import read_preprocessing
from raydepth.layers.things.kinds import WORDED, class_name
from raydepth.layers.things.protocol import Picture, SegmenterHost, TextFinder
from raydepth.models.pretrained import load_pretrained, load_tokenizer

FIELD = "layers.segmenter.detector"
_SAME = 0.7
"""IoU from which two boxes show one thing, and the better one is kept."""
_CLIP = {
    "image_mean": (0.48145466, 0.4578275, 0.40821073),
    "image_std": (0.26862954, 0.26130258, 0.27577711),
}
_IMAGENET = {"image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225)}

Boxes = list[tuple[np.ndarray, float]]


def load_detector(name: str, host: SegmenterHost) -> TextFinder:
    """The detector of a hub id or a directory. It runs in float32, once a shot.

    Raises:
        JobError: it cannot be had, lacks weights or words, or is no detector.
    """
    model, file = load_pretrained(
        lambda config: getattr(transformers, class_name(config(), WORDED, FIELD, name)),
        name,
        field=FIELD,
        name=name,
        what="an OWLv2 or Grounding DINO checkpoint of transformers",
        dtype=torch.float32,
    )
    model.to(host.device)
    tokenizer = load_tokenizer(name, field=FIELD, name=name)
    kind = Owl if model.config.model_type == "owlv2" else GroundingDino
    return kind(name, model, file, tokenizer)


class Owl:
    """OWLv2: the picture in the upper left of a square, its text ``a photo of a ...``.

    Attributes:
        name: the model as the job names it.
    """

    threshold = 0.2
    """Scores from here on count, as in the authors' demonstration."""

    def __init__(self, name: str, model: Any, file: dict[str, Any], tokenizer: Any) -> None:
        """Takes a loaded network, its parsed preprocessor file and its tokenizer."""
        self.name, self.model, self.tokenizer = name, model, tokenizer
        self.side = int(model.config.vision_config.image_size)
        normal = read_preprocessing(_CLIP | file)
        self.mean = np.array(normal.mean, np.float32)
        self.std = np.array(normal.std, np.float32)

    @torch.inference_mode()
    def __call__(self, picture: Picture, text: str) -> Boxes:
        """As ``TextFinder``."""
        length = self.model.config.text_config.max_position_embeddings
        words = self.tokenizer(
            [_photo_of(text)],
            padding="max_length",
            truncation=True,
            max_length=length,
            return_tensors="pt",
        )
        said = self.model(
            pixel_values=torch.from_numpy(self.pixels(picture.rgb)).to(self.model.device),
            input_ids=words["input_ids"].to(self.model.device),
            attention_mask=words["attention_mask"].to(self.model.device),
        )
        scores = said.logits[0].amax(-1).sigmoid()
        height, width = picture.rgb.shape[:2]
        square = max(height, width)
        return _boxes(said.pred_boxes[0], scores, self.threshold, (square, square), (height, width))

    def pixels(self, rgb: np.ndarray) -> np.ndarray:
        """A picture uint8 [H,W,3] as the network's input float32 [1,3,side,side]: black right and
        below, smoothed by a Gaussian of (factor - 1) / 2 before it is made smaller.
        """
        side = max(rgb.shape[:2])
        square = np.zeros((side, side, 3), np.float32)
        square[: rgb.shape[0], : rgb.shape[1]] = rgb / np.float32(255)
        if (sigma := (side / self.side - 1) / 2) > 0:
            reach = 2 * int(4 * sigma + 0.5) + 1
            square = cv2.GaussianBlur(
                square, (reach, reach), sigma, borderType=cv2.BORDER_REFLECT_101
            )
        small = cv2.resize(square, (self.side, self.side), interpolation=cv2.INTER_LINEAR)
        return ((small - self.mean) / self.std).transpose(2, 0, 1)[None]


class GroundingDino:
    """Grounding DINO: the picture at its own shape, its text in small letters with a full stop.

    Attributes:
        name: the model as the job names it.
    """

    threshold = 0.3
    """Scores from here on count; the authors' is 0.35, the processor's 0.25."""

    def __init__(self, name: str, model: Any, file: dict[str, Any], tokenizer: Any) -> None:
        """Takes a loaded network, its parsed preprocessor file and its tokenizer."""
        self.name, self.model, self.tokenizer = name, model, tokenizer
        size = file.get("size") or {}
        self.short = int(size.get("shortest_edge", 800))
        self.long = int(size.get("longest_edge", 1333))
        self.preprocessing = read_preprocessing(_IMAGENET | file | {"do_pad": False})

    @torch.inference_mode()
    def __call__(self, picture: Picture, text: str) -> Boxes:
        """As ``TextFinder``."""
        words = self.tokenizer([text.lower().strip().rstrip(".") + "."], return_tensors="pt")
        pixels = self.pixels(picture.rgb)
        said = self.model(
            pixel_values=pixels,
            pixel_mask=torch.ones_like(pixels[:, 0], dtype=torch.int64),
            **{name: value.to(self.model.device) for name, value in words.items()},
        )
        scores = said.logits[0].sigmoid().amax(-1)
        size = picture.rgb.shape[:2]
        return _boxes(said.pred_boxes[0], scores, self.threshold, size, size)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) that a picture is resized to: its short side to ``short``, or its long
        side to ``long`` where that is less.
        """
        small, large = sorted((height, width))
        short: float = self.short
        if large / small * short > self.long:
            short = self.long * small / large
        # Rounded as the processor does: the short side to the nearest pixel, the long side down.
        long = int(short * large / small)
        return (round(short), long) if height <= width else (long, round(short))

    def pixels(self, rgb: np.ndarray) -> torch.Tensor:
        """A picture uint8 [H,W,3] as the network's input float32 [1,3,h,w]."""
        fitted = replace(
            self.preprocessing,
            size=self.size(*rgb.shape[:2]),
            short_side=None,
            keep_aspect_ratio=False,
        )
        return fitted.apply(torch.tensor(rgb[None], device=self.model.device))


def _photo_of(text: str) -> str:
    words = text.strip()
    return (
        f"a photo of {words}" if words.split()[0] in ("a", "an", "the") else f"a photo of a {words}"
    )


def _boxes(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    threshold: float,
    scale: Sequence[int],
    size: Sequence[int],
) -> Boxes:
    """Boxes as centre and size in fractions of ``scale`` (height, width) to corners in a picture of
    ``size`` (height, width); best first, one for what overlaps much.
    """
    centre, half = boxes[:, :2].float(), boxes[:, 2:].float() / 2
    corners = torch.cat([centre - half, centre + half], 1).cpu().numpy()
    corners = corners * np.array([scale[1], scale[0]] * 2, np.float32)
    corners = corners.clip(0, np.array([size[1], size[0]] * 2, np.float32))
    trust = scores.float().cpu().numpy()
    found: Boxes = []
    for i in np.argsort(-trust, kind="stable"):
        if trust[i] < threshold or (corners[i, 2:] - corners[i, :2]).min() < 1:
            continue
        if all(_box_overlap(corners[i], box) < _SAME for box, _ in found):
            found.append((corners[i], float(trust[i])))
    return found


def _box_overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes float32 [4]."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    common = float(sides.clip(0).prod())
    areas = float((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod())
    return common / (areas - common)
