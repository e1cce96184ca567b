"""Method ``depth`` of ``layers.segmenter``: a thing is what hangs together in depth around a click,
once the ground is taken out; colours then bring its outline to the picture's edges.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from raydepth.layers.things.ground import find_ground
from raydepth.layers.things.protocol import Found, Picture, Prompt
from raydepth.layers.things.settings import DepthSegmenter

EVERY = 4
"""Frames from one search to the next, by default: each costs an estimate of depth."""
SIDE = 240
"""Short side of the maps that regions are grown in, in pixels at most."""
_TOLERANCES = np.geomspace(0.03, 0.3, 12)
"""Inverse depth by which a region may differ from the click's."""
_GROUND = 0.025
"""Inverse depth above the ground from which on something stands on it."""
_LARGEST = 0.35
"""Of the picture: what is larger is no thing."""
_REACH = 0.06
"""Of the picture's short side: how far a thing may grow beyond where it is expected."""
_ROUNDS = 3
_CUT = 20000
"""Pixels of a region at most whose outline is refined: the cost grows faster than they do."""


class DepthRegions:
    """Finds regions of depth around points, in boxes, or where a mask is expected.

    The tolerance in depth is the one at which the region is most stable (its area grows least,
    relatively), as in maximally stable extremal regions (Matas et al. 2002), or agrees best with
    the expected mask. The outline is refined by GrabCut (Rother et al. 2004) in a ring around it.

    Attributes:
        name: ``depth``.
        every: see ``EVERY``.
    """

    name = "depth"

    def __init__(self, settings: DepthSegmenter) -> None:
        """Keeps the settings."""
        self.every = settings.every or EVERY

    def __call__(self, picture: Picture, prompts: Sequence[Prompt]) -> list[Found]:
        """As ``Segmenter``; depth is estimated once for all prompts."""
        if not prompts:
            return []
        height, width = picture.rgb.shape[:2]
        share = min(1.0, SIDE / min(height, width))
        size = max(round(width * share), 1), max(round(height * share), 1)
        rgb = cv2.resize(picture.rgb, size, interpolation=cv2.INTER_AREA)
        inv_depth = picture.inv_depth()
        if not np.isfinite(inv_depth).all():
            return [Found(np.zeros((height, width), bool), 0.0) for _ in prompts]
        small = cv2.resize(inv_depth, size, interpolation=cv2.INTER_AREA)
        small = cv2.medianBlur(small, 5)
        standing = _standing(small)
        found = []
        for prompt in prompts:
            region, score = _region(small, standing, _scaled(prompt, share, size))
            refined = _refined(rgb, region)
            mask = cv2.resize(refined.astype(np.float32), (width, height))
            found.append(Found(mask > 0.5, score))
        return found


def _scaled(prompt: Prompt, share: float, size: tuple[int, int]) -> Prompt:
    mask = prompt.mask
    if mask is not None:
        mask = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5
    box = None if prompt.box is None else prompt.box * share
    return Prompt(prompt.points * share, prompt.labels, box, mask)


def _standing(inv_depth: np.ndarray) -> np.ndarray:
    """Bool [H,W]: what is not the ground."""
    ground = find_ground(inv_depth)
    if ground is None:
        return np.ones(inv_depth.shape, bool)
    above = inv_depth - ground.over((inv_depth.shape[0], inv_depth.shape[1]))
    return above > _GROUND


def _region(
    inv_depth: np.ndarray, standing: np.ndarray, prompt: Prompt
) -> tuple[np.ndarray, float]:
    """The region that a prompt means, bool [H,W], and how stable it is, 0..1."""
    seeds, off = _seeds(inv_depth, standing, prompt)
    if not seeds.any():
        return seeds, 0.0
    allowed = _allowed(standing | seeds, prompt)
    level = float(np.median(inv_depth[seeds]))
    grown = [_grow(np.abs(inv_depth - level) < one, allowed, seeds) for one in _TOLERANCES]
    area = np.array([float(region.sum()) for region in grown])
    fits = (area > 0) & (area < _LARGEST * inv_depth.size)
    fits &= np.array([not (region & off).any() for region in grown])
    if not fits.any():
        return np.zeros_like(seeds), 0.0
    if prompt.mask is not None and prompt.mask.any():
        quality = np.array([_overlap(region, prompt.mask) for region in grown])
    else:
        change = np.gradient(np.log(np.maximum(area, 1)), np.log(_TOLERANCES))
        quality = np.exp(-np.abs(change))
    best = int(np.where(fits, quality, -1).argmax())
    return grown[best], float(quality[best])


