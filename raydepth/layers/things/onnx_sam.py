"""Segment Anything as a pair of ONNX files with the official signature, MobileSAM among them."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from raydepth.errors import JobError
from raydepth.layers.things.protocol import Found, Picture, Prompt
from raydepth.layers.things.sam_geometry import MEAN, STD, Square, choose, completed, is_ambiguous
from raydepth.layers.things.settings import OnnxPair
from raydepth.models.onnx_session import open_session, signature

_PROMPTS = (
    "image_embeddings",
    "point_coords",
    "point_labels",
    "mask_input",
    "has_mask_input",
    "orig_im_size",
)
_ANSWERS = ("masks", "iou_predictions", "low_res_masks")
_SIDE = 1024
"""Pixels of the square that all Segment Anything models were trained on."""
_SMALL = np.array([64, 64], np.float32)
"""Said to be the picture's size: the decoder's own full-size masks are not used, so they cost
little."""


class OnnxSam:
    """An encoder and a decoder as ONNX files.

    Two forms of encoders are taken: float ``[1,3,1024,1024]`` (sides may be dynamic) that expects
    normalised and padded pictures, as of MobileSAM and most exports; and float ``[H,W,3]`` that
    expects RGB 0..255 and does the rest itself, as of samexporter. The decoder has the signature of
    the official export script: ``image_embeddings, point_coords, point_labels, mask_input,
    has_mask_input, orig_im_size`` -> ``masks, iou_predictions, low_res_masks``, with one mask or
    four.

    Attributes:
        name: the encoder's file.
        every: see ``sam.EVERY``.
    """

    def __init__(
        self,
        pair: OnnxPair,
        *,
        every: int,
        device: str = "cpu",
        threads: int = 2,
        field: str,
    ) -> None:
        """Opens both files and refuses those that are no Segment Anything model.

        Args:
            pair: the files.
            every: frames from one call to the next.
            device: ``cuda`` runs them with the CUDA provider.
            threads: CPU threads.
            field: the job's field that names them, for messages.

        Raises:
            JobError: as ``open_session``, or inputs or outputs are not those above.
        """
        self.name, self.every = pair.encoder, every
        self.encoder = open_session(
            pair.encoder, f"{field}.encoder", device=device, threads=threads
        )
        self.decoder = open_session(
            pair.decoder, f"{field}.decoder", device=device, threads=threads
        )
        self.raw = _reads_raw(self.encoder, pair.encoder, f"{field}.encoder")
        _check_decoder(self.decoder, pair.decoder, f"{field}.decoder")
        made, read = self.encoder.get_outputs()[0], self.decoder.get_inputs()
        wanted = next(value for value in read if value.name == "image_embeddings")
        if not _fits(made.shape, wanted.shape):
            raise JobError(
                f"{field}: {pair.encoder} gives {signature([made])}, {pair.decoder} takes "
                f"{signature([wanted])}; name the encoder and the decoder of one model"
            )
        self.low = int(next(value for value in read if value.name == "mask_input").shape[-1])

    def __call__(self, picture: Picture, prompts: Sequence[Prompt]) -> list[Found]:
        """As ``Segmenter``; the picture is encoded once for all prompts."""
        if not prompts:
            return []
        height, width = picture.rgb.shape[:2]
        square = Square(height, width, _SIDE, padded=True)
        embeddings = self._encode(picture.rgb, square)
        return [self._find(embeddings, square, completed(prompt)) for prompt in prompts]

    def _encode(self, rgb: np.ndarray, square: Square) -> np.ndarray:
        height, width = square.size
        smaller = height < square.height
        resized = cv2.resize(
            rgb, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        ).astype(np.float32)
        if not self.raw:
            normal = np.zeros((_SIDE, _SIDE, 3), np.float32)
            normal[:height, :width] = (resized - MEAN) / STD
            resized = np.ascontiguousarray(normal.transpose(2, 0, 1)[None])
        name = self.encoder.get_inputs()[0].name
        return self.encoder.run(None, {name: resized})[0]

    def _find(self, embeddings: np.ndarray, square: Square, prompt: Prompt) -> Found:
        points, labels = _points(prompt, square)
        expected = np.zeros((self.low, self.low), np.float32)
        if prompt.mask is not None:
            expected = square.logits(prompt.mask, self.low)
        scores, logits = self.decoder.run(
            ["iou_predictions", "low_res_masks"],
            {
                "image_embeddings": embeddings,
                "point_coords": points[None],
                "point_labels": labels[None],
                "mask_input": expected[None, None],
                "has_mask_input": np.array([prompt.mask is not None], np.float32),
                "orig_im_size": _SMALL,
            },
        )
        # With four, the first is meant for clear prompts and the others for single clicks.
        offered = np.arange(len(scores[0]))
        if len(offered) > 1:
            offered = offered[1:] if is_ambiguous(prompt) else offered[:1]
        masks = [square.scores(logits[0, i]) > 0 for i in offered]
        best = choose(masks, scores[0, offered], prompt.mask)
        return Found(masks[best], float(np.clip(scores[0, offered[best]], 0, 1)))


def check_part(session: Any, path: str, field: str) -> None:
    """Refuses an open ONNX file that is not the part that its field says: ``....encoder`` or
    ``....decoder``.

    Raises:
        JobError: its inputs and outputs, and what they should be.
    """
    (_check_decoder if field.endswith(".decoder") else _reads_raw)(session, path, field)


def _points(prompt: Prompt, square: Square) -> tuple[np.ndarray, np.ndarray]:
    """Points float32 [P,2] in the square and labels float32 [P] by the official rules: a box is its
    two corners with the labels 2 and 3; without one, a point with the label -1 stands for it.
    """
    if prompt.box is not None:
        corners, ends = np.reshape(prompt.box, (2, 2)), [2, 3]
    else:
        corners, ends = np.zeros((1, 2)), [-1]
    points = np.concatenate([np.reshape(prompt.points, (-1, 2)), corners])
    labels = np.concatenate([prompt.labels, ends])
    return square.coordinates(points), labels.astype(np.float32)


def _reads_raw(session: Any, path: str, field: str) -> bool:
    """Whether an encoder takes pictures [H,W,3] as they are, and not normalised ones."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    shape = list(inputs[0].shape) if len(inputs) == 1 else []
    floats = all(value.type == "tensor(float)" for value in [*inputs, *outputs[:1]])
    embeds = len(outputs) == 1 and len(outputs[0].shape) == 4
    if floats and embeds and len(shape) == 4 and _fits(shape, [1, 3, _SIDE, _SIDE]):
        return False
    if floats and embeds and len(shape) == 3 and shape[2] == 3 and not _numbers(shape[:2]):
        return True
    raise JobError(
        f"{field}: {path} is no encoder of a Segment Anything model: expected one input "
        f"tensor(float) [1,3,{_SIDE},{_SIDE}] (normalised) or [H,W,3] of any size (RGB 0..255) and "
        f"one output tensor(float) [1,C,h,w], got {signature(inputs)} -> {signature(outputs)}"
    )


def _check_decoder(session: Any, path: str, field: str) -> None:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    names = {value.name for value in inputs}
    given = {value.name for value in outputs}
    low: Sequence[Any] = next((value.shape for value in inputs if value.name == "mask_input"), [])
    if names != set(_PROMPTS) or not given >= set(_ANSWERS[1:]) or not _numbers(low[-2:]):
        raise JobError(
            f"{field}: {path} is no decoder of a Segment Anything model with the official "
            f"signature: expected the inputs {', '.join(_PROMPTS)} and the outputs "
            f"{', '.join(_ANSWERS)}, got {signature(inputs)} -> {signature(outputs)}"
        )


def _numbers(shape: Sequence[Any]) -> bool:
    return len(shape) > 0 and all(isinstance(side, int) for side in shape)


def _fits(shape: Sequence[Any], wanted: Sequence[Any]) -> bool:
    """Whether two shapes may be the same; names of sides stand for any number."""
    return len(shape) == len(wanted) and all(
        one == other or not isinstance(one, int) or not isinstance(other, int)
        for one, other in zip(shape, wanted, strict=True)
    )
