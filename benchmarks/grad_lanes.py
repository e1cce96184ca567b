"""Counts the U-Net lanes of ``featglac-grad`` by hooks, for each recipe, against the cost table of
method.md.

    python -m benchmarks.grad_lanes

The number of lanes does not depend on the U-Net's size, so a tiny one with random weights runs
(seconds on a CPU).
"""

import numpy as np
import torch
from diffusers import AutoencoderTiny, DDIMScheduler, UNet2DConditionModel

from raydepth.compose.featglac import references
from raydepth.compose.featglac.grad import FeatGLaCGrad
from raydepth.compose.featglac.settings import FeatGLaCGrad as Settings
from raydepth.compose.registry import count_evaluations
from raydepth.diffusion.codec import Codec
from raydepth.diffusion.lane_count import counted_lanes
from raydepth.diffusion.load import Models
from raydepth.diffusion.sampler import Condition
from raydepth.edits.plan import EditPlan
from raydepth.layers.stack import Layer, LayerStack

TABLE = [
    ("composition as published", {"recipe": "composition"}, (1490, 690)),
    (
        "composition, DDIM inversion only",
        {"recipe": "composition", "references": "invert"},
        (390, 190),
    ),
    ("lite", {"recipe": "lite"}, (90, 30)),
    ("insertion as published", {"recipe": "insertion"}, None),
    ("insertion, DDIM inversion only", {"recipe": "insertion", "references": "invert"}, None),
]


def tiny_models() -> Models:
    """A U-Net of the real class with two levels of 8 channels, random weights."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=4, layers_per_block=1, block_out_channels=(8, 8), cross_attention_dim=8, attention_head_dim=2,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        norm_num_groups=4,
    ).eval().requires_grad_(False)  # fmt: skip
    vae = AutoencoderTiny(
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1),
    ).eval().requires_grad_(False)  # fmt: skip
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
    )
    return Models(
        unet,
        Codec(vae),
        dict(scheduler.config),
        Condition(torch.randn(1, 3, 8), torch.randn(1, 3, 8)),
    )


def main() -> None:
    torch.set_num_threads(1)  # tensors this small only wait for each other on more
    references.EARLY_STOP = (
        0.0,
        0.0,
    )  # the table's null-text optimisation takes all its iterations
    rng = np.random.default_rng(0)
    source, far = rng.integers(0, 256, (2, 1, 16, 16, 3), np.uint8)
    alpha = np.zeros((1, 16, 16), np.float32)
    alpha[:, 4:12, 4:12] = 1
    near = Layer("near", source, alpha, alpha)
    stack = LayerStack([near, Layer("far", far, np.ones_like(alpha), 0 * alpha)])
    print(f"{'recipe':34}{'forward':>9}{'backward':>10}   cost table        count_evaluations")
    for name, grad, expected in TABLE:
        compose = Settings.model_validate({"method": "featglac-grad", "grad": grad})
        compositor = FeatGLaCGrad(tiny_models(), compose)
        with counted_lanes(compositor.models.unet) as count:
            compositor.generate(EditPlan(stack, alpha), source, np.zeros(1, np.int64))
        found = (count.forward, count.backward)
        said = (
            "none"
            if expected is None
            else f"{expected[0]}/{expected[1]} {'agrees' if found == expected else 'DIFFERS'}"
        )
        counted = "agrees" if count_evaluations(compose, 2) == sum(found) else "DIFFERS"
        print(f"{name:34}{count.forward:9}{count.backward:10}   {said:18}{counted}")


if __name__ == "__main__":
    main()
