"""A lossless codec without learned parts, in place of a latent diffusion model's VAE."""

from __future__ import annotations

import math

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTinyOutput
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.models.modeling_utils import ModelMixin


class BlockDCT(ModelMixin, ConfigMixin):
    """Orthonormal cosine transform of 4 x 4 blocks of decorrelated colours, whitened.

    Each channel is whitened by fixed constants. The class stands in for `AutoencoderTiny`, with the
    same signatures: `encode(x).latents`, `decode(z).sample`. The latents are 48 channels at a
    quarter of the resolution, with about zero mean and unit variance on natural pictures. The
    transform is orthonormal (Ahmed, Natarajan and Rao 1974). So the round trip is exact up to
    float32 rounding, hence exact in uint8.

    Attributes:
        basis: Float32 [48, 3, 4, 4], orthonormal rows: what each latent channel measures in a
            block.
    """

    @register_to_config
    def __init__(
        self,
        block: int = 4,
        mean: list[float] | None = None,
        scale: list[float] | None = None,
        scaling_factor: float = 1.0,
        shift_factor: float = 0.0,
        latent_channels: int = 48,
        block_out_channels: tuple[int, ...] = (48, 48, 48),
        force_upcast: bool = True,
    ) -> None:
        """Builds the transform.

        Args:
            block: Side of a block in pixels.
            mean: Mean of each coefficient for pixels in -1..1; zeros by default.
            scale: Standard deviation of each coefficient, floored so that noise is not amplified;
                ones by default.
            scaling_factor: As in diffusers' VAEs; 1, since the channels are whitened already.
            shift_factor: As in diffusers' VAEs.
            latent_channels: 3 * block * block.
            block_out_channels: Only its length counts: pipelines take 2 ** (length - 1) for the
                spatial factor.
            force_upcast: Keep this codec in float32 with a U-Net in half precision: rounded
                figures are not lossless.

        Raises:
            ValueError: The lists do not have 3 * block * block entries, or `latent_channels` is
                something else.
        """
        super().__init__()
        channels = 3 * block * block
        mean, scale = mean or [0.0] * channels, scale or [1.0] * channels
        if not len(mean) == len(scale) == latent_channels == channels:
            raise ValueError(
                f"block {block} has {channels} channels; got {len(mean)} means, {len(scale)} "
                "scales, "
                f"latent_channels {latent_channels}"
            )
        ticks = torch.arange(block, dtype=torch.float64)
        cosine = torch.cos(math.pi / block * (ticks[None] + 0.5) * ticks[:, None]) * math.sqrt(
            2 / block
        )
        cosine[0] /= math.sqrt(2)
        colour = torch.tensor([[1, 1, 1], [1, 0, -1], [1, -2, 1]], dtype=torch.float64)
        colour = colour / colour.norm(dim=1, keepdim=True)
        basis = torch.einsum("kc,iy,jx->ijkcyx", colour, cosine, cosine).reshape(
            channels, 3, block, block
        )
        self.register_buffer("basis", basis.float())
        self.register_buffer("offset", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("spread", torch.tensor(scale, dtype=torch.float32).view(1, -1, 1, 1))

    @property
    def spatial_factor(self) -> int:
        """Pixels per latent cell along one side; heights and widths must be multiples of it."""
        return self.config.block

    def encode(
        self, x: torch.Tensor, return_dict: bool = True
    ) -> AutoencoderTinyOutput | tuple[torch.Tensor]:
        """Transforms pictures to latents.

        Args:
            x: Pictures, float [N, 3, H, W] in -1..1.
            return_dict: Return a tuple instead if False.

        Returns:
            Latents, [N, 48, H / 4, W / 4], in `x`'s dtype.

        Raises:
            ValueError: H or W is not a multiple of the block.
        """
        block = self.spatial_factor
        if x.shape[-2] % block or x.shape[-1] % block:
            raise ValueError(
                f"height and width must be multiples of {block}, got {tuple(x.shape[-2:])}: pad or "
                "resize the picture"
            )
        raw = torch.nn.functional.conv2d(x.float(), self.basis.float(), stride=block)
        latents = ((raw - self.offset.float()) / self.spread.float()).to(x.dtype)
        return AutoencoderTinyOutput(latents=latents) if return_dict else (latents,)

    def decode(
        self, z: torch.Tensor, generator: torch.Generator | None = None, return_dict: bool = True
    ) -> DecoderOutput | tuple[torch.Tensor]:
        """Transforms latents back to pictures.

        Args:
            z: Latents, [N, 48, h, w].
            generator: Not used; pipelines pass it.
            return_dict: Return a tuple instead if False.

        Returns:
            Pictures, [N, 3, 4h, 4w] in about -1..1 (not clamped), in `z`'s dtype.
        """
        raw = z.float() * self.spread.float() + self.offset.float()
        sample = torch.nn.functional.conv_transpose2d(
            raw, self.basis.float(), stride=self.spatial_factor
        ).to(z.dtype)
        return DecoderOutput(sample=sample) if return_dict else (sample,)

    def forward(self, sample: torch.Tensor) -> torch.Tensor:
        """Encodes and decodes, [N, 3, H, W] to the same."""
        return self.decode(self.encode(sample, return_dict=False)[0], return_dict=False)[0]
