"""The layer stage: masks, filled holes and the far layer's depth for a batch."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from raydepth.batch import Batch, ok_rows, shot_of
from raydepth.layers.fill.hole import far_depth, filled, find_hole
from raydepth.layers.fill.protocol import Filler
from raydepth.layers.settings import Layers
from raydepth.layers.shadow import cast_shadow, grown_down
from raydepth.layers.stack import alpha_masks, filter_edges, layer_names
from raydepth.layers.things.layering import (
    Layering,
    beside_planes,
    find_avoided,
    mattes,
    missing,
)

EMPTY = "empty near layer"
NOT_IN_FRAME = "not in this frame: {}"
FULL = "full near layer: nothing behind it is visible"


def split_at_planes(
    layers: Layers, inv_depth: np.ndarray, planes: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Splits one frame's ``inv_depth`` at the planes.

    Returns the filtered depth float32 [H,W] and the alphas float32 [K+1,H,W], near first.
    """
    depth = filter_edges(inv_depth) if layers.edge_filter else inv_depth
    alphas = alpha_masks(depth, planes, feather=layers.feather, min_area=layers.min_area)
    if layers.within is not None:
        outside = outside_box(depth.shape, layers.within)
        alphas[:, outside], alphas[-1, outside] = 0, 1
    return depth, alphas


def outside_box(shape: tuple[int, ...], box: Sequence[float]) -> np.ndarray:
    """Bool [H,W]: the pixels whose centres lie outside a box.

    The box is x0, y0, x1, y1 as fractions of width and height.
    """
    y, x = ((np.arange(side) + 0.5) / side for side in shape)
    rows, columns = (y >= box[1]) & (y < box[3]), (x >= box[0]) & (x < box[2])
    return ~(rows[:, None] & columns)


@dataclass(frozen=True)
class Cut:
    """One frame cut into layers."""

    depth: np.ndarray
    """float32 [H,W], the depth with sharp edges."""
    alphas: np.ndarray
    """float32 [L,H,W], near first; see ``raydepth/batch.py``."""
    hides: np.ndarray
    """float32 [H,W]: the share of what hides the hole."""
    behind: float
    """What is behind the hole is farther than this."""
    avoided: np.ndarray | None = None
    """bool [H,W]: things that are nearer than the hole and stay; nothing is filled from them."""


def cut_frame(
    layers: Layers, asked: Layering, batch: Batch, row: int, planes: tuple[float, ...]
) -> Cut:
    """Cuts one frame at its planes, its things, or both, as an edit asks."""
    inv_depth = batch["inv_depth"][row]
    if asked.lifts:
        depth = filter_edges(inv_depth) if layers.edge_filter else inv_depth
        shares = mattes(batch, row, asked.lifts)
        hides = shares.sum(axis=0)
        return Cut(
            depth,
            np.concatenate([shares, 1 - hides[None]]),
            hides,
            np.inf,
            find_avoided(batch, row, asked.lifts, np.inf, layers.fill.dilate),
        )
    depth, alphas = split_at_planes(layers, inv_depth, planes)
    if not asked.beside or "thing_names" not in batch:
        return Cut(depth, alphas, 1 - alphas[-1], planes[-1])
    names = [str(name) for name in batch["thing_names"][row]]
    alphas = beside_planes(mattes(batch, row, names), alphas)
    removed = asked.removed_things(names)
    hides = alphas[[names.index(name) for name in removed]].sum(axis=0, dtype=np.float32)
    between = asked.removes_between(layer_names(len(planes))[:-1])
    if between:
        hides = hides + alphas[len(names) : -1].sum(axis=0)
    behind = planes[-1] if between else np.inf
    avoided = find_avoided(batch, row, removed, behind, layers.fill.dilate)
    return Cut(depth, alphas, hides, behind, avoided)


