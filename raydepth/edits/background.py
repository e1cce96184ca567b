"""Edit ``background``: the near layers over another picture, clip, colour or prompt."""

from collections.abc import Mapping

import numpy as np

from raydepth.batch import Batch, ok_rows, shot_of
from raydepth.depth.calibrate import Calibration, calibrate
from raydepth.depth.estimator import DepthEstimator
from raydepth.edits.plan import EditPlan, dilated
from raydepth.edits.scenery import Scenery, SceneryError
from raydepth.edits.settings import Background
from raydepth.layers.matting import decontaminate, faded, foreground, matte_edges
from raydepth.layers.stack import Layer, LayerStack, visible

_SAMPLED = 4
"""Frames of the new scene that fix its depth scale, by clip."""
_BEHIND = 0.05
"""Inverse depth by which a scene that is ``behind`` lies behind the clip's farthest plane."""
NOTHING_SEEN = "the near layer fills the frame: nothing of the new background is seen"


def fix_scene(
    edit: Background, frame: tuple[int, int], scale: Calibration, estimator: DepthEstimator
) -> Calibration | None:
    """Fixes the scale of the new scene's depth for one shot; see ``EditEntry.scene``.

    Pictures are estimated one by one, as the clip's own samples are; those that cannot be decoded,
    or have no depth, are left out. None where nothing is to be aligned, where both are in metres,
    and where no picture is left.
    """
    if edit.source is None or edit.depth != "aligned" or scale.kind == "depth_m":
        return None
    scenery, maps = Scenery(edit.source, edit.play), []
    for row in scenery.spread(_SAMPLED):
        try:
            maps += list(estimator({"rgb": scenery.pictures(np.array([row]), frame)}))
        except Exception:  # as for a clip's own samples: frames that it costs say why
            continue
    maps = [raw for raw in maps if np.isfinite(raw).all()]
    return calibrate(maps, estimator=estimator.name, kind=estimator.kind) if maps else None


class BackgroundBuilder:
    """Holds the new scene; see ``EditBuilder``."""

    def __init__(
        self,
        edit: Background,
        scales: Mapping[str, Calibration],
        estimator: DepthEstimator | None,
        *,
        scenes: Mapping[str, Calibration | None] | None = None,
        matte: bool = False,
    ) -> None:
        """Opens the new scene.

        Args:
            edit: the job's section.
            scales: the shots' depth scales, by shot id.
            estimator: for ``depth: aligned``; one that reads depth from files has none for the new
                scene.
            scenes: by shot id, what ``fix_scene`` fixed.
            matte: edge pixels are matted on both sides of the edge, where ``edit.decontaminate``
                asks for it at all.

        Raises:
            JobError: as ``Scenery``.
        """
        self.edit, self.scales, self.estimator, self.matte = edit, scales, estimator, matte
        self.scenery = None if edit.source is None else Scenery(edit.source, edit.play)
        self.scenes = scenes or {}

    def __call__(self, batch: Batch) -> EditPlan:
        """The near layers over the new scene.

        The region is all that is not near, and the near layers' edges.
        """
        rgb, near = batch["rgb"], batch["near"]
        ok = ok_rows(batch)
        frame = rgb.shape[1:3]
        far, far_depth = np.zeros_like(rgb), np.zeros_like(near)
        if self.scenery is None:  # a prompt: the model generates it, beginning from noise
            far[ok], far_depth[ok] = batch["background"][ok], batch["far_inv_depth"][ok]
        elif len(ok):
            far[ok] = self.scenery.pictures(self.scenery.rows(batch["time_s"][ok]), frame)
            far_depth[ok] = (batch["threshold"][ok, -1] - _BEHIND)[:, None, None]
            if self.edit.depth == "aligned":
                far_depth[ok] = self._aligned(batch, far, ok)
        alpha, colour = near.copy(), rgb.copy()
        region = np.zeros_like(near)
        notes = {}
        for row in ok:
            if self.edit.decontaminate and self.edit.keep:
                colour[row] = foreground(rgb[row], near[row])
            elif self.edit.decontaminate:
                clean = matte_edges if self.matte else decontaminate
                colour[row], alpha[row] = clean(rgb[row], near[row])[:2]
            if self.edit.soften:
                alpha[row] = faded(alpha[row], self.edit.soften)
            if self.edit.depth == "aligned":
                alpha[row] = visible(alpha[row], self._own_depth(batch, row), far_depth[row])
            changed = (alpha[row] < 1) | (colour[row] != rgb[row]).any(axis=-1)
            if changed.any():
                region[row] = dilated(changed)
            else:
                notes[row] = NOTHING_SEEN
        layers = [
            Layer("near", colour, alpha, batch["inv_depth"]),
            Layer("far", far, np.ones_like(near), far_depth),
        ]
        lit = (
            self.scenery is not None and self.scenery.colour is None
        )  # a plain colour is no place with a light
        return EditPlan(
            LayerStack(layers),
            region,
            notes,
            moved=frozenset({"near"} if lit else ()),
            inpainted=region if self.scenery is None else None,
        )

    def _own_depth(self, batch: Batch, row: int) -> np.ndarray:
        """Inverse depth of what is kept, float32 [H,W]: of things, one for each."""
        depth = batch["inv_depth"][row]
        if self.edit.keep:
            own = dict(zip(batch["thing_names"][row], batch["thing_inv_depth"][row], strict=True))
            for name, share in zip(batch["alpha_names"][row], batch["alphas"][row], strict=True):
                depth = np.where(share > 0, own.get(name, depth), depth)
        return depth

    def _aligned(self, batch: Batch, far: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The new scene's inverse depth on the shot's scale, float32 [M,H,W].

        Raises SceneryError where the scene has no scale.
        """
        assert self.estimator is not None
        shot = shot_of(batch, rows[0])
        own = self.scales[shot]
        scale = own if own.kind == "depth_m" else self.scenes.get(shot)
        if scale is None:
            raise SceneryError(
                f"edit.source: none of the sampled pictures of {self.edit.source} gave depth, so "
                "it has no scale"
            )
        return scale.normalise(self.estimator({"rgb": far[rows]}))
