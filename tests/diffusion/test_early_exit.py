"""Reference lanes that end after the last injected attention: same generation rows, fewer rows
later, the model as it was.
"""

import numpy as np
import pytest
import torch

from raydepth.diffusion.attention import injected, make_injection, select
from raydepth.diffusion.early_exit import early_exit

EVERYWHERE = {
    "layers_per_block": 2, "transformer_layers_per_block": 2,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
}  # fmt: skip
BLOCKS = [
    ["up"], ["mid"], ["down"], ["down_blocks.0"], ["up_blocks.0"], ["down", "up_blocks.0.attentions.1"],
    ["up_blocks.1.attentions.0.transformer_blocks.0"], ["down_blocks.0.attentions.0.transformer_blocks.1"],
]  # fmt: skip


def injection_for(mode, references, dtype=torch.float32):
    weights = torch.zeros(2, 2, 32, 48)
    weights[0, :, 5:21, 9:30] = 1
    weights[1] = 1 - weights[0]
    rows = {4: [[0, 1], [2, 3]], 3: [[0, 1], [2, 2]], 1: [[0, 0], [0, 0]]}[references]
    return make_injection(
        mode, 1.0, generated=4, layer_rows=np.array(rows), weights=weights, latent_size=(8, 12), levels=2,
        dtype=dtype,
    )  # fmt: skip


def call(unet, rows):
    generator = torch.Generator().manual_seed(0)
    latents, text = (
        torch.randn(rows, 4, 8, 12, generator=generator).to(unet.dtype),
        torch.randn(rows, 3, 8, generator=generator).to(unet.dtype),
    )
    with torch.inference_mode():
        return unet(latents, 400, encoder_hidden_states=text, return_dict=False)[0]


@pytest.mark.parametrize("references", [4, 3, 1])
@pytest.mark.parametrize("blocks", BLOCKS, ids="+".join)
@pytest.mark.parametrize("mode", ["mosaic", "concat", "replace"])
def test_generation_rows_are_the_same(make_unet, mode, blocks, references):
    """In float64: products over fewer rows may move last bits, by how much depends on processor and
    threads.
    """
    unet = make_unet(**EVERYWHERE).double()
    modules, injection = select(unet, blocks), injection_for(mode, references, torch.float64)
    with injected(modules, injection):
        whole = call(unet, 4 + references)
    with early_exit(unet, modules, injection, references):
        ended = call(unet, 4 + references)
    assert ended.shape[0] == 4
    assert ended.dtype == torch.float64 and torch.allclose(ended, whole[:4], rtol=0, atol=1e-10)


@pytest.mark.parametrize("blocks", BLOCKS, ids="+".join)
def test_nothing_after_the_last_injected_attention_runs_on_reference_rows(make_unet, blocks):
    """By hooks on every leaf module: until the keys and values of that attention all rows, from
    then on the generation's.
    """
    unet = make_unet(**EVERYWHERE)
    modules, ran = select(unet, blocks), []
    for name, module in unet.named_modules():
        if (
            not list(module.children())
            and "time" not in name
            and not isinstance(module, torch.nn.SiLU)
        ):
            module.register_forward_hook(
                lambda m, args, out, name=name: ran.append((name, len(out)))
            )
    injection = injection_for("mosaic", 3)
    with early_exit(unet, modules, injection, 3):
        call(unet, 7)
    last = max(
        i
        for i, (name, _) in enumerate(ran)
        if name.rpartition(".")[0] in modules and name.endswith("to_v")
    )
    assert {rows for _, rows in ran[: last + 1]} == {7}
    assert {rows for _, rows in ran[last + 1 :]} == {4}


def test_the_model_is_as_it_was_even_after_a_failure(make_unet):
    unet = make_unet(**EVERYWHERE)
    plain = call(unet, 5)
    processors = dict(unet.attn_processors)
    with (
        pytest.raises(ZeroDivisionError),
        early_exit(unet, select(unet, ["mid"]), injection_for("mosaic", 1), 1),
    ):
        call(unet, 5)
        raise ZeroDivisionError
    assert unet.attn_processors == processors
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in unet.modules())
    assert torch.equal(call(unet, 5), plain)
