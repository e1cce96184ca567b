"""FeatGLaC, mode kv: layers go through the U-Net beside the generated picture and lend it their keys and values."""

import numpy as np
import torch

from raydepth.edits.plan import EditPlan
from raydepth.featglac.attention import make_injection, select
from raydepth.featglac.codec import pad_to_multiple, to_uint8
from raydepth.featglac.compositor import Compositor
from raydepth.featglac.lanes import Lanes, lay_out
from raydepth.featglac.load import Models
from raydepth.featglac.preserve import latent_region, paste_back
from raydepth.featglac.sampler import Keep, References, sample, seeded_noise
from raydepth.featglac.schedule import Schedule, make_schedule, window_steps
from raydepth.job import Compose


class FeatGLaC(Compositor):
    """Method ``featglac-kv``: raydepth's default (method.md, section 2)."""

    def __init__(self, models: Models, compose: Compose) -> None:
        """Checks the job against the model.

        Raises:
            JobError: the sampler cannot make the steps, or a block has no self-attention.
        """
        self.models, self.compose = models, compose
        self.modules = select(models.unet, compose.inject.blocks)
        self._schedule()

    @torch.inference_mode()
    def __call__(self, plan: EditPlan, source: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """See Compositor. In float16, frames that overflow are repeated once in float32, and the note says so."""
        picture = self.generate(plan, source, seeds)
        self.notes, self.failed = [""] * len(source), _non_finite(picture)
        half = [part for part in (self.models.unet, self.models.codec.vae) if part.dtype == torch.float16]
        again = np.flatnonzero(self.failed)
        if half and again.size:
            try:
                for part in half:
                    part.float()
                picture[again] = self.generate(plan.take(again), source[again], seeds[again])
            finally:
                for part in half:
                    part.half()  # exact: these weights came from float16
            self.failed = _non_finite(picture)
            for row in again:
                self.notes[row] = "composed in float32 after float16 overflow"
        edited = to_uint8(picture)
        return paste_back(source, edited, plan.region) if self.compose.paste_back else edited

    def round_trip(self, rgb: np.ndarray) -> np.ndarray:
        """Encodes and decodes pictures uint8 [N,H,W,3] without diffusion: the floor of every preservation figure."""
        height, width = rgb.shape[1:3]
        latents = self.models.codec.encode(pad_to_multiple(rgb, self.models.multiple, 1))
        return to_uint8(self.models.codec.decode(latents))[:, :height, :width]

    @torch.inference_mode()
    def generate(self, plan: EditPlan, source: np.ndarray, seeds: np.ndarray) -> torch.Tensor:
        """What the model makes of the plan, before rounding and paste-back: float32 [N,3,H,W], nominally -1..1."""
        codec, compose, (height, width) = self.models.codec, self.compose, source.shape[1:3]
        layers = [layer.rgb for layer in plan.stack.layers]
        lanes = lay_out(source, plan.stack.flatten(), layers, seeds)
        encoded = codec.encode(pad_to_multiple(lanes.pictures, self.models.multiple, 1))
        noise, generators = seeded_noise(seeds, encoded.shape[1:])
        noise = noise.to(encoded.device)
        schedule = self._schedule()
        keep = None
        if compose.blend:
            region = torch.from_numpy(pad_to_multiple(plan.region, self.models.multiple, 1)).to(
                encoded.device
            )
            keep = Keep(encoded[lanes.source], latent_region(region, (encoded.shape[2], encoded.shape[3])))
        latents = sample(
            self.models.unet,
            schedule,
            encoded[lanes.start],
            noise,
            generators,
            self.models.condition,
            guidance=compose.guidance,
            references=self._references(plan, lanes, encoded, noise, len(schedule.timesteps)),
            keep=keep,
        )
        return codec.decode(latents)[:, :, :height, :width]

    def _references(
        self, plan: EditPlan, lanes: Lanes, encoded: torch.Tensor, noise: torch.Tensor, run: int
    ) -> References | None:
        inject = self.compose.inject
        steps = window_steps(inject.window, run)
        if inject.weight == 0 or not steps:
            return None
        weights = pad_to_multiple(plan.stack.weights(), self.models.multiple, 2)
        return References(
            latents=encoded[lanes.reference_picture],
            noise=noise[lanes.reference_frame],
            modules=self.modules,
            injection=make_injection(
                inject.mode,
                inject.weight,
                generated=len(noise) * (2 if self.compose.guidance > 1 else 1),
                layer_rows=lanes.layer_rows,
                weights=torch.from_numpy(weights).to(encoded.device),
                latent_size=(encoded.shape[2], encoded.shape[3]),
                levels=self.models.levels,
                dtype=self.models.unet.dtype,
            ),
            steps=steps,
        )

    def _schedule(self) -> Schedule:
        compose, device = self.compose, str(self.models.unet.device)
        return make_schedule(
            self.models.scheduler_config,
            compose.sampler,
            steps=compose.steps,
            strength=compose.strength,
            device=device,
        )


def _non_finite(picture: torch.Tensor) -> np.ndarray:
    return ~picture.isfinite().flatten(1).all(1).cpu().numpy()
