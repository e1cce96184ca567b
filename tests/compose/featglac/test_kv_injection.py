"""The exact properties of injection (method.md, section 2), on the U-Net call and on whole
compositions.
"""

import math
from contextlib import contextmanager

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler

from raydepth.compose.featglac.kv import FeatGLaC
from raydepth.diffusion.attention import (
    gathered_attention,
    injected,
    make_injection,
    mosaic,
    select,
)
from raydepth.diffusion.sampler import seeded_noise
from raydepth.diffusion.token_masks import VISIBLE, pool
from raydepth.errors import JobError

MODES = ["mosaic", "concat", "replace"]


def layer_weights(kind, frames=2, height=32, width=48):
    """float32 [2,N,H,W]: two layers."""
    near = torch.zeros(frames, height, width)
    if kind == "hard":
        near[:, 5:21, 9:30] = 1  # off the token grid, so pooled cells are fractions
    elif kind == "soft":
        near = torch.rand(near.shape, generator=torch.Generator().manual_seed(0))
    elif kind == "full":
        near += 1
    elif kind == "half":
        near += 0.5
    return torch.stack([near, 1 - near])


def injection_for(mode, weight, weights, dtype=torch.float32):
    return make_injection(
        mode, weight, generated=2, layer_rows=np.array([[0, 1], [2, 3]]), weights=weights, latent_size=(8, 12), levels=2,
        dtype=dtype,
    )  # fmt: skip


@contextmanager
def always(unet, injection):
    with torch.inference_mode(), injected(select(unet, ["down", "up", "mid"]), injection):
        yield


def call(unet, latents):
    text = torch.randn(1, 3, 8, generator=torch.Generator().manual_seed(1)).expand(
        len(latents), -1, -1
    )
    with torch.inference_mode():
        return unet(
            latents.to(unet.dtype),
            400,
            encoder_hidden_states=text.to(unet.dtype),
            return_dict=False,
        )[0]


