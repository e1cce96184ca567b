"""Counts, by hooks, the U-Net lanes that really run; tests and benchmarks compare with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DConditionModel


@dataclass
class LaneCount:
    """Samples that went through a U-Net, forward and backward."""

    forward: int = 0
    backward: int = 0


@contextmanager
def counted_lanes(unet: UNet2DConditionModel) -> Iterator[LaneCount]:
    """Counts a U-Net's lanes: rows of its calls, and rows of gradients.

    Gradients are counted where they come back through the last decoder block.
    """
    count = LaneCount()

    def called(module: torch.nn.Module, arguments: Any) -> None:
        count.forward += len(arguments[0])

    def gave(module: torch.nn.Module, arguments: Any, output: torch.Tensor) -> None:
        if output.requires_grad:
            output.register_hook(back)

    def back(gradient: torch.Tensor) -> None:
        count.backward += len(gradient)

    hooks = [unet.register_forward_pre_hook(called), unet.up_blocks[-1].register_forward_hook(gave)]
    try:
        yield count
    finally:
        for hook in hooks:
            hook.remove()
