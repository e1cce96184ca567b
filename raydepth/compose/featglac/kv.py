"""FeatGLaC, mode kv: layers go through the U-Net beside the generated picture and lend it their
keys and values.
"""

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch

from raydepth.compose.featglac.ip_adapter import ImagePrompt, adapted, object_region
from raydepth.compose.featglac.lanes import Lanes, lay_out
from raydepth.compose.featglac.settings import FeatGLaCKV
from raydepth.compose.latent import LatentCompositor
from raydepth.compose.preserve import latent_region
from raydepth.diffusion.attention import make_injection, select
from raydepth.diffusion.codec import pad_to_multiple
from raydepth.diffusion.load import Models
from raydepth.diffusion.sampler import KnownRegion, References, sample, seeded_noise
from raydepth.diffusion.schedule import Schedule, make_schedule, window_steps
from raydepth.diffusion.token_masks import token_grids
from raydepth.edits.plan import EditPlan


class FeatGLaC(LatentCompositor):
    """Method ``featglac-kv``: raydepth's default.

    See raydepth/README.md, "FeatGLaC by keys and values".
    """

    compose: FeatGLaCKV

    def __init__(
        self, models: Models, compose: FeatGLaCKV, prompt: ImagePrompt | None = None
    ) -> None:
        """Checks the job against the model.

        Args:
            models: loaded.
            compose: the job's section.
            prompt: the inserted object's picture, where ``compose.ip_adapter`` asks for it.

        Raises:
            JobError: the sampler cannot make the steps, or a block has no self-attention.
        """
        self.models, self.compose, self.prompt = models, compose, prompt
        self.modules = select(models.unet, compose.inject.blocks)
        self._kept: dict[tuple[bytes, torch.dtype], torch.Tensor] = {}
        self._schedule()

    @torch.inference_mode()
    def generate(self, plan: EditPlan, source: np.ndarray, seeds: np.ndarray) -> torch.Tensor:
        """See LatentCompositor."""
        codec, compose, (height, width) = self.models.codec, self.compose, source.shape[1:3]
        layers = [
            layer.rgb if layer.shared is None else layer.shared for layer in plan.stack.layers
        ]
        lanes = lay_out(source, plan.stack.flatten(), layers, seeds)
        encoded = self._encode(lanes)
        noise, generators = seeded_noise(seeds, encoded.shape[1:])
        noise = noise.to(encoded.device)
        schedule = self._schedule()
        known = None
        if compose.blend:
            region = torch.from_numpy(pad_to_multiple(plan.region, self.models.multiple, 1)).to(
                encoded.device
            )
            known = KnownRegion(
                encoded[lanes.source], latent_region(region, (encoded.shape[2], encoded.shape[3]))
            )
        with self._adapted(plan, encoded):
            latents = sample(
                self.models.unet,
                schedule,
                encoded[lanes.start],
                noise,
                generators,
                self.models.condition,
                guidance=compose.guidance,
                references=self._references(plan, lanes, encoded, noise, len(schedule.timesteps)),
                known=known,
            )
        return codec.decode(latents)[:, :, :height, :width]

    def _encode(self, lanes: Lanes) -> torch.Tensor:
        """Latents float32 [P,C,h,w] of the pictures; those of pictures that frames share are kept
        for the next batch.

        Shared pictures are encoded one by one, so that their last bits depend neither on the batch
        nor on what was kept.
        """
        codec, pictures = (
            self.models.codec,
            pad_to_multiple(lanes.pictures, self.models.multiple, 1),
        )
        kept: dict[tuple[bytes, torch.dtype], torch.Tensor] = {}
        shared = {i: (lanes.digests[i], codec.vae.dtype) for i in lanes.shared()}
        for i, key in shared.items():
            found = self._kept.get(key)
            kept[key] = codec.encode(pictures[i : i + 1]) if found is None else found
        self._kept = kept
        others = [i for i in range(len(pictures)) if i not in shared]
        encoded = iter(codec.encode(pictures[others])) if others else iter(())
        return torch.stack(
            [kept[shared[i]][0] if i in shared else next(encoded) for i in range(len(pictures))]
        )

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

    def _adapted(self, plan: EditPlan, encoded: torch.Tensor) -> AbstractContextManager[None]:
        if self.prompt is None:
            return nullcontext()
        region = torch.from_numpy(pad_to_multiple(object_region(plan), self.models.multiple, 1))
        return adapted(
            self.models.unet,
            self.prompt,
            region.to(encoded.device),
            guided=self.compose.guidance > 1,
            grids=token_grids(encoded.shape[2], encoded.shape[3], self.models.levels),
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
