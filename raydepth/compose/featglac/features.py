"""Decoder features and the loss of method ``featglac-grad``.

The loss is how far a picture's features are from its layers', where each layer is seen.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel

from raydepth.diffusion.token_masks import VISIBLE

BLOCK_WEIGHTS = (0.0, 0.2, 8.5)
"""w of the last three decoder blocks: ``up_blocks`` 1, 2, 3 of Stable Diffusion 1.x and 2.x."""
ITERATION_WEIGHTS = (3.5, 1.25, 2.5, 2.5, 1.5)
"""g by iteration of a guided step; see ``energy``."""
SCALE = 45.0
ROUNDED = 0.01
"""Feature differences below this count by their square. Generation starts from a layer's own
latents, where all differences are rounding errors: L1 would follow their signs with full force,
another way in every batch size."""


@dataclass
class Taps:
    """Outputs of the tapped decoder blocks in the last call, by index in ``up_blocks``.

    They are [B,C,h,w] in the U-Net's dtype.
    """

    outputs: dict[int, torch.Tensor] = field(default_factory=dict)

    def rows(self, start: int) -> dict[int, torch.Tensor]:
        """The rows of the last call from ``start`` on."""
        return {block: output[start:] for block, output in self.outputs.items()}


@contextmanager
def tapped(unet: UNet2DConditionModel, blocks: Sequence[int]) -> Iterator[Taps]:
    """Records the outputs of these decoder blocks in every call, by forward hooks.

    They are outputs of whole blocks, upsampler included.
    """
    taps = Taps()
    hooks = [
        unet.up_blocks[block].register_forward_hook(
            lambda module, arguments, output, block=block: taps.outputs.update({block: output})
        )
        for block in blocks
    ]
    try:
        yield taps
    finally:
        for hook in hooks:
            hook.remove()


def block_weights(unet: UNet2DConditionModel) -> dict[int, float]:
    """w_l by index in ``up_blocks``, blocks of weight 0 left out.

    Counted from the end, so that a U-Net of three blocks (``builtin``) has all of them: the last
    has the finest features in both. Of a U-Net with fewer, those that exist count.
    """
    last = len(unet.up_blocks) - 1
    weights = {last - back: weight for back, weight in enumerate(reversed(BLOCK_WEIGHTS))}
    return {block: weight for block, weight in weights.items() if weight > 0 and block >= 0}


def cell_weights(seen: torch.Tensor, grid: tuple[int, int], *, far: bool) -> torch.Tensor:
    """The sets S on the features' grid, as weights of cells.

    See raydepth/README.md, "FeatGLaC by gradients". Every layer before the last: each pixel where
    it is seen goes to its cell, without removing duplicates, so a cell weighs what it holds of the
    layer. The last layer: cells in which no pixel shows another layer, all alike.

    Args:
        seen: float32 [K,N,H,W], how much of each layer is seen, summing to 1 over K; H, W multiples
            of the grid's.
        grid: (h, w) of the features.
        far: whether the last layer counts.

    Returns:
        float32 [K,N,h,w]; the weights of a layer in a frame sum to 1, or are all 0 where its set is
        empty.
    """
    seen = torch.where(seen >= VISIBLE, seen, 0.0)
    cells = F.adaptive_avg_pool2d(seen, grid)
    cells[-1] = (cells[:-1].sum(0) == 0).to(cells.dtype) if far else 0.0
    total = cells.sum((2, 3), keepdim=True)
    return torch.where(total > 0, cells / total.clamp_min(torch.finfo(cells.dtype).tiny), 0.0)


def energy(
    features: dict[int, torch.Tensor],
    references: dict[int, torch.Tensor],
    rows: torch.Tensor,
    cells: torch.Tensor,
    weights: dict[int, float],
    iteration: int,
) -> torch.Tensor:
    """J of each frame: sum_l 45 g_k w_l sum over layers of L(S; Psi_l, Psi_l^layer).

    L is the L1 distance, rounded off within ROUNDED; see raydepth/README.md, "FeatGLaC by
    gradients". The paper leaves open what k in g_k counts. Here it is the iteration within a guided
    step, since the published composition has five iterations and g five values. Recipes with fewer
    iterations use the first values, and more repeat the last. Frames are independent: J_n depends
    on the features of frame n alone.

    Args:
        features: of the generated pictures, [N,C,h,w] by block.
        references: of the layers' pictures, [R,C,h,w] by block.
        rows: int64 [K,N] into R, where frame n finds layer k.
        cells: from ``cell_weights``, on the grid of the largest features.
        weights: w_l by block.
        iteration: k, from 0.

    Returns:
        float32 [N] (float64 for float64 features).
    """
    gain = SCALE * ITERATION_WEIGHTS[min(iteration, len(ITERATION_WEIGHTS) - 1)]
    total = cells.new_zeros(cells.shape[1])
    for block, weight in weights.items():
        mine, theirs = (to_grid(stack[block], cells) for stack in (features, references))
        for layer_rows, layer_cells in zip(rows, cells, strict=True):
            if layer_cells.any():
                distance = F.smooth_l1_loss(
                    mine, theirs[layer_rows], reduction="none", beta=ROUNDED
                ).mean(1)
                # Where a set is empty all weights are 0, and so is the term.
                total = total + gain * weight * (layer_cells * distance).sum((1, 2))
    return total


def to_grid(features: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
    """Brought bilinearly to the size of the cells, in float32 at least."""
    features = features.to(torch.promote_types(features.dtype, cells.dtype))
    size = (cells.shape[2], cells.shape[3])
    if features.shape[2:] == size:
        return features
    return F.interpolate(features, size, mode="bilinear", align_corners=False)
