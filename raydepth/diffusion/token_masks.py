"""Layer masks on the token grids of the U-Net's resolutions, made once a batch."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

VISIBLE = 1 / 255
"""A layer counts at a token from this share on: one 8-bit step. A logistic feather never reaches
zero by itself."""


def token_grids(height: int, width: int, levels: int) -> list[tuple[int, int]]:
    """Token grids (h, w) of a U-Net on latents height x width, finest first.

    Each level halves, rounding up.
    """
    return [(-(-height // 2**level), -(-width // 2**level)) for level in range(levels)]


def pool(weights: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Area-pools layer weights float32 [K,N,H,W] to tokens, float32 [K,N,T].

    Both sum to 1 over K.
    """
    return F.adaptive_avg_pool2d(weights, grid).flatten(2)


def opacities(tokens: torch.Tensor) -> torch.Tensor:
    """Opacity of each layer over all behind it, from shares float32 [K,N,T] that sum to 1 over K.

    Painting the layers from the last to the first with these opacities gives every layer its share
    back. It interpolates between equal values without any rounding.
    """
    behind = tokens.flip(0).cumsum(0).flip(0)
    return torch.where(
        behind > 0, tokens / behind.clamp_min(torch.finfo(tokens.dtype).tiny), 0.0
    ).clamp(max=1.0)


@dataclass(frozen=True)
class QueryGroup:
    """Queries of one frame that see the same layers, and the keys of those layers that they see."""

    queries: torch.Tensor
    """int64 [Q], tokens."""
    keys: list[tuple[int, torch.Tensor]]
    """(reference row, int64 tokens): where that layer is visible."""


def query_groups(tokens: torch.Tensor, layer_rows: np.ndarray) -> list[list[QueryGroup]]:
    """Groups the queries of each frame by the layers that they see.

    Inside one layer that is the layer itself; in the ring of a feather it is all layers there. A
    boolean mask at 64x64 tokens and three layers would be 48 MB a frame and a dense call. Groups
    cost an index list, leave invisible keys out of the products, and keep the unmasked kernels.
    Every query sees at least its own position of some layer (shares sum to 1), so no softmax is
    ever empty.

    Args:
        tokens: float32 [K,N,T], summing to 1 over K, K <= 255 (a layer counts from VISIBLE on).
        layer_rows: int64 [K,N], the reference row where a frame finds a layer.

    Returns:
        For every frame its query groups, whose queries together are all T tokens, each once.
    """
    visible = tokens.cpu() >= VISIBLE
    frames = []
    for frame, rows in zip(visible.unbind(1), layer_rows.T.tolist(), strict=True):
        keys = [
            (row, layer.nonzero().flatten().to(tokens.device))
            for row, layer in zip(rows, frame, strict=True)
        ]
        patterns, pattern_of = frame.T.unique(dim=0, return_inverse=True)
        frames.append(
            [
                QueryGroup(
                    queries=(pattern_of == i).nonzero().flatten().to(tokens.device),
                    keys=[keys[k] for k in pattern.nonzero().flatten().tolist()],
                )
                for i, pattern in enumerate(patterns)
            ]
        )
    return frames
