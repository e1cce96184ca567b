"""The block cosine codec: exact, orthonormal, saved and loaded like any diffusers model."""

import pytest
import torch

from raydepth.models import builtin
from raydepth.models.builtin.codec import BlockDCT


def _pictures(seed: int = 0) -> torch.Tensor:
    """Hard ones: independent grey levels in every pixel and channel, uint8 [2, 3, 32, 48]."""
    return torch.randint(
        0, 256, (2, 3, 32, 48), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )


def _whitened() -> BlockDCT:
    generator = torch.Generator().manual_seed(1)
    scale = (0.05 + 3 * torch.rand(48, generator=generator)).tolist()
    return BlockDCT(mean=torch.randn(48, generator=generator).tolist(), scale=scale)


@pytest.mark.parametrize("codec", [BlockDCT(), _whitened()], ids=["plain", "whitened"])
def test_round_trip_is_exact(codec):
    pictures = _pictures()
    latents = codec.encode(pictures / 127.5 - 1).latents
    assert latents.shape == (2, 48, 8, 12)
    back = ((codec.decode(latents).sample + 1) * 127.5).round().to(torch.uint8)
    assert torch.equal(back, pictures)
    assert torch.equal(codec.decode(latents, return_dict=False)[0], codec(pictures / 127.5 - 1))


def test_basis_is_orthonormal_and_sorted():
    """To sums of 48 products, which a processor rounds in its own order."""
    rows = BlockDCT().basis.flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(48), atol=1e-5, rtol=0)
    grey = BlockDCT().encode(torch.ones(1, 3, 4, 4)).latents.flatten()
    assert grey[0] == pytest.approx(48**0.5, rel=1e-5)
    assert grey[1:].abs().max() < 1e-5


def test_save_and_load(tmp_path):
    codec = _whitened()
    codec.save_pretrained(tmp_path)
    again = BlockDCT.from_pretrained(tmp_path)
    x = _pictures(3) / 127.5 - 1
    assert torch.equal(again.encode(x).latents, codec.encode(x).latents)
    assert again.config.scaling_factor == 1.0
    assert again.spatial_factor == 2 ** (len(again.config.block_out_channels) - 1) == 4


def test_shipped_codec_is_exact():
    codec = BlockDCT.from_pretrained(builtin.path("diffusion"), subfolder="vae")
    pictures = _pictures(4)
    back = codec(pictures / 127.5 - 1)
    assert torch.equal(((back + 1) * 127.5).round().to(torch.uint8), pictures)
    assert min(codec.config.scale) >= 0.05


def test_bad_sizes_and_lists():
    with pytest.raises(ValueError, match="multiples of 4"):
        BlockDCT().encode(torch.zeros(1, 3, 30, 32))
    with pytest.raises(ValueError, match="48 channels"):
        BlockDCT(mean=[0.0] * 3)
