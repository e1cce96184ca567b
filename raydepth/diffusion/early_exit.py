"""Early exit of reference rows: they leave the U-Net's call after the last injected attention."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention

from raydepth.diffusion.attention import Injection, injected


@contextmanager
def early_exit(
    unet: UNet2DConditionModel,
    modules: Mapping[str, Attention],
    injection: Injection,
    references: int,
) -> Iterator[None]:
    """Installs the injection; reference rows exit where they have been read for the last time.

    The last injected attention computes queries for the generation rows only. What follows it
    inside its block sees the generation rows. The reference rows come out of the block as zeros,
    since the block adds and concatenates tensors of all rows. Every later block sees the generation
    rows alone, and so does the call's result: [generated,C,h,w]. Afterwards the model is as it was.

    Args:
        unet: of the blocks that diffusers calls ``(CrossAttn)DownBlock2D``,
            ``UNetMidBlock2DCrossAttn`` and so on.
        modules: as ``select`` gave them.
        injection: of the calls to come.
        references: rows of a call after the generation rows.
    """
    keep, rows = injection.generated, injection.generated + references

    def take(module: torch.nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
        return _map(args, rows, lambda x: x[:keep]), _map(kwargs, rows, lambda x: x[:keep])

    def put(module: torch.nn.Module, args: Any, output: Any) -> Any:
        return _map(output, keep, lambda x: _zeros_after(x, rows))

    last = max(modules, key=_order)
    inside, behind = _following(unet, last)
    hooks = [
        module.register_forward_pre_hook(take, with_kwargs=True) for module in (*inside, *behind)
    ]
    hooks += [module.register_forward_hook(put) for module in inside]
    try:
        with injected(modules, injection, last=last):
            yield
    finally:
        for hook in hooks:
            hook.remove()


def _order(name: str) -> tuple[int, list[int]]:
    """Sorts the attention modules of a U-Net as they run."""
    part = ("down_blocks", "mid_block", "up_blocks").index(name.partition(".")[0])
    return part, [int(number) for number in re.findall(r"\.(\d+)", name)]


def _following(
    unet: UNet2DConditionModel, last: str
) -> tuple[list[torch.nn.Module], list[torch.nn.Module]]:
    """What runs after an ``attn1``: modules inside its block, and the later parts of the U-Net."""
    name, i, j = re.fullmatch(
        r"(.+)\.attentions\.(\d+)\.transformer_blocks\.(\d+)\.attn1", last
    ).groups()  # type: ignore[union-attr]
    i, j = int(i), int(j)
    block: Any = unet.get_submodule(name)
    transformer = block.attentions[i]
    around = transformer.transformer_blocks[j]
    inside = [
        around.norm2,
        around.attn2,
        around.norm3,
        around.ff,
        *transformer.transformer_blocks[j + 1 :],
    ]
    inside += [transformer.proj_out, *block.resnets[i + 1 :], *block.attentions[i + 1 :]]
    for samplers in ("downsamplers", "upsamplers"):
        inside += getattr(block, samplers, None) or []
    blocks = [*unet.down_blocks, unet.mid_block, *unet.up_blocks]
    behind = blocks[next(k for k, other in enumerate(blocks) if other is block) + 1 :]
    return inside, [*behind, unet.conv_norm_out]


def _map(tree: Any, rows: int, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Changes the tensors of so many rows in the arguments or the result of a module."""
    if isinstance(tree, torch.Tensor):
        return change(tree) if tree.ndim and len(tree) == rows else tree
    if isinstance(tree, dict):
        return {key: _map(value, rows, change) for key, value in tree.items()}
    if isinstance(tree, tuple | list):
        return type(tree)(_map(value, rows, change) for value in tree)
    return tree


def _zeros_after(x: torch.Tensor, rows: int) -> torch.Tensor:
    last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    full = torch.empty((rows, *x.shape[1:]), dtype=x.dtype, device=x.device, memory_format=layout)
    full[: len(x)] = x
    full[len(x) :] = 0
    return full
