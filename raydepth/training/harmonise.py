"""Plain image-to-image with the built-in diffusion model, without any guidance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel

from raydepth.models.builtin.codec import BlockDCT


class Harmoniser:
    """Noises pictures and denoises them with the U-Net (SDEdit, Meng et al. 2022)."""

    def __init__(self, folder: Path) -> None:
        """Loads `unet/`, `vae/` and `scheduler/` in float32.

        Args:
            folder: A diffusers folder with a `BlockDCT` codec.

        Raises:
            OSError: A part is missing.
        """
        self.unet = UNet2DConditionModel.from_pretrained(
            folder, subfolder="unet", dtype=torch.float32, use_safetensors=True
        ).eval()
        self.codec = BlockDCT.from_pretrained(
            folder, subfolder="vae", dtype=torch.float32, use_safetensors=True
        )
        self.scheduler = DDIMScheduler.from_pretrained(folder, subfolder="scheduler")

    @torch.inference_mode()
    def __call__(
        self, rgb: np.ndarray, *, strength: float, steps: int = 10, seed: int = 0
    ) -> np.ndarray:
        """Harmonises one picture.

        Args:
            rgb: uint8 [H, W, 3], both sides multiples of 16.
            strength: Share of the schedule to go back, 0..1; the model was trained up to 0.7.
            steps: Steps of the whole schedule; steps * strength of them are run.
            seed: Of the noise.

        Returns:
            uint8 [H, W, 3].

        Raises:
            ValueError: A side is not a multiple of 16.
        """
        if rgb.shape[0] % 16 or rgb.shape[1] % 16:
            raise ValueError(f"height and width must be multiples of 16, got {rgb.shape[:2]}")
        latents = self.codec.encode(
            torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None] / 127.5 - 1
        ).latents
        self.scheduler.set_timesteps(steps)
        times = self.scheduler.timesteps[steps - int(steps * strength) :]
        if len(times):
            noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed))
            latents = self.scheduler.add_noise(latents, noise, times[:1])
        token = torch.zeros(1, 1, self.unet.config.cross_attention_dim)
        for time in times:
            velocity = self.unet(latents, time, encoder_hidden_states=token).sample
            latents = self.scheduler.step(velocity, time, latents).prev_sample
        picture = self.codec.decode(latents).sample[0].permute(1, 2, 0)
        return ((picture + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()
