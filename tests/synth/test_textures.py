"""Textures: repeatable, tileable and softer with distance."""

import pytest
import torch

from raydepth.synth.textures import LEVELS, SIZE, VARIANTS, sample, texture


@pytest.mark.parametrize("kind", [kind for kind in VARIANTS if kind != "photo"])
def test_tiles_are_in_range_and_wrap(kind):
    stack = texture(kind, 1)
    assert stack.shape[1:] == (LEVELS, SIZE + 2, SIZE + 2)
    assert stack.min() >= 0 and stack.max() <= 1
    assert torch.equal(stack[:, :, 0], stack[:, :, -2])
    assert torch.equal(stack[:, :, :, -1], stack[:, :, :, 1])


def test_sampling_wraps_and_softens():
    stack = texture("checker", 2)
    u = torch.rand(500, generator=torch.Generator().manual_seed(0))
    near = torch.full_like(u, 1 / SIZE)
    torch.testing.assert_close(
        sample(stack, u, u, near), sample(stack, u + 3, u - 2, near), atol=2e-3, rtol=0
    )
    spreads = [sample(stack, u, 1 - u**2, near * 2**level).std().item() for level in range(LEVELS)]
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[-1] < 0.6 * spreads[0]


def test_unknown_variant():
    with pytest.raises(ValueError, match="variants"):
        texture("wood", 99)
