"""Counts the U-Net lanes of each recipe of ``featglac-kv``, and what makes lanes cheaper.

They are counted by hooks, and compared with the table in raydepth/README.md, "Cost in U-Net
evaluations".

    python -m benchmarks.lanes [--sizes 256 512] [--real 256]    a minute or two, two idle cores

Lanes do not depend on the U-Net's size, so they are counted on a tiny one. Savings are measured on
the topology of Stable Diffusion 1.5 with random weights: operations by PyTorch's counter on shapes
alone, seconds and differences in bfloat16 on this machine's CPU. Prints tables and keeps them in
benchmarks/results/lanes.json.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from benchmarks.grad_lanes import tiny_models
from raydepth.compose.featglac.kv import FeatGLaC
from raydepth.compose.featglac.settings import FeatGLaCKV
from raydepth.compose.registry import count_evaluations
from raydepth.diffusion.attention import injected, make_injection, select
from raydepth.diffusion.early_exit import early_exit
from raydepth.diffusion.lane_count import counted_lanes
from raydepth.diffusion.settings import Sampling
from raydepth.edits.plan import EditPlan
from raydepth.layers.fill.diffusion import DiffusionFiller
from raydepth.layers.stack import Layer, LayerStack
from raydepth.output.record import environment

SD15 = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}
"""What differs from diffusers' defaults in the U-Net of Stable Diffusion 1.5."""
SD15_VAE = {
    "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "norm_num_groups": 32,
    "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
}  # fmt: skip

RECIPES = [
    ("kv, 20 steps, CFG on gen", {"steps": 20, "strength": 1.0, "guidance": 7.5}, 80),
    ("kv, 10 of 20 steps, no CFG", {"steps": 20, "strength": 0.5}, 30),
    ("kv, LCM 8 steps, no CFG", {"steps": 8, "strength": 1.0, "sampler": "lcm"}, 24),
    ("kv, LCM 4 steps, no CFG", {"steps": 4, "strength": 1.0, "sampler": "lcm"}, 12),
    (
        "kv, 10 of 20, window 0..0.5",
        {"steps": 20, "strength": 0.5, "inject": {"window": [0.0, 0.5]}},
        None,
    ),
]
TIMED = [["up"], ["up_blocks.1"]]
BLOCKS = [["up"], ["up_blocks.1", "up_blocks.2"], ["up_blocks.1"], ["mid"], ["down"]]


def operations_counter() -> FlopCounterMode:
    """PyTorch's counter, which by itself leaves out the CPU's fused attention."""

    def attention(
        query: torch.Size, key: torch.Size, value: torch.Size, *_: object, **__: object
    ) -> int:
        return sdpa_flop_count(query, key, value)

    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return FlopCounterMode(display=False, custom_mapping={fused: attention})


def plan_of(frames: int, still: bool) -> tuple[EditPlan, np.ndarray]:
    """Discs over a far picture, the same in all frames where the camera is still."""
    rng = np.random.default_rng(0)
    source, far = rng.integers(0, 256, (2, frames, 16, 16, 3), np.uint8)
    alpha = np.zeros((frames, 16, 16), np.float32)
    alpha[:, 4:12, 4:12] = 1
    plate = np.repeat(far[:1], frames, 0) if still else None
    layers = [
        Layer("near", source, alpha, alpha),
        Layer("far", far, np.ones_like(alpha), 0 * alpha, plate),
    ]
    return EditPlan(LayerStack(layers), alpha), source


def recipe_lanes(frames: int = 8) -> list[dict[str, Any]]:
    """Lanes a frame that ran, for every recipe, without and with a far lane that a batch of frames
    shares.
    """
    rows: list[dict[str, Any]] = []
    for name, settings, expected in RECIPES:
        compose = FeatGLaCKV.model_validate(settings)
        row: dict[str, Any] = {
            "recipe": name,
            "expected": expected,
            "count_lanes": count_evaluations(compose, 2),
        }
        for key, count, still in (("lanes", 1, False), ("lanes_shared_far", frames, True)):
            compositor = FeatGLaC(tiny_models(), compose)
            plan, source = plan_of(count, still)
            with counted_lanes(compositor.models.unet) as ran:
                compositor.generate(plan, source, np.zeros(count, np.int64))
            row[key] = ran.forward / count
        rows.append(row)
    settings = {"steps": 20, "strength": 1.0, "guidance": 7.5}
    models = tiny_models()
    with counted_lanes(models.unet) as ran:
        hole = np.zeros((16, 16), bool)
        hole[4:12, 4:12] = True
        DiffusionFiller(models, Sampling.model_validate(settings), 0)(
            np.zeros((16, 16, 3), np.uint8), hole
        )
    rows.append(
        {
            "recipe": "diffusion hole fill, 20 steps, CFG",
            "expected": 40,
            "lanes": float(ran.forward),
        }
    )
    return rows


