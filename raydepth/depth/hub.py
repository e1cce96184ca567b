"""Depth from a transformers checkpoint: a hub id, a local directory or the built-in model."""

import numpy as np
import torch
from transformers import AutoModelForDepthEstimation

from raydepth.batch import Batch
from raydepth.depth.kinds import kind_of
from raydepth.depth.preprocess import read_preprocessing
from raydepth.depth.settings import DepthKind
from raydepth.errors import JobError
from raydepth.models.pretrained import load_pretrained

_UNUSED = "fusion_stage.layers.0.residual_layer1"
"""The first fusion layer has no residual input: published DPT checkpoints rightly lack these
weights."""


class HubDepth:
    """An ``AutoModelForDepthEstimation`` with raydepth's own preprocessing on the device.

    DPT / MiDaS and Depth Anything give disparity. ZoeDepth, Depth Pro, GLPN, Depth Anything's
    metric checkpoints and the DINOv2-based DPTs (trained on metres) give metres. ``raydepth_kind``
    in the checkpoint's config.json overrides that.

    Attributes:
        name: the model as the job names it.
        kind: what its numbers are.
        repeated: rows of the last call that overflowed in float16 and were computed again in
            float32.
    """

    def __init__(
        self,
        where: str,
        *,
        name: str | None = None,
        kind: DepthKind | None = None,
        input_size: int | None = None,
        device: str = "cpu",
        dtype: str = "float32",
    ) -> None:
        """Loads the checkpoint: only safetensors, never remote code.

        A checkpoint in the local cache is not fetched again.

        Args:
            where: hub id or directory.
            name: what to call it in messages and rows; None: ``where``.
            kind: what its numbers are; None: as the checkpoint or its class says.
            input_size: short side in pixels that the network sees; None: as its preprocessor file
                says.
            device: torch device.
            dtype: torch dtype by name that the network runs in.

        Raises:
            JobError: the checkpoint cannot be had, lacks weights, or its class leaves the kind
                open.
        """
        self.name = name or where
        self.device = torch.device(device)
        self.dtype: torch.dtype = getattr(torch, dtype)
        self.model, file = load_pretrained(
            lambda _: AutoModelForDepthEstimation,
            where,
            field="depth.model",
            name=self.name,
            what="a depth estimation checkpoint (with its depth head)",
            dtype=self.dtype,
            may_lack=_UNUSED,
        )
        self.model.to(self.device)
        config = self.model.config
        self.kind: DepthKind = kind or kind_of(config.to_dict(), self.name)
        self.preprocessing = read_preprocessing(file, config.model_type)
        if input_size is not None and config.model_type == "depth_pro":
            raise JobError(
                f"depth.input_size: {self.name} is a Depth Pro, which sees one size: leave it out"
            )
        if input_size is not None:
            patch = (
                getattr(getattr(config, "backbone_config", None) or config, "patch_size", None)
                or 32
            )
            self.preprocessing = self.preprocessing.with_short_side(
                input_size, patch if isinstance(patch, int) else 32
            )
        # ZoeDepth with several heads lets the batch choose one. Frames are run alone, so that a
        # frame's depth does not depend on its batch.
        self.one_by_one = len(getattr(config, "bin_configurations", None) or ()) > 1
        self.repeated: tuple[int, ...] = ()

    @torch.inference_mode()
    def __call__(self, batch: Batch) -> np.ndarray:
        """Raw maps float32 [N,H,W] in the kind's unit."""
        maps = self._maps(torch.tensor(batch["rgb"], device=self.device))
        self.repeated = ()
        if self.dtype == torch.float16:
            self.repeated = tuple(
                int(row) for row in torch.nonzero(~maps.isfinite().flatten(1).all(1)).flatten()
            )
        if self.repeated:
            self.model.float()
            for row in self.repeated:
                maps[row] = self._maps(
                    torch.tensor(batch["rgb"][row : row + 1], device=self.device)
                )[0]
            self.model.to(self.dtype)
        return maps.cpu().numpy()

    def _maps(self, rgb: torch.Tensor) -> torch.Tensor:
        """Frames uint8 [N,H,W,3] to maps float32 [N,H,W], all on the device."""
        pixels = self.preprocessing.apply(rgb).to(self.model.dtype)
        outputs = [
            self.model(pixel_values=part)
            for part in pixels.split(1 if self.one_by_one else len(pixels))
        ]
        maps = torch.cat([output.predicted_depth.float() for output in outputs])
        if self.model.config.model_type == "depth_pro":
            # The network gives canonical inverse depth; 1 / metres = that * width / focal length,
            # and the field of view says what focal length is, whatever the width (Depth Pro,
            # section 3.1). Without that head: as if it were 1.
            if outputs[0].field_of_view is not None:
                fov = torch.cat([output.field_of_view.float().reshape(-1) for output in outputs])
                maps = maps * (2 * torch.tan(torch.deg2rad(fov) / 2)).view(-1, 1, 1)
            return 1 / self.preprocessing.undo(maps, *rgb.shape[1:3]).clamp(1e-4, 1e4)
        return self.preprocessing.undo(maps, *rgb.shape[1:3])
