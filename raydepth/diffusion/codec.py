"""The picture codec of a latent diffusion model: uint8 pictures to latents and back."""

from typing import Any

import numpy as np
import torch


class Codec:
    """A diffusers VAE: AutoencoderKL, AutoencoderTiny, or any with the same interface."""

    def __init__(self, vae: Any) -> None:
        """Wraps a loaded VAE.

        Compression and latent channels are measured, not read from class-specific configs.
        """
        self.vae = vae
        self.scale = float(vae.config.scaling_factor)
        self.shift = float(getattr(vae.config, "shift_factor", None) or 0.0)
        probe = self.encode(np.zeros((1, 64, 64, 3), np.uint8))
        self.channels: int = probe.shape[1]
        self.factor: int = 64 // probe.shape[3]

    @torch.inference_mode()
    def encode(self, rgb: np.ndarray) -> torch.Tensor:
        """Encodes pictures uint8 [M,H,W,3] to float32 latents [M,C,h,w] of about unit variance.

        Sizes are multiples of ``factor``. Of a latent distribution the mode is taken, as a sample
        would flicker.
        """
        pixels = torch.from_numpy(np.ascontiguousarray(rgb)).to(self.vae.device).permute(0, 3, 1, 2)
        return self.encode_pixels(pixels.float() / 127.5 - 1)

    @torch.inference_mode()
    def encode_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """As ``encode``, of float32 pictures [M,3,H,W], -1..1, on the VAE's device."""
        encoded = self.vae.encode(pixels.to(self.vae.dtype))
        latents = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
        return (latents.float() - self.shift) * self.scale

    @torch.inference_mode()
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Decodes float32 latents [M,C,h,w] to pictures [M,3,H,W], nominally -1..1, unclipped."""
        return self.vae.decode(
            (latents / self.scale + self.shift).to(self.vae.dtype)
        ).sample.float()


def to_uint8(pictures: torch.Tensor) -> np.ndarray:
    """Rounds pictures [M,3,H,W], nominally -1..1, to uint8 [M,H,W,3].

    Values that are not finite become mid-grey.
    """
    levels = ((pictures.nan_to_num(0.0) * 0.5 + 0.5).clamp(0, 1) * 255).round()
    return levels.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def pad_to_multiple(array: np.ndarray, multiple: int, height_axis: int) -> np.ndarray:
    """Pads by reflection at the bottom and right to multiples in height and width; crop to undo."""
    pads = [(0, 0)] * array.ndim
    for axis in (height_axis, height_axis + 1):
        pads[axis] = (0, -array.shape[axis] % multiple)
    return np.pad(array, pads, mode="symmetric") if any(after for _, after in pads) else array
