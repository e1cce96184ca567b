"""The memory estimate: shapes alone give what real tensors give, and what PyTorch's allocator
counts, within 15 percent.
"""

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

from raydepth.compose.featglac.grad import FeatGLaCGrad
from raydepth.compose.featglac.memory import guided_step
from raydepth.compose.featglac.settings import FeatGLaCGrad as Settings
from raydepth.diffusion.codec import Codec
from raydepth.diffusion.load import Models
from raydepth.diffusion.memory import LiveBytes, peak_bytes
from raydepth.diffusion.sampler import Condition
from raydepth.edits.plan import EditPlan
from raydepth.layers.stack import Layer, LayerStack
from raydepth.run.memory import job_memory
from tests.support.runs import small_job

UNET = {
    "block_out_channels": (32, 64), "layers_per_block": 1, "cross_attention_dim": 16, "attention_head_dim": 4,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "norm_num_groups": 8,
}  # fmt: skip
VAE = {
    "_class_name": "AutoencoderKL", "block_out_channels": (16, 32), "norm_num_groups": 8,
    "down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2,
}  # fmt: skip


def allocated(step):
    """Peak bytes of PyTorch's CPU allocator while a step runs."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with (
        torch.no_grad(),
        torch.profiler.profile(activities=activities, profile_memory=True) as profile,
    ):
        step()
    events = [
        event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"
    ]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_shapes_alone_give_what_real_tensors_take(batch):
    estimate = peak_bytes(
        UNET,
        VAE,
        dtype=torch.float32,
        height=128,
        width=96,
        lanes=batch,
        pictures=batch,
        frames=batch,
    )
    unet = UNet2DConditionModel.from_config(UNET).eval().requires_grad_(False)
    vae = AutoencoderKL.from_config(VAE).eval().requires_grad_(False)
    assert estimate["weights"] == sum(p.nbytes for model in (unet, vae) for p in model.parameters())
    text = torch.zeros(batch, 77, 16)
    steps = {
        "unet": lambda: unet(
            torch.zeros(batch, 4, 64, 48), 1, encoder_hidden_states=text, return_dict=False
        ),
        "encode": lambda: vae.encode(torch.zeros(batch, 3, 128, 96)),
        "decode": lambda: vae.decode(torch.zeros(batch, 4, 64, 48)),
    }
    for name, step in steps.items():
        with torch.no_grad(), LiveBytes(unet, vae) as live:
            step()
        assert estimate[name] == live.peak, name
        if batch == 2:  # the profiler takes seconds
            real = estimate["weights"] + allocated(step)
            assert abs(estimate["weights"] + estimate[name] - real) < 0.15 * real, name


def test_float16_halves_and_gradients_keep_more():
    def peaks(dtype, references=0):
        return peak_bytes(
            UNET,
            VAE,
            dtype=dtype,
            height=64,
            width=64,
            lanes=2,
            pictures=1,
            frames=1,
            sample=guided_step(2, references) if references else None,
        )

    full, half = peaks(torch.float32), peaks(torch.float16)
    assert half["weights"] * 2 == full["weights"]
    assert abs(half["unet"] * 2 / full["unet"] - 1) < 0.1
    assert peaks(torch.float32, references=4)["unet"] > 2 * full["unet"]
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_gradient_form_takes_what_was_estimated(checkpointing):
    """The compositor as it runs, reference features and loss included, with and without gradient
    checkpointing.
    """
    frames, side = 2, 64
    unet = UNet2DConditionModel.from_config(UNET).eval().requires_grad_(False)
    vae = AutoencoderKL.from_config(VAE).eval().requires_grad_(False)
    text = torch.zeros(1, 77, 16)
    models = Models(unet, Codec(vae), dict(DDIMScheduler().config), Condition(text, text))
    grad = {"recipe": "lite", "steps": 1, "checkpointing": checkpointing}
    compose = Settings.model_validate({"method": "featglac-grad", "grad": grad})
    source = np.random.default_rng(0).integers(0, 256, (frames, side, side, 3), np.uint8)
    alpha = np.zeros((frames, side, side), np.float32)
    alpha[:, 16:48, 16:48] = 1
    layers = [
        Layer("near", source, alpha, alpha),
        Layer("far", source[:, ::-1], np.ones_like(alpha), 0 * alpha),
    ]
    with LiveBytes(unet, vae) as live:
        FeatGLaCGrad(models, compose)(
            EditPlan(LayerStack(layers), alpha), source, np.arange(frames)
        )
    estimate = peak_bytes(
        UNET, VAE, dtype=torch.float32, height=side, width=side, lanes=frames, pictures=2 * frames, frames=frames,
        sample=guided_step(frames, 2 * frames), checkpointing=checkpointing,
    )  # fmt: skip
    assert max(estimate[step] for step in ("encode", "unet", "decode")) == pytest.approx(
        live.peak, rel=0.1
    )


def test_a_jobs_memory(tmp_path):
    def memory(**fields):
        return job_memory(small_job(tmp_path, tmp_path, **fields), 64, 64)

    assert memory() is None
    kv = memory(compose__method="featglac-kv")
    assert kv["peak"] == pytest.approx(
        kv["weights"] + max(kv["encode"], kv["unet"], kv["decode"]), abs=2e-3
    )
    assert memory(compose__method="featglac-kv", run__batch=8)["peak"] > kv["peak"]
    grad = {"method": "featglac-grad", "grad": {"recipe": "lite"}}
    again = {"method": "featglac-grad", "grad": {"recipe": "lite", "checkpointing": True}}
    assert memory(compose=again)["unet"] < 0.7 * memory(compose=grad)["unet"]
    both = memory(compose__method="featglac-kv", layers={"fill": {"method": "diffusion"}})
    assert both["weights"] > 1.9 * kv["weights"], "builtin has one for each"
    assert set(memory(layers={"fill": {"method": "diffusion"}})) == {"weights", "fill", "peak"}
