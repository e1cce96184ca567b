"""Injection: self-attention in which generated rows use keys and values of reference rows.

All rows are of one call of the U-Net. The processors are installed for one call and then taken out
again. So nothing else that re-creates the U-Net's processors (LoRA, slicing, IP-Adapter) can come
between installation and use.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention

from raydepth.diffusion.token_masks import QueryGroup, opacities, pool, query_groups, token_grids
from raydepth.errors import JobError

_BLOCKS = {"down": "down_blocks", "mid": "mid_block", "up": "up_blocks"}


def select(unet: UNet2DConditionModel, blocks: Sequence[str]) -> dict[str, Attention]:
    """The self-attention modules (``attn1``) below the named parts of a U-Net, by module name.

    Args:
        unet: the model.
        blocks: ``down``, ``mid``, ``up``, or dotted module names such as ``up_blocks.2``, each
            meaning all below it.

    Raises:
        JobError: a name has no self-attention below it.
    """
    found = {
        name: module
        for name, module in unet.named_modules()
        if isinstance(module, Attention)
        and name.endswith(".attn1")
        and not module.is_cross_attention
    }
    selected: dict[str, Attention] = {}
    for block in blocks:
        prefix = _BLOCKS.get(block, block) + "."
        below = {name: module for name, module in found.items() if name.startswith(prefix)}
        if not below:
            have = sorted({name.partition(".attentions")[0] for name in found})
            raise JobError(
                f"compose.inject.blocks: no self-attention below {block!r}; this model has it in "
                f"{have}"
            )
        selected |= below
    return selected


@dataclass
class Injection:
    """What the processors need to know about one sampling run of N frames and K layers."""

    mode: Literal["mosaic", "concat", "replace"]
    weight: float
    """w in (0, 1]. mosaic: share of the layers. concat: log(w) is added to the layers' logits, so
    that a layer key counts w times as much as an own key would (raydepth's choice, the paper has
    none). replace: without own keys that bias cancels in the softmax, so every w > 0 is the
    same."""
    generated: int
    """Rows of a call that are generation lanes, a multiple of N; all after them are reference
    rows."""
    frames: int
    layer_rows: torch.Tensor
    """int64 [K,N] into the reference rows, on the U-Net's device."""
    opacities: dict[int, torch.Tensor] = field(default_factory=dict)
    """mosaic: by token count, opacity [K,N,T,1] of each layer over those behind it, in the U-Net's
    dtype."""
    query_groups: dict[int, list[list[QueryGroup]]] = field(default_factory=dict)
    """concat, replace: by token count, the query groups of each frame."""


def make_injection(
    mode: Literal["mosaic", "concat", "replace"],
    weight: float,
    *,
    generated: int,
    layer_rows: np.ndarray,
    weights: torch.Tensor,
    latent_size: tuple[int, int],
    levels: int,
    dtype: torch.dtype,
) -> Injection:
    """Pools the layers' weights to every token grid of the U-Net, once a batch.

    Args:
        mode: how keys and values are joined.
        weight: w, in (0, 1].
        generated: generation rows of a call.
        layer_rows: int64 [K,N] into the reference rows.
        weights: float32 [K,N,H,W] on the U-Net's device, visibility of each layer, summing to 1
            over K.
        latent_size: (h, w) of the latents.
        levels: resolutions of the U-Net.
        dtype: the U-Net's.
    """
    rows = torch.from_numpy(layer_rows).to(weights.device)
    injection = Injection(mode, weight, generated, layer_rows.shape[1], rows)
    for height, width in token_grids(*latent_size, levels):
        tokens = pool(weights, (height, width))
        if mode == "mosaic":
            injection.opacities[height * width] = opacities(tokens)[..., None].to(dtype)
        else:
            injection.query_groups[height * width] = query_groups(tokens, layer_rows)
    return injection