def call(
    unet: UNet2DConditionModel, size: int, blocks: list[str], *, exits: bool, references: int = 2
) -> torch.Tensor:
    """One U-Net call of a generation lane and its reference lanes on pictures of this size; the
    generation row.
    """
    side = size // 8
    rows = 1 + references
    latents, text = (
        torch.randn(rows, 4, side, side).to(unet.dtype),
        torch.randn(rows, 77, 768).to(unet.dtype),
    )
    weights = torch.zeros(2, 1, size, size)
    weights[0, :, size // 4 : size // 2, size // 4 : size // 2] = 1
    weights[1] = 1 - weights[0]
    modules = select(unet, blocks)
    injection = make_injection(
        "mosaic",
        1.0,
        generated=1,
        layer_rows=np.array([[0], [1]]),
        weights=weights,
        latent_size=(side, side),
        levels=4,
        dtype=unet.dtype,
    )
    context = (
        early_exit(unet, modules, injection, references) if exits else injected(modules, injection)
    )
    with torch.inference_mode(), context:
        return unet(latents, 400, encoder_hidden_states=text, return_dict=False)[0][:1]


def early_exit_savings(sizes: list[int], real_size: int | None) -> list[dict]:
    """Cost of a reference lane that exits after the last injected attention, over a whole lane."""
    rows: list[dict[str, Any]] = []
    torch.set_default_dtype(torch.bfloat16)
    real = (
        UNet2DConditionModel.from_config(SD15).eval().requires_grad_(False) if real_size else None
    )
    torch.set_default_dtype(torch.float32)
    with FakeTensorMode():
        fake = UNet2DConditionModel.from_config(SD15).eval().requires_grad_(False)
    for size in sizes:
        for blocks in BLOCKS:
            row: dict = {"size": size, "blocks": "+".join(blocks)}
            flops = {}
            for exits in (False, True):
                with FakeTensorMode(allow_non_fake_inputs=True), operations_counter() as counter:
                    call(fake, size, blocks, exits=exits)
                flops[exits] = counter.get_total_flops()
            lane = flops[False] / 3
            row |= {
                "tflop_a_lane": lane / 1e12,
                "reference_lane": (flops[True] - lane) / (2 * lane),
            }
            row["operations"] = flops[True] / flops[False]
            line = (
                f"{size:5} {row['blocks']:26}{row['tflop_a_lane']:8.3f}"
                f"{row['reference_lane']:11.3f}{row['operations']:10.3f}"
            )
            if real is not None and size == real_size and blocks in TIMED:
                row |= _timed(real, size, blocks)
                line += (
                    f"{row['time']:8.3f}{row['seconds_whole']:9.2f}"
                    f"{row['largest_difference']:13.2g}"
                )
            rows.append(row)
            print(line, flush=True)
    return rows


def _timed(unet: UNet2DConditionModel, size: int, blocks: list[str]) -> dict:
    results, seconds = {}, {}
    call(unet, size, blocks, exits=True)
    for exits in (False, True):
        torch.manual_seed(0)
        began = time.perf_counter()
        results[exits] = call(unet, size, blocks, exits=exits)
        seconds[exits] = time.perf_counter() - began
    return {
        "seconds_whole": seconds[False],
        "seconds_early_exit": seconds[True],
        "time": seconds[True] / seconds[False],
        "largest_difference": float((results[True] - results[False]).abs().max()),
        "load": os.getloadavg()[0],
    }


def plate_saving(size: int) -> dict:
    """Operations of encoding a plate in every batch of 8, of those of the batch's lanes (10 of 20
    steps, shared far lane).
    """
    with FakeTensorMode(), torch.no_grad():
        vae = AutoencoderKL.from_config(SD15_VAE).eval()
        with operations_counter() as counter:
            vae.encode(torch.empty(1, 3, size, size))
    return {"size": size, "tflop_encode": counter.get_total_flops() / 1e12}


def main() -> None:
    """Measures, prints and stores."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument(
        "--real", type=int, default=256, help="size of the calls that are timed; 0: none"
    )
    arguments = parser.parse_args()
    sizes = arguments.sizes
    recipes = recipe_lanes()
    print(f"{'lanes a frame':36}{'expected':>10}{'counted':>9}{'shared far lane, batch of 8':>30}")
    for row in recipes:
        shared = f"{row['lanes_shared_far']:.2f}" if "lanes_shared_far" in row else ""
        print(f"{row['recipe']:36}{row['expected'] or '':>10}{row['lanes']:9.0f}{shared:>30}")
    print("\nreference lanes that end, two of three lanes of a call (SD 1.5, random weights):")
    print(
        f"{'size':>5} {'injected':26}{'TFLOP':>8}{'ref. lane':>11}{'call ops':>10}"
        f"{'time':>8}{'seconds':>9}{'difference':>13}"
    )
    exits = early_exit_savings(sizes, arguments.real)
    plates = [plate_saving(size) for size in sizes]
    for row in plates:
        print(
            f"encoding a plate at {row['size']}: {row['tflop_encode']:.2f} TFLOP, once a clip "
            "instead of once a batch"
        )
    result = {
        "recipes": recipes,
        "early_exit": exits,
        "plate": plates,
        "environment": environment(),
    }
    file = Path(__file__).parent / "results" / "lanes.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
