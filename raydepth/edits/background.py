"""Edit ``background``: the frame's near layers over another picture, clip or colour, or over what a
model makes up.
"""

import numpy as np

from raydepth.batch import Batch, ok_rows
from raydepth.depth.calibrate import Calibration, calibrate
from raydepth.depth.estimator import DepthEstimator
from raydepth.edits.plan import EditPlan, dilated
from raydepth.edits.scenery import Scenery
from raydepth.edits.settings import Background
from raydepth.layers.matting import decontaminate, faded, matte_edges
from raydepth.layers.stack import Layer, LayerStack, visible

_SAMPLED = 4
"""Frames of the new scene that fix its depth scale."""
_BEHIND = 0.05
"""Inverse depth by which a scene that is ``behind`` lies behind the clip's farthest plane."""
NOTHING_SEEN = "the near layer fills the frame: nothing of the new background is seen"


class BackgroundBuilder:
    """Holds the new scene; see ``EditBuilder``."""

    def __init__(
        self,
        edit: Background,
        scales: dict[str, Calibration],
        estimator: DepthEstimator | None,
        *,
        matte: bool = False,
    ) -> None:
        """Opens the new scene.

        Args:
            edit: the job's section.
            scales: the clips' depth scales, by video id.
            estimator: for ``depth: aligned``; one that reads depth from files has none for the new
                scene.
            matte: edge pixels are matted on both sides of the edge, where ``edit.decontaminate`` asks for
                it at all.

        Raises:
            JobError: as ``Scenery``.
        """
        self.edit, self.scales, self.estimator, self.matte = edit, scales, estimator, matte
        self.scenery = None if edit.source is None else Scenery(edit.source, edit.play)
        self._scale: Calibration | None = None

    def __call__(self, batch: Batch) -> EditPlan:
        """The near layers over the new scene; the region is all that is not near, and the near
        layers' rim.
        """
        rgb, near = batch["rgb"], batch["near"]
        ok = ok_rows(batch)
        frame = rgb.shape[1:3]
        far, far_depth = np.zeros_like(rgb), np.zeros_like(near)
        if self.scenery is None:  # a prompt: the model makes it up, beginning from noise
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
            if self.edit.decontaminate:
                clean = matte_edges if self.matte else decontaminate
                colour[row], alpha[row] = clean(rgb[row], near[row])[:2]
            if self.edit.soften:
                alpha[row] = faded(alpha[row], self.edit.soften)
            if self.edit.depth == "aligned":
                alpha[row] = visible(alpha[row], batch["inv_depth"][row], far_depth[row])
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

    def _aligned(self, batch: Batch, far: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The new scene's inverse depth on the clip's scale, float32 [M,H,W]."""
        assert self.estimator is not None and self.scenery is not None
        frame = far.shape[1:3]
        if self._scale is None:
            sampled = self.estimator({"rgb": self.scenery.sample(_SAMPLED, frame)})
            self._scale = calibrate(
                list(sampled), estimator=self.estimator.name, kind=self.estimator.kind
            )
        raw = self.estimator({"rgb": far[rows]})
        scale = self.scales[str(batch["video"][rows[0]])]
        return scale.normalise(raw) if scale.kind == "depth_m" else self._scale.normalise(raw)
