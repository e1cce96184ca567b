"""What a guided step of ``featglac-grad`` holds, on shapes: for ``raydepth plan``."""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from raydepth.compose.featglac.features import block_weights, tapped, to_grid
from raydepth.diffusion.memory import Call


def guided_step(lanes: int, references: int) -> Callable[[Call], object]:
    """A guided step for ``diffusion.memory.peak_bytes``: features recorded, then a gradient.

    Args:
        lanes: rows that are generated.
        references: rows of layers' pictures whose features are to be matched, a multiple of
            ``lanes``.
    """

    def step(call: Call) -> None:
        with tapped(call.unet, list(block_weights(call.unet))) as taps:
            call(references)
            theirs = taps.rows(0)
            with torch.enable_grad():
                latents = call(lanes)
                # As features.energy, which looks at its cells, and here nothing has values.
                loss = torch.zeros(lanes, *call.latent)
                for block, mine in taps.rows(0).items():
                    mine, layers = (
                        to_grid(stack, torch.empty(0, 0, *call.latent))
                        for stack in (mine, theirs[block])
                    )
                    for layer in layers.split(lanes):
                        loss = loss + F.smooth_l1_loss(mine, layer.clone(), reduction="none").mean(
                            1
                        )
                torch.autograd.grad(loss.sum(), latents)

    return step
