"""Cuts an inserted object out of a picture without alpha, by a Segment Anything model.

It is done once per job, before the workers start.
"""

import io

import cv2
import numpy as np
from PIL import Image

from raydepth.errors import JobError
from raydepth.files.pictures import read_opaque
from raydepth.layers.matting import decontaminate
from raydepth.layers.settings import Segmentation
from raydepth.layers.stack import alpha_masks
from raydepth.layers.things.prompts import clicked_prompt
from raydepth.layers.things.protocol import Picture, SegmenterHost
from raydepth.layers.things.sam import open_sam

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
    colour, alpha = extract_object(rgb, object_mask(rgb, segment))
    if not 0 < alpha.mean() < 1:
        what = "nothing" if not alpha.any() else "the whole picture"
        raise JobError(
            f"edit.segment: {segment.model} finds {what} in {path}; give point: [x, y] on the "
            "object, points with labels, or box: [x0, y0, x1, y1] around it, as fractions of the "
            "picture's width and height"
        )
    stream = io.BytesIO()
    rgba = np.dstack([colour, np.rint(alpha * 255).astype(np.uint8)])
    Image.fromarray(rgba).save(stream, "PNG")
    return stream.getvalue()


def object_mask(rgb: np.ndarray, segment: Segmentation) -> np.ndarray:
    """Where the object is, bool [h,w].

    For a single point the model offers several masks (whole, part, part of a part). The one that
    it expects to fit best is taken.

    Args:
        rgb: uint8 [h,w,3].
        segment: model and prompt.

    Raises:
        JobError: the model cannot be had, lacks weights, or is no Segment Anything model.
    """
    height, width = rgb.shape[:2]
    prompt = clicked_prompt([segment.clicked], height, width)
    sam = open_sam(segment.model, SegmenterHost(), field="edit.segment.model")
    return sam(Picture(rgb, lambda: np.zeros((height, width), np.float32)), [prompt])[0].mask


def extract_object(rgb: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest connected part of a mask, with a matted edge.

    Args:
        rgb: uint8 [h,w,3].
        mask: bool [h,w].

    Returns:
        rgb uint8 [h,w,3] and alpha float32 [h,w] 0..1.
    """
    whole = alpha_masks(mask.astype(np.float32), [0.5], min_area=round(_SPECK * mask.size))[0] > 0
    count, labels, stats, _ = cv2.connectedComponentsWithStats(whole.astype(np.uint8))
    if count > 1:
        whole = labels == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()
    return decontaminate(rgb, cv2.GaussianBlur(whole.astype(np.float32), (5, 5), 1.0))
