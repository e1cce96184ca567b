"""The layer stage: masks, filled holes and the far layer's depth for a batch."""

import time
from collections.abc import Mapping, Sequence

import numpy as np

from raydepth.batch import Batch, ok_rows, shot_of
from raydepth.layers.fill.hole import far_depth, fill_hole
from raydepth.layers.fill.protocol import Filler
from raydepth.layers.settings import Layers
from raydepth.layers.stack import alpha_masks, filter_edges

EMPTY = "empty near layer"
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


class LayerStage:
    """Splits every frame at its shot's planes; a frame's layers depend on the frame alone."""

    def __init__(
        self, layers: Layers, thresholds: Mapping[str, tuple[float, ...]], filler: Filler
    ) -> None:
        """Keeps the settings.

        Args:
            layers: the job's section.
            thresholds: by shot id, the planes that ``resolve_planes`` gave, nearest first.
            filler: for what the near layers hide.
        """
        self.layers, self.thresholds, self.filler = layers, thresholds, filler

    def __call__(self, batch: Batch) -> Batch:
        """Adds the layer columns; zeros in error rows. The batch given is left as it was.

        The columns are ``threshold`` float32 [N,K], ``alphas`` float32 [N,K+1,H,W] (near first, sum
        1), ``near`` float32 [N,H,W] (1 - far alpha), ``hole`` bool [N,H,W], ``background`` uint8
        [N,H,W,3], ``far_inv_depth`` float32 [N,H,W], ``seconds_layers`` and ``seconds_fill``
        float32 [N]. ``note`` says where a near layer was empty or full. ``shared_background`` uint8
        [N,H,W,3] is there where any frame has one.
        """
        rgb, inv_depth = batch["rgb"], batch["inv_depth"]
        count = len(rgb)
        # A shot without planes has error rows only (it had no frame to fix a scale from).
        planes = self.thresholds.get(shot_of(batch), (float("nan"),))
        alphas = np.zeros((count, len(planes) + 1, *rgb.shape[1:3]), np.float32)
        near, hole = np.zeros_like(inv_depth), np.zeros(inv_depth.shape, bool)
        background, far_inv_depth = np.zeros_like(rgb), np.zeros_like(inv_depth)
        note = batch["note"].copy()
        filler, shared = self.filler.for_clip(shot_of(batch)), {}
        seconds_layers, seconds_fill = np.zeros(count, np.float32), np.zeros(count, np.float32)
        for row in ok_rows(batch):
            started = time.perf_counter()
            depth, alphas[row] = split_at_planes(self.layers, inv_depth[row], planes)
            near[row] = 1 - alphas[row, -1]
            layered = time.perf_counter()
            background[row], hole[row] = fill_hole(
                filler, rgb[row], near[row], self.layers.fill.dilate
            )
            far_inv_depth[row] = far_depth(depth, hole[row], planes[-1])
            if self.layers.within is not None:
                kept = outside_box(depth.shape, self.layers.within) & ~hole[row]
                far_inv_depth[row][kept] = depth[kept]
            shared_picture = None
            if not hole[row].any() or hole[row].all():
                remark = FULL if hole[row].any() else EMPTY
            else:
                remark, shared_picture = filler.note, filler.shared_background(rgb[row], hole[row])
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
        return batch | {
            "threshold": np.tile(np.array(planes, np.float32), (count, 1)),
            "alphas": alphas,
            "near": near,
            "hole": hole,
            "background": background,
            "far_inv_depth": far_inv_depth,
            "note": note,
            "seconds_layers": seconds_layers,
            "seconds_fill": seconds_fill,
        }
