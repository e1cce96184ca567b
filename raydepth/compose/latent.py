"""What every compositor on a latent diffusion model shares: rounding, paste-back, the codec's
floor, and the repeat in float32.
"""

from abc import abstractmethod

import numpy as np
import torch

from raydepth.compose.featglac.settings import Latent
from raydepth.compose.preserve import paste_back, restrict_to_edge_band
from raydepth.compose.protocol import Compositor
from raydepth.diffusion.codec import pad_to_multiple, to_uint8
from raydepth.diffusion.load import Models
from raydepth.edits.plan import EditPlan


class LatentCompositor(Compositor):
    """A compositor that generates pictures with ``models`` as ``compose`` asks."""

    models: Models
    compose: Latent

    def __call__(self, plan: EditPlan, source: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """See Compositor. In float16, frames that overflow are repeated once in float32, and the
        note says so.
        """
        if self.compose.edge_band < 1:
            band = max(round(self.compose.edge_band * min(source.shape[1:3])), 1)
            plan, source = restrict_to_edge_band(plan, source, band)
        picture = self.generate(plan, source, seeds)
        self.notes, self.failed = self.remarks(len(source)), _non_finite(picture)
        again = np.flatnonzero(self.failed)
        if self.models.halves() and again.size:
            picture = picture.clone()  # an inference tensor could not be written to
            with self.models.in_float32():
                picture[again] = self.generate(plan.take(again), source[again], seeds[again])
            self.failed = _non_finite(picture)
            for row, remark in zip(again, self.remarks(len(again)), strict=True):
                self.notes[row] = "; ".join(
                    filter(None, ["composed in float32 after float16 overflow", remark])
                )
        edited = to_uint8(picture)
        return paste_back(source, edited, plan.region) if self.compose.paste_back else edited

    @abstractmethod
    def generate(self, plan: EditPlan, source: np.ndarray, seeds: np.ndarray) -> torch.Tensor:
        """What the model makes of the plan, before rounding and paste-back: float32 [N,3,H,W],
        nominally -1..1.
        """

    def remarks(self, frames: int) -> list[str]:
        """What the last ``generate`` has to say about each of its frames; empty where nothing."""
        return [""] * frames

    def round_trip(self, rgb: np.ndarray) -> np.ndarray:
        """Encodes and decodes pictures uint8 [N,H,W,3] without diffusion: the floor of every
        preservation figure.
        """
        height, width = rgb.shape[1:3]
        latents = self.models.codec.encode(pad_to_multiple(rgb, self.models.multiple, 1))
        return to_uint8(self.models.codec.decode(latents))[:, :height, :width]


def _non_finite(picture: torch.Tensor) -> np.ndarray:
    return ~picture.isfinite().flatten(1).all(1).cpu().numpy()