class InjectProcessor:
    """Self-attention of diffusers' ``AttnProcessor2_0`` with injection.

    It has no state beyond the run's ``Injection``. Norms, masks and residuals that ``Attention``
    has for other uses are never set on the ``attn1`` of a transformer block.
    """

    def __init__(self, injection: Injection, *, last: bool = False) -> None:
        """Keeps the run's injection.

        Args:
            injection: the run's.
            last: nothing reads the reference rows after this module, so they come out as zeros.
        """
        self.injection, self.last = injection, last

    def __call__(self, attn: Attention, hidden_states: torch.Tensor, **_: Any) -> torch.Tensor:
        """Attends over [B,T,C] tokens of all lanes; reference rows attend to themselves alone."""
        injection, heads = self.injection, attn.heads
        key, value = attn.to_k(hidden_states), attn.to_v(hidden_states)
        asking = injection.generated if self.last else len(hidden_states)
        query = attn.to_q(hidden_states[:asking])
        if injection.mode == "mosaic":
            # In place, so that one attention call with the plain call's shapes serves all lanes:
            # equal lanes then give the plain result bit for bit.
            mosaic(key, injection)
            mosaic(value, injection)
        query, key, value = (
            x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (query, key, value)
        )
        if injection.mode == "mosaic":
            out = F.scaled_dot_product_attention(query, key[:asking], value[:asking])
        else:
            out = gathered_attention(query, key, value, injection)
        out = attn.to_out[1](attn.to_out[0](out.transpose(1, 2).flatten(2)))
        return F.pad(out, (0, 0, 0, 0, 0, len(hidden_states) - asking)) if self.last else out


def mosaic(x: torch.Tensor, injection: Injection) -> None:
    """K' = (1 - w) K_gen + w sum_k m_k K_k, in place on the generation rows.

    Keys or values are [B,T,C].
    """
    references = x[injection.generated :]
    opacity = injection.opacities[x.shape[1]]
    mix = references[injection.layer_rows[-1]]
    for rows, share in zip(injection.layer_rows[:-1].flip(0), opacity[:-1].flip(0), strict=True):
        mix = torch.lerp(mix, references[rows], share)
    lanes = x[: injection.generated].unflatten(0, (-1, injection.frames))
    # As a tensor: lerp then is exact at both ends and for equal arguments.
    lanes.copy_(torch.lerp(lanes, mix.expand_as(lanes), lanes.new_tensor(injection.weight)))


def gathered_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, injection: Injection
) -> torch.Tensor:
    """Modes concat and replace on [B,heads,T,d], one query group at a time.

    A group attends to visible layer keys, and in concat to own keys too. Queries may be those of
    the generation rows alone.
    """
    generated = injection.generated
    out = torch.empty_like(query)
    if len(query) > generated:
        out[generated:] = F.scaled_dot_product_attention(
            query[generated:], key[generated:], value[generated:]
        )
    for n, frame_groups in enumerate(injection.query_groups[query.shape[2]]):
        own = slice(n, generated, injection.frames)  # all generation lanes of this frame
        lanes = key[own].shape[0]
        for group in frame_groups:
            keys = [key[own]] if injection.mode == "concat" else []
            values = [value[own]] if injection.mode == "concat" else []
            for row, tokens in group.keys:
                keys.append(key[generated + row][:, tokens].expand(lanes, -1, -1, -1))
                values.append(value[generated + row][:, tokens].expand(lanes, -1, -1, -1))
            seen = torch.cat(keys, 2)
            bias = None
            if injection.mode == "concat" and injection.weight != 1:
                bias = query.new_zeros(seen.shape[2])
                bias[query.shape[2] :] = math.log(injection.weight)
                bias = bias.expand(lanes, 1, len(group.queries), -1)
            out[own, :, group.queries] = F.scaled_dot_product_attention(
                query[own, :, group.queries], seen, torch.cat(values, 2), attn_mask=bias
            )
    return out


@contextmanager
def injected(
    modules: Mapping[str, Attention], injection: Injection, *, last: str | None = None
) -> Iterator[None]:
    """Installs the injection in these modules, and puts their own processors back at the end.

    Args:
        modules: by name.
        injection: the run's.
        last: the module after which nothing reads the reference rows; None where they are wanted to
            the end.
    """
    before = {name: module.processor for name, module in modules.items()}
    processors = {name: InjectProcessor(injection, last=name == last) for name in modules}
    try:
        for name, module in modules.items():
            module.set_processor(processors[name])
        if not all(module.processor is processors[name] for name, module in modules.items()):
            raise RuntimeError("the U-Net did not take the injection's attention processors")
        yield
    finally:
        for name, module in modules.items():
            module.set_processor(before[name])
