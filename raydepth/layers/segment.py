"""Cuts an inserted object out of a picture without alpha, by a Segment Anything model.

It is done once per job, before the workers start.
"""

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from raydepth.errors import JobError
from raydepth.files.pictures import read_opaque
from raydepth.layers.matting import decontaminate
from raydepth.layers.settings import Segmentation
from raydepth.layers.stack import alpha_masks
from raydepth.models.checkpoint import weights_variant
from raydepth.models.names import cached, form_of

_SPECK = 1e-3
"""Islands and pin-holes of a smaller part of the picture than this are no parts of the object."""


def cut_out(path: str, segment: Segmentation) -> bytes:
    """The object in a picture as an RGBA PNG of the picture's size.

    Args:
        path: the picture, ``edit.object``.
        segment: ``edit.segment``.

    Raises:
        JobError: the picture or the model cannot be read, or no object is found at the prompt.
    """
    rgb = read_opaque(path)
    colour, alpha = extract_object(rgb, scores(rgb, segment))
    if not 0 < alpha.mean() < 1:
        what = "nothing" if not alpha.any() else "the whole picture"
        raise JobError(
            f"edit.segment: {segment.model} finds {what} in {path}; give point: [x, y] on the "
            "object or "
            "box: [x0, y0, x1, y1] around it, as fractions of the picture's width and height"
        )
    stream = io.BytesIO()
    rgba = np.dstack([colour, np.rint(alpha * 255).astype(np.uint8)])
    Image.fromarray(rgba).save(stream, "PNG")
    return stream.getvalue()


def extract_object(rgb: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest connected part of scores above 0, with a matted edge.

    Args:
        rgb: uint8 [h,w,3].
        score: float32 [h,w].

    Returns:
        rgb uint8 [h,w,3] and alpha float32 [h,w] 0..1.
    """
    edge = float(np.nextafter(np.float32(0), np.float32(1)))
    mask = alpha_masks(score, [edge], min_area=round(_SPECK * score.size))[0] > 0
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count > 1:
        mask = labels == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()
    return decontaminate(rgb, cv2.GaussianBlur(mask.astype(np.float32), (5, 5), 1.0))


def scores(rgb: np.ndarray, how: Segmentation) -> np.ndarray:
    """The model's logits at the prompt, float32 [h,w], above 0 inside the object.

    The model offers several masks for a prompt (whole, part, part of a part). The one that it
    expects to fit best is taken.

    Args:
        rgb: uint8 [h,w,3].
        how: model and prompt.

    Raises:
        JobError: the checkpoint cannot be had, or lacks weights.
    """
    import torch  # here, as the drivers of most jobs do without

    model, processor = _load(how.model)
    height, width = rgb.shape[:2]
    prompt: dict[str, Any]
    if how.box is not None:
        x0, y0, x1, y1 = how.box
        prompt = {"input_boxes": [[[x0 * width, y0 * height, x1 * width, y1 * height]]]}
    else:
        x, y = how.point or (0.5, 0.5)
        prompt = {"input_points": [[[[x * width, y * height]]]]}
    inputs = processor(images=rgb, return_tensors="pt", **prompt)
    sizes = [inputs.pop(name) for name in ("original_sizes", "reshaped_input_sizes")]
    with torch.inference_mode():
        found = model(**inputs, multimask_output=True)
    masks = processor.post_process_masks(found.pred_masks, *sizes, binarize=False)[0][0]
    return masks[found.iou_scores[0, 0].argmax()].float().numpy()


def _load(name: str) -> tuple[Any, Any]:
    """Network and preprocessing; only safetensors, never remote code.

    Cached files are not fetched again.
    """
    from transformers import AutoModelForMaskGeneration, AutoProcessor

    hub = form_of(name) == "hub"
    where, local = name if hub else str(Path(name).expanduser()), not hub or cached(name)
    try:
        model, loaded = AutoModelForMaskGeneration.from_pretrained(
            where,
            dtype="float32",
            use_safetensors=True,
            variant=weights_variant(where),
            local_files_only=local,
            output_loading_info=True,
            trust_remote_code=False,
        )
        processor = AutoProcessor.from_pretrained(
            where, local_files_only=local, trust_remote_code=False
        )
    except (
        Exception
    ) as error:  # a checkpoint can be wrong in many ways, each with a class of its own
        raise JobError(
            f"edit.segment.model: {name} cannot be loaded as a Segment Anything checkpoint of "
            "transformers with safetensors "
            f"weights ({type(error).__name__}: {' '.join(str(error).split())})"
        ) from error
    if missing := sorted(loaded["missing_keys"]):
        raise JobError(
            f"edit.segment.model: {name} lacks {len(missing)} of its weights "
            f"({', '.join(missing[:3])}...)"
        )
    return model.eval(), processor