def _seeds(
    inv_depth: np.ndarray, standing: np.ndarray, prompt: Prompt
) -> tuple[np.ndarray, np.ndarray]:
    """Where a region begins, and what it must not hold, bool [H,W] each."""
    seeds, off = np.zeros(inv_depth.shape, np.uint8), np.zeros(inv_depth.shape, np.uint8)
    radius = max(1, round(0.01 * min(inv_depth.shape)))
    for point, label in zip(prompt.points, prompt.labels, strict=True):
        centre = int(point[0]), int(point[1])
        cv2.circle(seeds if label else off, centre, radius, 1, -1)
    on = seeds > 0
    if prompt.mask is not None and prompt.mask.any():
        inner = cv2.erode(prompt.mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        on = inner if inner.any() else prompt.mask
    elif not on.any() and prompt.box is not None:
        x0, y0, x1, y1 = prompt.box
        x, y, w, h = (x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 4, (y1 - y0) / 4
        inside = _box(inv_depth.shape, (x - w, y - h, x + w, y + h))
        on = inside & standing if (inside & standing).any() else inside
        # Of what is in the middle of a box, the nearer half: the thing is before what is behind.
        on &= inv_depth >= np.median(inv_depth[on])
    return on, off > 0


def _allowed(standing: np.ndarray, prompt: Prompt) -> np.ndarray:
    """Bool [H,W]: where the region may be."""
    allowed = standing
    if prompt.box is not None and prompt.mask is None:
        allowed = allowed & _box(allowed.shape, tuple(prompt.box))
    if prompt.mask is not None and prompt.mask.any():
        reach = 2 * max(1, round(_REACH * min(allowed.shape))) + 1
        near = cv2.dilate(prompt.mask.astype(np.uint8), _disc(reach)) > 0
        allowed = near & (allowed | prompt.mask)
    return allowed


def _box(shape: tuple[int, ...], box: Sequence[float]) -> np.ndarray:
    x0, y0, x1, y1 = (round(float(side)) for side in box)
    inside = np.zeros(shape, bool)
    inside[max(y0, 0) : max(y1, y0 + 1, 1), max(x0, 0) : max(x1, x0 + 1, 1)] = True
    return inside


def _grow(alike: np.ndarray, allowed: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """What hangs together with the seeds, without thin bridges; holes are filled."""
    open_to = (alike & allowed).astype(np.uint8)
    opened = cv2.morphologyEx(open_to, cv2.MORPH_OPEN, _disc(5)) | (open_to & seeds)
    _, labels = cv2.connectedComponents(opened, connectivity=4)
    kept = np.unique(labels[seeds & (opened > 0)])
    region = np.isin(labels, kept[kept > 0]).astype(np.uint8)
    outlines, _ = cv2.findContours(region, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(region, outlines, -1, 1, -1)
    return region > 0


def _refined(rgb: np.ndarray, region: np.ndarray) -> np.ndarray:
    """A region whose outline follows the picture's colours; as it was where they say nothing."""
    area = int(region.sum())
    if not 50 <= area <= _CUT:
        return region
    ring = 2 * max(2, round(0.12 * np.sqrt(area))) + 1
    mask = region.astype(np.uint8)
    inner, outer = cv2.erode(mask, _disc(ring)), cv2.dilate(mask, _disc(ring))
    if not inner.any():
        inner = cv2.erode(mask, _disc(max(3, ring // 4 * 2 + 1)))
    if not inner.any() or outer.all():
        return region
    trimap = np.full(region.shape, cv2.GC_BGD, np.uint8)
    trimap[outer > 0] = cv2.GC_PR_BGD
    trimap[region] = cv2.GC_PR_FGD
    trimap[inner > 0] = cv2.GC_FGD
    # A window with as much around the thing as it has pixels, or all of the picture would tell what
    # its colours are not.
    rows, columns = np.flatnonzero(outer.any(1)), np.flatnonzero(outer.any(0))
    window = (
        slice(max(rows[0] - ring, 0), rows[-1] + 1 + ring),
        slice(max(columns[0] - ring, 0), columns[-1] + 1 + ring),
    )
    part = trimap[window].copy()
    if not (part == cv2.GC_BGD).any():
        return region
    cv2.setRNGSeed(0)
    picture = np.ascontiguousarray(rgb[window][..., ::-1])
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(picture, part, None, *models, _ROUNDS, cv2.GC_INIT_WITH_MASK)
    cut = np.zeros(region.shape, np.uint8)
    cut[window] = np.isin(part, (cv2.GC_FGD, cv2.GC_PR_FGD))
    cut = cv2.morphologyEx(cut, cv2.MORPH_OPEN, _disc(3))
    _, labels = cv2.connectedComponents(cut, connectivity=8)
    kept = np.unique(labels[inner > 0])
    refined = np.isin(labels, kept[kept > 0])
    # Colours that are everywhere make it burst or vanish.
    return refined if 0.5 <= refined.sum() / area <= 2 else region


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 0.0


def _disc(diameter: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter, diameter))