def latents(rows, seed=0):
    return torch.randn(rows, 4, 8, 12, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("weight", [1.0, 0.3])
@pytest.mark.parametrize("masks", ["hard", "soft", "full", "empty"])
def test_mosaic_of_equal_lanes_is_plain_attention_bit_for_bit(make_unet, masks, weight):
    torch.set_num_threads(1)  # more cut a product over its rows, and equal rows may differ
    unet, equal = make_unet(), latents(2).repeat(3, 1, 1, 1)
    plain, injection = call(unet, equal), injection_for("mosaic", weight, layer_weights(masks))
    tokens = torch.randn(2, 96, 5, generator=torch.Generator().manual_seed(0)).repeat(3, 1, 1)
    mixed = tokens.clone()
    mosaic(mixed, injection)
    assert torch.equal(mixed, tokens)
    if not torch.equal(plain, plain[:2].repeat(3, 1, 1, 1)):
        pytest.skip("equal rows of one product differ in their last bits on this processor")
    with always(unet, injection):
        assert torch.equal(call(unet, equal), plain)


@pytest.mark.parametrize(
    ("mode", "masks"),
    [("mosaic", "hard"), ("mosaic", "soft")]
    + [(mode, masks) for mode in MODES for masks in ("full", "empty", "half")],
)
def test_equal_lanes_are_plain_attention_where_queries_see_every_position_equally_often(
    make_unet, mode, masks
):
    """In float64: a sum over twice or three times as many keys is rounded otherwise, and the model
    carries that on.
    """
    unet, equal = make_unet().double(), latents(2).repeat(3, 1, 1, 1)
    plain = call(unet, equal)
    with always(unet, injection_for(mode, 1.0, layer_weights(masks), torch.float64)):
        assert torch.allclose(call(unet, equal), plain, rtol=0, atol=1e-10)


@pytest.mark.parametrize("mode", MODES)
def test_reference_lanes_are_unchanged_and_generation_lanes_are_not(make_unet, mode):
    unet, different = make_unet(), latents(6)
    plain = call(unet, different)
    with always(unet, injection_for(mode, 1.0, layer_weights("hard"))):
        result = call(unet, different)
    assert torch.allclose(result[2:], plain[2:], atol=1e-6)
    assert (result[:2] - plain[:2]).abs().max() > 1e-3


@pytest.mark.parametrize("masks", ["hard", "soft", "full", "empty"])
@pytest.mark.parametrize(
    ("mode", "weight"), [("concat", 1.0), ("concat", 0.25), ("replace", 1.0), ("replace", 0.5)]
)
def test_gathered_attention_equals_dense_masked_attention(mode, weight, masks):
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(
        3, 4 + 4, 2, 24, 8, generator=generator
    )  # two generation lanes of two frames
    weights = layer_weights(masks)
    injection = make_injection(
        mode, weight, generated=4, layer_rows=np.array([[0, 1], [2, 3]]), weights=weights, latent_size=(4, 6), levels=1,
        dtype=torch.float32,
    )  # fmt: skip
    result = gathered_attention(query, key, value, injection)
    visible = pool(weights, (4, 6)) >= VISIBLE
    for row in range(4):
        n = row % 2
        keys = torch.cat([key[row], key[4 + n], key[6 + n]], 1)
        values = torch.cat([value[row], value[4 + n], value[6 + n]], 1)
        bias = torch.full((24, 72), -math.inf)
        if mode == "concat":
            bias[:, :24] = 0
        for k in range(2):
            seen = visible[k, n][:, None] & visible[k, n][None]
            bias[:, 24 * (k + 1) : 24 * (k + 2)][seen] = math.log(weight)
        dense = F.scaled_dot_product_attention(query[row], keys, values, attn_mask=bias)
        assert torch.allclose(result[row], dense, atol=1e-5)
    own = F.scaled_dot_product_attention(query[4:], key[4:], value[4:])
    assert torch.allclose(result[4:], own, atol=1e-6)


def test_mosaic_mixes_keys_and_values_by_share(make_unet):
    weights = layer_weights("soft")
    injection = injection_for("mosaic", 0.4, weights)
    x = torch.randn(6, 96, 5, generator=torch.Generator().manual_seed(0))
    share = pool(weights, (8, 12))[..., None]
    expected = 0.6 * x[:2] + 0.4 * (share[0] * x[2:4] + share[1] * x[4:6])
    references = x[2:].clone()
    mosaic(x, injection)
    assert torch.allclose(x[:2], expected, atol=1e-6)
    assert torch.equal(x[2:], references)


def test_processors_are_selected_by_name_and_restored(make_unet):
    unet = make_unet()
    assert list(select(unet, ["up"])) == [
        "up_blocks.1.attentions.0.transformer_blocks.0.attn1", "up_blocks.1.attentions.1.transformer_blocks.0.attn1",
    ]  # fmt: skip
    assert len(select(unet, ["down", "mid", "up", "up_blocks.1"])) == 4
    before = dict(unet.attn_processors)
    modules = select(unet, ["up_blocks.1.attentions.1"])
    with (
        pytest.raises(ZeroDivisionError),
        injected(modules, injection_for("mosaic", 1.0, layer_weights("hard"))),
    ):
        changed = [
            name
            for name, processor in unet.attn_processors.items()
            if processor is not before[name]
        ]
        assert changed == ["up_blocks.1.attentions.1.transformer_blocks.0.attn1.processor"]
        raise ZeroDivisionError
    assert unet.attn_processors == before


@pytest.mark.parametrize("block", ["up_blocks.0", "up_blocks.10", "sideways"])
def test_blocks_without_self_attention_are_a_job_error(make_models, make_compose, block):
    with pytest.raises(JobError, match=r"compose\.inject\.blocks: .*mid_block"):
        FeatGLaC(make_models(), make_compose(inject={"blocks": [block]}))


# Whole compositions.


@pytest.mark.parametrize(
    ("mode", "sampler", "guidance"),
    [
        ("mosaic", "ddim", 1.0), ("mosaic", "dpm++", 2.0), ("concat", "dpm++", 1.0),
        ("concat", "lcm", 2.0), ("replace", "ddim", 2.0), ("replace", "lcm", 1.0),
    ],
)  # fmt: skip
def test_batch_equals_singles_and_permutes(
    make_models, make_compose, make_plan, mode, sampler, guidance
):
    compositor = FeatGLaC(
        make_models(),
        make_compose(sampler=sampler, guidance=guidance, inject={"mode": mode}, blend=True),
    )
    plan, source, seeds = make_plan(frames=3, planes=2, soft=True)
    together = compositor.generate(plan, source, seeds)
    assert together.shape == (3, 3, 32, 48)
    for n in range(3):
        row = np.array([n])
        assert torch.allclose(
            together[row], compositor.generate(plan.take(row), source[row], seeds[row]), atol=1e-5
        )
    order = np.array([2, 0, 1])
    permuted = compositor.generate(plan.take(order), source[order], seeds[order])
    assert torch.allclose(permuted, together[order], atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_a_different_layer_gives_a_different_picture(make_models, make_compose, make_plan, mode):
    compositor = FeatGLaC(make_models(), make_compose(inject={"mode": mode}))
    plan, source, seeds = make_plan()
    before = compositor.generate(plan, source, seeds)
    # A far picture that changes only where the near layer hides it: the composite, hence the start,
    # stays as it is.
    hidden = plan.stack.layers[0].alpha == 1
    plan.stack.layers[-1].rgb[hidden] = 255 - plan.stack.layers[-1].rgb[hidden]
    after = compositor.generate(plan, source, seeds)
    assert (before - after).abs().max() > 1e-3
    off = FeatGLaC(make_models(), make_compose(inject={"mode": mode, "weight": 0.0})).generate(
        plan, source, seeds
    )
    assert (after - off).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("mode", "vae"),
    [("mosaic", "AutoencoderKL"), ("concat", "AutoencoderTiny"), ("replace", "AutoencoderTiny")],
)
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_empty_and_full_masks_are_finite_and_odd_sizes_come_back(
    make_models, make_compose, make_plan, mode, alpha, vae
):
    compositor = FeatGLaC(
        make_models(vae),
        make_compose(inject={"mode": mode, "weight": 0.7}, guidance=2.0, blend=True),
    )
    plan, source, seeds = make_plan(height=37, width=51)
    plan.stack.layers[0].alpha[:] = alpha
    plan.region[:] = alpha
    assert compositor.generate(plan, source, seeds).isfinite().all()
    edited = compositor(plan, source, seeds)
    assert edited.shape == source.shape and edited.dtype == np.uint8
    assert compositor.notes == ["", ""] and not compositor.failed.any()


def test_guidance_uses_both_embeddings(make_models, make_compose, make_plan):
    models, scene = make_models(), make_plan()
    one, two, three = (
        FeatGLaC(models, make_compose(guidance=g)).generate(*scene) for g in (1.0, 2.0, 3.0)
    )
    assert min((one - two).abs().max(), (two - three).abs().max()) > 1e-3


def test_noise_belongs_to_the_seed_alone(make_models, make_compose, make_plan):
    compositor = FeatGLaC(make_models(), make_compose())
    plan, source, _ = make_plan()
    same = np.array([0, 0])
    result = compositor.generate(plan.take(same), source[same], np.array([5, 5]))
    assert torch.allclose(result[0], result[1], atol=1e-5)
    other = compositor.generate(plan.take(same), source[same], np.array([5, 6]))
    assert torch.allclose(other[0], result[0], atol=1e-5)
    assert (other[1] - result[1]).abs().max() > 1e-3


@pytest.mark.parametrize("sampler", ["ddim", "dpm++", "lcm"])
def test_references_are_renoised_with_the_frames_own_noise(
    make_models, make_compose, make_plan, sampler
):
    models = make_models()
    plan, source, seeds = make_plan(frames=1)
    called = []
    models.unet.register_forward_pre_hook(lambda module, arguments: called.append(arguments[:2]))
    FeatGLaC(models, make_compose(sampler=sampler, blend=True)).generate(plan, source, seeds)
    clean = models.codec.encode(np.concatenate([layer.rgb for layer in plan.stack.layers]))
    noise, _ = seeded_noise(seeds, clean.shape[1:])
    alphas = DDIMScheduler.from_config(models.scheduler_config).alphas_cumprod
    assert len(called) == 3
    for lanes, t in called:
        expected = alphas[t].sqrt() * clean + (1 - alphas[t]).sqrt() * noise
        assert torch.allclose(lanes[1:], expected, atol=1e-4)


def test_blend_keeps_latents_outside_the_region(make_models, make_compose, make_plan):
    models = make_models()
    plan, source, seeds = make_plan()
    plan.region[:] = 0
    kept = FeatGLaC(models, make_compose(blend=True)).generate(plan, source, seeds)
    assert torch.allclose(kept, models.codec.decode(models.codec.encode(source)), atol=1e-5)
    plan.region[:] = 1
    free = FeatGLaC(models, make_compose(blend=True)).generate(plan, source, seeds)
    assert torch.equal(
        free, FeatGLaC(models, make_compose(blend=False)).generate(plan, source, seeds)
    )


def test_float16_overflow_is_repeated_in_float32_and_noted(make_models, make_compose, make_plan):
    models = make_models()
    models.unet.conv_in.weight.mul_(2e4)
    plan, source, seeds = make_plan()
    source[0] = 128
    expected = FeatGLaC(models, make_compose())(plan, source, seeds)
    models.unet.half()
    compositor = FeatGLaC(models, make_compose())
    assert not compositor.generate(plan, source, seeds).isfinite().all()
    edited = compositor(plan, source, seeds)
    assert not compositor.failed.any()
    assert "composed in float32 after float16 overflow" in compositor.notes
    assert models.unet.dtype == torch.float16 and models.codec.vae.dtype == torch.float32
    assert np.abs(edited.astype(int) - expected).max() <= 2


def test_a_picture_that_stays_non_finite_is_failed(make_models, make_compose, make_plan):
    models = make_models()
    models.unet.conv_out.bias.fill_(float("nan"))
    compositor = FeatGLaC(models, make_compose())
    compositor(*make_plan())
    assert compositor.failed.all()
