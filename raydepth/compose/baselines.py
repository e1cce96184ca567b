"""Baselines: the naive composite, and its Poisson blending."""

import cv2
import numpy as np

from raydepth.compose.preserve import paste_back
from raydepth.compose.protocol import Compositor
from raydepth.edits.plan import EditPlan


class Paste(Compositor):
    """The naive composite: layers over one another, nothing harmonised."""

    def __init__(self, *, keep_source: bool) -> None:
        """Args: keep_source: ``compose.paste_back``."""
        self.keep_source = keep_source

    def __call__(self, plan: EditPlan, source: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """See Compositor."""
        self.notes, self.failed = [""] * len(source), np.zeros(len(source), bool)
        composite = self.blend(plan.stack.flatten(), source, plan.region)
        return paste_back(source, composite, plan.region) if self.keep_source else composite

    def blend(self, composite: np.ndarray, source: np.ndarray, region: np.ndarray) -> np.ndarray:
        """Harmonises uint8 [N,H,W,3] composites with their sources; here: not at all."""
        return composite


class Poisson(Paste):
    """Gradient-domain blending of the composite into the source.

    Perez et al., Poisson Image Editing, 2003.
    """

    def blend(self, composite: np.ndarray, source: np.ndarray, region: np.ndarray) -> np.ndarray:
        """Clones every composite's region into its source."""
        return np.stack(
            [poisson(*frame) for frame in zip(composite, source, region > 0, strict=True)]
        )


def poisson(composite: np.ndarray, source: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Poisson-blends one composite uint8 [H,W,3] into its source where ``inside`` bool [H,W].

    An empty mask gives the source. ``cv2.seamlessClone`` takes the composite's gradients where its
    mask, eroded three times, is set, and the source's elsewhere on the mask's bounding box. The
    box's border is the boundary condition. The function clears the mask at the picture's border,
    places the box by its centre, and fails on boxes of a pixel's width. So the mask is dilated by
    one pixel within a margin that continues the pictures. The margin shows the composite where the
    region touches the border, lest what is edited out there bleeds back in.
    """
    if not inside.any():
        return source.copy()
    margin = 6
    sides = {
        "top": margin,
        "bottom": margin,
        "left": margin,
        "right": margin,
        "borderType": cv2.BORDER_REPLICATE,
    }
    picture = (slice(margin, -margin), slice(margin, -margin))
    src = cv2.copyMakeBorder(composite, **sides)
    dst = cv2.copyMakeBorder(np.where(inside[..., None], composite, source), **sides)
    dst[picture] = source
    dilated = cv2.dilate(
        cv2.copyMakeBorder(inside.astype(np.uint8) * 255, **sides), np.ones((3, 3), np.uint8)
    )
    mask = np.zeros_like(dilated)
    mask[1:-1, 1:-1] = dilated[1:-1, 1:-1]
    x, y, width, height = cv2.boundingRect(mask)
    blended = cv2.seamlessClone(src, dst, mask, (x + width // 2, y + height // 2), cv2.NORMAL_CLONE)
    return np.where(inside[..., None], blended[picture], source)
