"""Edit ``planes``: each layer of the frame is kept, removed, replaced by a picture, or graded."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from raydepth.batch import Batch, ok_rows
from raydepth.edits.plan import EditPlan, dilated, revealed_mask
from raydepth.edits.settings import Grade, GradeLayer, Planes, ReplaceLayer
from raydepth.errors import JobError
from raydepth.files.pictures import parse_colour, read_cover, to_linear, to_srgb
from raydepth.layers.stack import Layer, LayerStack, decompose

KEPT = "every layer is kept, so nothing changes"
NOT_THERE = "no pixel lies in a layer that is to change"
_LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""Weights of linear light (ITU-R BT.709)."""


class MergedPlanes(ValueError):
    """A clip has fewer planes than the job, so entries and layers do not match.

    Some of the job's planes came out equal.
    """


class PlanesBuilder:
    """Holds the job's entries; see ``EditBuilder``."""

    def __init__(self, edit: Planes, dilate: int) -> None:
        """Checks the pictures.

        Args:
            edit: the job's section.
            dilate: ``layers.fill.dilate``, the band in which a removed layer's mixed pixels go with
                it.

        Raises:
            JobError: a picture cannot be read.
        """
        self.edit, self.dilate = edit, dilate
        for key, entry in entries(edit):
            if isinstance(entry, ReplaceLayer):
                try:
                    read_cover(entry.replace, (8, 8))
                except Exception as error:  # SourceError, OSError and what storage raises
                    raise JobError(f"edit.layers.{key}.replace: {error}") from error

    def __call__(self, batch: Batch) -> EditPlan:
        """The frame's own stack with the entries carried out.

        The region is where a changed layer was seen, dilated a little. What a removed layer hid is
        shown by the layers behind it; the far one is the filled background there. In a frame that
        the near layers fill nothing is known of what is behind, so they stay.
        """
        stack = decompose(batch)
        rgb, shares, behind = batch["rgb"], stack.weights(), revealed_mask(batch)
        asked = self._entries(stack, batch["threshold"][0])
        things = set(batch["thing_names"][0]) if "alpha_names" in batch else set()
        between = [layer for layer in stack.layers[:-1] if layer.name not in things]
        entries_of = dict(zip((layer.name for layer in stack.layers), asked, strict=True))
        # Where things alone are removed, what is behind them may be any other layer.
        own_hole = bool(things) and not any(entries_of[layer.name] == "remove" for layer in between)
        changed = np.zeros(rgb.shape[:3], bool)
        removed = np.zeros_like(changed)
        requested = np.zeros(len(rgb), bool)
        for layer, entry, share in zip(stack.layers, asked, shares, strict=True):
            if entry == "keep":
                continue
            requested |= (share > 0).any(axis=(1, 2))
            if entry == "remove":
                removed |= (share > 0) & behind
                layer.alpha = np.where(behind, 0, layer.alpha)
            else:
                changed |= share > 0
        changed |= removed
        region, inpainted = np.zeros(changed.shape, np.float32), np.zeros(changed.shape, np.float32)
        notes = {}
        far = stack.layers[-1]
        for row in ok_rows(batch):
            if not changed[row].any():
                if not requested[row]:
                    notes[row] = KEPT if all(entry == "keep" for entry in asked) else NOT_THERE
                continue  # nothing is behind the layer: the layer stage has noted that
            region[row] = dilated(changed[row])
            if removed[row].any():
                # Around what is removed the far layer's pixels are mixed with it. The hole was
                # dilated for that reason.
                band = (
                    dilated(removed[row], self.dilate) if self.dilate else removed[row]
                ) & batch["hole"][row]
                if own_hole:
                    band = batch["hole"][row]
                    _hand_on(between, batch, row)
                region[row] = np.maximum(region[row], band)
                inpainted[row] = band
                far.rgb[row] = np.where(band[..., None], batch["background"][row], far.rgb[row])
                far.inv_depth[row] = np.where(band, batch["far_inv_depth"][row], far.inv_depth[row])
        for layer, entry in zip(stack.layers, asked, strict=True):
            if isinstance(entry, ReplaceLayer):
                layer.rgb = np.repeat(
                    read_cover(entry.replace, rgb.shape[1:3])[None], len(rgb), axis=0
                )
            elif isinstance(entry, GradeLayer):
                layer.rgb = graded(layer.rgb, entry.grade)
        return EditPlan(stack, region, notes, inpainted=inpainted)

    def _entries(self, stack: LayerStack, planes: np.ndarray) -> list[Any]:
        """The entry of every layer; raises MergedPlanes where they do not match."""
        names = [layer.name for layer in stack.layers]
        if self.edit.named is not None:
            if set(self.edit.named) <= set(names):
                return [self.edit.named.get(name, "keep") for name in names]
            said = f"edit.layers names {', '.join(sorted(set(self.edit.named) - set(names)))}"
        else:
            if len(self.edit.layers) == len(names):
                return list(self.edit.layers)
            said = f"edit.layers has {len(self.edit.layers)} entries"
        raise MergedPlanes(
            f"this shot's planes {np.round(planes, 3).tolist()} give the layers "
            f"{', '.join(names)}, but {said}; move planes of layers.at that fall together"
        )


def _hand_on(between: list[Layer], batch: Batch, row: int) -> None:
    """Gives the filled hole of one frame to the layers that its continued depth lies in.

    Pixels around the hole that are mixed with what is removed go with it.
    """
    hole, depth = batch["hole"][row], batch["far_inv_depth"][row]
    above = np.float32(np.inf)
    for layer, plane in zip(between, batch["threshold"][row], strict=True):
        own = (depth >= plane) & (depth < above)
        layer.alpha[row] = np.where(hole, own, layer.alpha[row])
        layer.rgb = layer.rgb.copy()
        layer.rgb[row] = np.where(hole[..., None], batch["background"][row], layer.rgb[row])
        above = plane


def entries(edit: Planes) -> Iterator[tuple[int | str, Any]]:
    """The entries, by their number or name in the job."""
    yield from edit.layers.items() if isinstance(edit.layers, dict) else enumerate(edit.layers)


def graded(rgb: np.ndarray, grade: Grade) -> np.ndarray:
    """A picture uint8 [...,3] graded in linear light: tint and exposure, then saturation."""
    if grade == Grade():
        return rgb
    light = to_linear(rgb) * to_linear(parse_colour(grade.tint)) * np.float32(2**grade.exposure)
    grey = (light @ _LUMA)[..., None]
    return to_srgb(grey + np.float32(grade.saturation) * (light - grey))
