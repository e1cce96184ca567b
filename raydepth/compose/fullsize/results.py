"""The kept pictures and layers of a frame, at working size or at the source's."""

from collections.abc import Callable, Collection

import cv2
import numpy as np

from raydepth.batch import Batch
from raydepth.compose.fullsize.edges import ThingEdges
from raydepth.compose.fullsize.paste import Patch, enlarge_stack, paste
from raydepth.compose.fullsize.upsample import Guided, bands
from raydepth.layers.stack import LayerStack, kept_stack

_COLUMNS = {
    "rgb": "rgb",
    "depth": "inv_depth",
    "near": "near",
    "background": "background",
    "edited": "edited",
}


def frame_pictures(
    batch: Batch, row: int, keep: Collection[str], full: np.ndarray | None, *, keep_source: bool
) -> dict[str, np.ndarray]:
    """The kept pictures of one good frame.

    Args:
        batch: columns after the compose stage; with the layers where ``full`` is given.
        row: of the frame.
        keep: kinds, as ``output.keep``.
        full: uint8 [H,W,3], the frame at source size; None: pictures at working size.
        keep_source: ``compose.paste_back``.

    Returns:
        By kind: ``rgb``, ``background``, ``edited`` uint8 [H,W,3], ``depth`` and ``near`` float32
        [H,W].
    """
    low = {kind: batch[_COLUMNS[kind]][row] for kind in keep}
    if full is None:
        return low
    guided, edges = Guided(batch["rgb"][row], full), _thing_edges(batch, row, full)
    made: dict[str, np.ndarray] = {}
    if "rgb" in low:
        made["rgb"] = full
    if "depth" in low:
        made["depth"] = _whole(guided.depth(low["depth"]), full.shape[:2])
    if "near" in low:
        mask = guided.mask(low["near"])
        made["near"] = _whole(edges.mask(low["near"], mask) if edges else mask, full.shape[:2])
    if "background" in low:
        hole = cv2.resize(
            batch["hole"][row].astype(np.uint8), full.shape[1::-1], interpolation=cv2.INTER_NEAREST
        )
        filled = _whole(guided.picture(low["background"]), full.shape)
        made["background"] = np.where(
            hole[..., None] > 0, np.clip(np.rint(filled), 0, 255), full
        ).astype(np.uint8)
    if "edited" in low:
        region = batch["region"][row]
        patch = batch["patch"][row] if "patch" in batch else None
        if patch is None:
            patch = Patch(batch["rgb"][row], kept_stack(batch, row), region, batch["edited"][row])
        else:  # a crop's layers are on a finer grid than the things
            edges = None
        made["edited"] = paste(
            full, patch, keep_source=keep_source or not region.any(), region=region, edges=edges
        )
    return made


def frame_layers(batch: Batch, row: int, full: np.ndarray | None) -> LayerStack:
    """The edit's layers of one good frame, first axis 1.

    They are at working size or, with ``full``, at the source's.
    """
    stack = kept_stack(batch, row)
    if full is None:
        return stack
    return enlarge_stack(full, batch["rgb"][row], stack, _thing_edges(batch, row, full))


def _thing_edges(batch: Batch, row: int, full: np.ndarray) -> ThingEdges | None:
    """The edges of a frame's things at source size; None in jobs without things."""
    if "thing_alpha" not in batch:
        return None
    return ThingEdges(full, batch["rgb"][row], batch["thing_alpha"][row])


def _whole(made: Callable[[slice], np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    whole = np.empty(shape, np.float32)
    for band in bands(shape[0]):
        whole[band] = made(band)
    return whole
