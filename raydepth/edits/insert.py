"""Edit ``insert``: an object with alpha stands in the scene and is covered by what is nearer."""

from collections.abc import Mapping

import numpy as np

from raydepth.batch import Batch, ok_rows, shot_of
from raydepth.depth.calibrate import Calibration
from raydepth.edits.clip import ClipEdit
from raydepth.edits.covering import ObjectDepth, covering, depth_in_frame
from raydepth.edits.place import STILL, Placement, height_px, place, render_object, shrunk
from raydepth.edits.plan import EditPlan, dilated
from raydepth.edits.relight.shading import guessed_normals
from raydepth.edits.settings import Insert
from raydepth.edits.shadow import contact_shadow
from raydepth.files.pictures import read_object
from raydepth.layers.matting import foreground, matte_edges
from raydepth.layers.settings import Layers
from raydepth.layers.stack import Layer, LayerStack, alpha_masks, filter_edges, visible

OUTSIDE = "the object is outside the frame"
HIDDEN = "the object is wholly hidden"
LOST = "the camera's motion could not be measured here: the object stays as in the frame before"
_CUSHION = 128
"""Height in pixels at which the object's normals are guessed."""
_MARGIN = 16
"""Pixels around the object within which depth is cleaned: more than the edge filter reaches."""