class LayerStage:
    """Splits every frame at its shot's planes and things; a frame's layers depend on the frame
    alone.
    """

    def __init__(
        self,
        layers: Layers,
        thresholds: Mapping[str, tuple[float, ...]],
        filler: Filler,
        things: Layering | None = None,
    ) -> None:
        """Keeps the settings.

        Args:
            layers: the job's section.
            thresholds: by shot id, the planes that ``resolve_planes`` gave, nearest first.
            filler: for what the near layers hide.
            things: what the edit makes of things; None: nothing.
        """
        self.layers, self.thresholds, self.filler = layers, thresholds, filler
        self.things = things or Layering()

    def __call__(self, batch: Batch) -> Batch:
        """Adds the layer columns; zeros in error rows. The batch given is left as it was.

        The columns are ``threshold`` float32 [N,K], ``alphas`` float32 [N,L,H,W] (near first, sum
        1), ``near`` float32 [N,H,W] (1 - far alpha), ``hole`` bool [N,H,W], ``background`` uint8
        [N,H,W,3], ``far_inv_depth`` float32 [N,H,W], ``hole_refused`` bool [N], ``seconds_layers``
        and ``seconds_fill`` float32 [N]. ``note`` says where a near layer was empty or full.
        ``shared_background`` uint8 [N,H,W,3] is there where any frame has one, ``alpha_names`` str
        [N,L] where things are layers.

        Between K planes are L = K + 1 layers. Things that an edit lifts are layers in their place,
        nearest the one that is named first, K being 1. Things beside planes are layers before them.
        """
        rgb, inv_depth = batch["rgb"], batch["inv_depth"]
        count = len(rgb)
        # A shot without planes has error rows only (it had no frame to fix a scale from).
        planes = self.thresholds.get(shot_of(batch), (float("nan"),))
        names = self._names(batch, len(planes))
        threshold = np.tile(
            np.array(planes[-1:] if self.things.lifts else planes, np.float32), (count, 1)
        )
        alphas = np.zeros((count, len(names), *rgb.shape[1:3]), np.float32)
        near, hole = np.zeros_like(inv_depth), np.zeros(inv_depth.shape, bool)
        refused = np.zeros(count, bool)
        background, far_inv_depth = np.zeros_like(rgb), np.zeros_like(inv_depth)
        note = batch["note"].copy()
        filler, shared = self.filler.for_clip(shot_of(batch)), {}
        seconds_layers, seconds_fill = np.zeros(count, np.float32), np.zeros(count, np.float32)
        for row in ok_rows(batch):
            started = time.perf_counter()
            cut = cut_frame(self.layers, self.things, batch, row, planes)
            alphas[row] = cut.alphas
            near[row] = 1 - alphas[row, -1]
            if self.things.lifts:
                threshold[row] = self._farthest(batch, row, planes[-1])
            layered = time.perf_counter()
            hole[row] = self.hole_of(batch, row, cut, filler)
            background[row] = filled(filler, rgb[row], hole[row], cut.avoided)
            far_inv_depth[row] = self._far_depth(cut, hole[row])
            refused[row] = hole[row].any() and not hole[row].all() and filler.refused
            remark, shared_picture = "", None
            if hole[row].all():
                remark = FULL
            elif hole[row].any():
                remark, shared_picture = filler.note, filler.shared_background(rgb[row], hole[row])
            elif not missing(batch, row, self.things.needs):
                remark = self._empty()
            note[row] = "; ".join(filter(None, (note[row], remark)))
            if shared_picture is not None:
                shared[row] = shared_picture
            seconds_layers[row], seconds_fill[row] = (
                layered - started,
                time.perf_counter() - layered,
            )
        if shared:
            pictures = [shared.get(row, picture) for row, picture in enumerate(background)]
            batch = batch | {"shared_background": np.stack(pictures)}
        if self.things.lifts or self.things.beside:
            batch = batch | {"alpha_names": np.tile(np.array(names, object), (count, 1))}
        return batch | {
            "threshold": threshold,
            "alphas": alphas,
            "near": near,
            "hole": hole,
            "hole_refused": refused,
            "background": background,
            "far_inv_depth": far_inv_depth,
            "note": note,
            "seconds_layers": seconds_layers,
            "seconds_fill": seconds_fill,
        }

    def hole_of(self, batch: Batch, row: int, cut: Cut, filler: Filler) -> np.ndarray:
        """Where the background of one frame is filled, bool [H,W]: behind what is taken away, and
        where it casts its shadow.
        """
        hole = find_hole(cut.hides, self.layers.fill.dilate)
        asked = self.things
        if not (asked.shadow or asked.grow_down) or not hole.any() or hole.all():
            return hole
        mask = cut.hides >= 0.5
        more = grown_down(mask, asked.grow_down)
        if asked.shadow:
            others = ~np.isin(batch["thing_names"][row], asked.lifts)
            stays = (batch["thing_alpha"][row][others] >= 0.5).any(axis=0)
            unknown = hole if cut.avoided is None else hole | cut.avoided
            ground = None if unknown.all() else filler.behind(batch["rgb"][row], unknown)
            more |= cast_shadow(batch["rgb"][row], mask, ground, stays)
        larger = find_hole(np.maximum(cut.hides, more), self.layers.fill.dilate)
        return hole if larger.all() else larger

    def _names(self, batch: Batch, planes: int) -> list[str]:
        if self.things.lifts:
            return [*self.things.lifts, "far"]
        things = batch["thing_names"][0] if self.things.beside and "thing_names" in batch else []
        return [*map(str, things), *layer_names(planes)]

    def _farthest(self, batch: Batch, row: int, plane: float) -> float:
        """The depth of the farthest thing that is lifted; a plane where none has a depth."""
        wanted = np.isin(batch["thing_names"][row], self.things.lifts)
        depths = batch["thing_inv_depth"][row, wanted]
        return float(np.nanmin(depths)) if np.isfinite(depths).any() else plane

    def _far_depth(self, cut: Cut, hole: np.ndarray) -> np.ndarray:
        unknown = hole if cut.avoided is None else hole | cut.avoided
        found = far_depth(cut.depth, unknown, cut.behind)
        if cut.avoided is not None:
            found = np.where(hole | ~cut.avoided, found, cut.depth)
        if self.layers.within is not None:
            kept = outside_box(cut.depth.shape, self.layers.within) & ~hole
            found[kept] = cut.depth[kept]
        return found

    def _empty(self) -> str:
        """What is said of a frame without a hole."""
        if not (self.things.lifts or self.things.removes):
            return EMPTY
        return NOT_IN_FRAME.format(", ".join(self.things.lifts or self.things.removes))