class InsertBuilder:
    """Holds the object's picture and the shots' constants; see ``EditBuilder``."""

    def __init__(
        self,
        edit: Insert,
        layers: Layers,
        clips: Mapping[str, tuple[Calibration, ClipEdit | None]],
        *,
        matte: bool = False,
    ) -> None:
        """Reads the picture.

        Args:
            edit: the job's section.
            layers: says how depth is cleaned (``edge_filter``, ``min_area``).
            clips: by shot id, the depth scale and what ``fix_edit`` fixed.
            matte: pixels at the edges of what covers the object are matted, see ``matte_edges``.

        Raises:
            JobError: as ``read_object``.
        """
        self.edit, self.layers, self.clips, self.matte = edit, layers, clips, matte
        self.picture = read_object(edit.object)
        small = shrunk(self.picture, _CUSHION / 2)
        share = small[..., 3:]
        self.cushion = np.concatenate(
            [guessed_normals(share[..., 0]) * share, share, share], axis=-1
        )

    def __call__(self, batch: Batch) -> EditPlan:
        """What is nearer over the object, over the frame.

        The region is what is seen of object and shadow, dilated a little. The support plane never
        covers the object. Near and far layer show the frame with the shadow on it. The object's
        layer shows the object on that frame. It is a whole picture, since a diffusion model may
        look at any layer.
        """
        rgb, inv_depth = batch["rgb"], batch["inv_depth"]
        scene, object_rgb = rgb.copy(), rgb.copy()
        object_depth = inv_depth.copy()
        near, alpha, region = (np.zeros_like(inv_depth) for _ in range(3))
        normals = np.zeros((*inv_depth.shape, 2), np.float32)
        notes = {}
        inside, share_seen = np.full((2, len(rgb)), np.nan)
        for row in ok_rows(batch):
            scale, clip = self.clips[shot_of(batch, row)]
            if clip is None:
                notes[row] = self._elsewhere(batch, row)
                continue
            pts, frame = int(batch["pts"][row]), inv_depth.shape[1:]
            motion = clip.track.matrix(pts, frame[0]) if clip.track else STILL
            height = height_px(self.edit, scale, clip.inv_depth, frame)
            aspect = self.picture.shape[1] / self.picture.shape[0]
            first, at = (place(self.edit, aspect, height, m, frame) for m in (STILL, motion))
            picture = shrunk(self.picture, first.height)  # one grain for the whole clip
            rendered = render_object(picture, at, frame)
            alpha[row] = rendered[..., 3]
            inside[row] = _share_inside(alpha[row], picture, at)
            if clip.track and pts in clip.track.lost:
                notes[row] = LOST
            if not alpha[row].any():
                notes[row], share_seen[row] = OUTSIDE, 0.0
                continue
            depth = depth_in_frame(self.edit, clip, batch, row, motion)
            near[row], things = self._covering(batch, row, at, depth, alpha[row] > 0)
            seen = (alpha[row] * (1 - near[row])) >= 0.5 / 255
            share_seen[row] = (alpha[row] * (1 - near[row])).sum() / alpha[row].sum()
            if self.edit.shadow:
                shadow = self.edit.shadow * contact_shadow(
                    rgb[row], inv_depth[row], at, depth.own, clip.floor
                )
                shadow *= 1 - things
                scene[row] = np.rint(rgb[row] * (1 - shadow[..., None]))
                object_rgb[row] = scene[row]
                shaded = (scene[row] != rgb[row]).any(axis=-1)
            else:
                shaded = np.zeros_like(seen)
            there = alpha[row] > 0
            cushion = render_object(self.cushion, at, frame)[there]
            normals[row][there] = cushion[:, :2] / np.maximum(cushion[:, 3:], 1e-3)
            colour = rendered[there][:, :3] / rendered[there][:, 3:]
            object_rgb[row][there] = np.rint(colour).clip(0, 255)
            object_depth[row][there] = depth.own
            if not seen.any():
                notes[row] = HIDDEN
            if (seen | shaded).any():
                region[row] = dilated(seen | shaded)
        front, back = scene.copy(), scene.copy()
        for row in np.flatnonzero(alpha.any(axis=(1, 2))):
            window = _window(alpha[row] > 0)
            there = alpha[row][window] > 0
            part, share = scene[row][window], near[row][window]
            soft = ((share > 0) & (share < 1)).any()
            if soft:  # a thing's matte
                front[row][window][there] = foreground(part, share)[there]
            elif self.matte:
                parts = matte_edges(part, share)
                for whole, matted in zip((front, near, back), parts, strict=True):
                    whole[row][window][there] = matted[there]
        layers = [
            Layer("near", front, near, inv_depth),
            Layer("object", object_rgb, alpha, object_depth),
            Layer("far", back, np.ones_like(near), inv_depth),
        ]
        return EditPlan(
            LayerStack(layers),
            region,
            notes,
            moved=frozenset({"object"}),
            normals={"object": normals},
            measures={"object_seen": share_seen, "object_inside": inside},
        )

    def _elsewhere(self, batch: Batch, row: int) -> str:
        """Why the object is not in a frame's shot."""
        own = "the first shot" if self.edit.shot is None else f"shot {self.edit.shot}"
        return f"the object is in {own} (edit.shot): this is shot {batch['shot'][row]}"

    def _covering(
        self, batch: Batch, row: int, at: Placement, depth: ObjectDepth, there: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """How much of every pixel is before the object, and how much is a thing."""

        def is_nearer(inv_depth: np.ndarray, limit: float) -> np.ndarray:
            cleaned = self._cleaned(inv_depth, there, limit)
            return 1 - visible(np.ones_like(inv_depth), limit, cleaned)

        if "thing_names" not in batch:
            nearer = is_nearer(batch["inv_depth"][row], depth.scene)
            return nearer, np.zeros_like(nearer)
        return covering(self.edit, batch, row, at, depth, _window(there), is_nearer)

    def _cleaned(
        self, inv_depth: np.ndarray, there: np.ndarray, object_inv_depth: float
    ) -> np.ndarray:
        """The scene's depth where the object is, with sharp edges.

        Specks nearer or farther than the object are removed.
        """
        window = _window(there)
        part = filter_edges(inv_depth[window]) if self.layers.edge_filter else inv_depth[window]
        edge = np.float32(object_inv_depth)
        above = np.nextafter(edge, np.float32(np.inf))
        nearer = alpha_masks(part, [float(above)], min_area=self.layers.min_area)[0] > 0
        cleaned = inv_depth.copy()
        cleaned[window] = np.where(nearer, np.maximum(part, above), np.minimum(part, edge))
        return cleaned


def _share_inside(alpha: np.ndarray, picture: np.ndarray, at: Placement) -> float:
    """The share 0..1 of an object that lies in the frame, where its alpha float32 [H,W] is.

    The object's picture float32 [h,w,4] is scaled to the placement's size.
    """
    height, width = picture.shape[:2]
    whole = float(picture[..., 3].sum()) * at.height / height * at.width / width
    return min(float(alpha.sum()) / whole, 1.0) if whole else 0.0


def _window(there: np.ndarray) -> tuple[slice, ...]:
    """The rows and columns around what is true in a mask bool [H,W]."""
    spans = (np.flatnonzero(there.any(axis=axis)) for axis in (1, 0))
    return tuple(slice(max(found[0] - _MARGIN, 0), found[-1] + _MARGIN + 1) for found in spans)
