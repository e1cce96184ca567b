"""Trains the built-in inpainting model: the diffusion model's U-Net, which now also sees the hole
and the picture without it.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import UNet2DConditionModel

from raydepth.layers.fill.hole import find_hole
from raydepth.layers.fill.opencv import OpenCVFiller
from raydepth.models.builtin.codec import BlockDCT
from raydepth.training.data import Cache, crop
from raydepth.training.diffusion import LAST_STEP, build_scheduler, develop, draw_picture, save
from raydepth.training.loop import Budget, train

_USUAL = (50, 400)
"""Timesteps of six pictures in seven: filling starts from a rough fill, and a step or two lead to
the end."""

_LARGEST = 0.65
"""Largest share of a picture that is cut out."""

_SIMILARITY = 0.25
"""Weight of 1 - SSIM beside the root mean square error of colours in 0..1."""


def widen(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """Gives a U-Net of C input channels 2 C + 1: latents, mask, the masked picture's latents; at
    first it ignores the new.
    """
    channels = unet.config.in_channels
    wide = UNet2DConditionModel.from_config(unet.config, in_channels=2 * channels + 1)
    weights = unet.state_dict()
    first = torch.zeros_like(wide.conv_in.weight)
    first[:, :channels] = weights["conv_in.weight"]
    wide.load_state_dict(weights | {"conv_in.weight": first})
    return wide


def draw_hole(
    scenes: Cache, fills: Cache, side: int, generator: torch.Generator
) -> tuple[torch.Tensor, np.ndarray]:
    """Draws a picture and a hole of which the picture knows what is in it.

    Two of three pictures are true fills, half of these under their own near things' silhouettes;
    all others are under those of another picture. For scenes the silhouette of three is taken that
    covers the scene's own near things least, as these are what a fill must not paint.

    Returns:
        The picture float32 [3, side, side] in -1..1, the hole bool [side, side].
    """
    while True:
        kind, which, whose, gamma, tint, grow = torch.rand(6, generator=generator).tolist()
        others = torch.randint(len(fills), (3,), generator=generator).tolist()
        inverse = None
        if kind < 0.66:
            rgb, own = fills[int(which * len(fills))]
            both = crop(torch.cat([rgb, own]), side, generator, smallest=0.6)
            picture, near = develop(both[:3], gamma, tint), both[3:]
        else:
            picture, inverse = draw_picture(scenes, side, generator)
        if kind >= 0.66 or whose < 0.5:
            shapes = [crop(fills[other][1], side, generator, smallest=0.6) for other in others]
            near = shapes[0]
            if inverse is not None:
                near = min(
                    shapes, key=lambda shape: float((shape * inverse).sum() / (shape.sum() + 1))
                )
        hole = find_hole((near[0] > 0.5).numpy(), round(side / 128 * (2 + 9 * grow)))
        if 0.03 < hole.mean() < _LARGEST:
            return picture, hole


def fill_roughly(
    picture: torch.Tensor, hole: np.ndarray, generator: torch.Generator
) -> torch.Tensor:
    """Fills the hole as what precedes the model does: mostly `telea`, sometimes worse, sometimes
    better.

    Args:
        picture: float32 [3, H, W] in -1..1; its hole is not looked at but for the better fills.
        hole: bool [H, W].
        generator: Source of chance.
    """
    kind, share = torch.rand(2, generator=generator).tolist()
    known = torch.from_numpy(~hole)
    if kind < 0.06:
        guess = picture[:, known].mean(1)[:, None, None].expand_as(picture)
    else:
        rgb = ((picture + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()
        filler = OpenCVFiller(cv2.INPAINT_NS if kind < 0.14 else cv2.INPAINT_TELEA, 5.0)
        guess = (
            torch.from_numpy(filler(np.ascontiguousarray(rgb), hole)).permute(2, 0, 1) / 127.5 - 1
        )
        if kind > 0.92:
            guess = torch.lerp(guess, picture, share)
    return torch.where(known, picture, guess)


def similarity(pictures: torch.Tensor, truths: torch.Tensor) -> torch.Tensor:
    """SSIM (Wang et al. 2004) at every position whose 11 x 11 window is inside, [N, 3, H - 10, W -
    10]; pictures are -1..1.
    """
    ticks = torch.arange(-5.0, 6.0)
    kernel = torch.exp(-(ticks**2) / (2 * 1.5**2))
    kernel = (kernel / kernel.sum()).expand(15, 1, 1, 11)
    x, y = (pictures + 1) / 2, (truths + 1) / 2
    stack = torch.cat([x, y, x * x, y * y, x * y], 1)
    stack = torch.nn.functional.conv2d(stack, kernel, groups=15)
    stack = torch.nn.functional.conv2d(stack, kernel.transpose(2, 3), groups=15)
    mean_x, mean_y, square_x, square_y, product = stack.chunk(5, 1)
    both = mean_x * mean_y
    squares = mean_x**2 + mean_y**2
    luminance = (2 * both + 1e-4) / (squares + 1e-4)
    return luminance * (2 * (product - both) + 9e-4) / (square_x + square_y - squares + 9e-4)


def run(
    data: Path, fills: Path, start: Path, out: Path, budget: Budget, *, resume: bool, seed: int = 0
) -> None:
    """Trains on true fills and scenes; writes `out/inpaint` (the model) and `out/inpaint-training`
    (checkpoint and log).

    A picture whose hole is filled roughly is noised, and the U-Net's velocity v at that level says
    what the clean one is, a x_t - s v with a^2 + s^2 = 1: as in image-to-image, but what is to come
    out is the truth and not the rough fill. The loss is the root mean square error of colours in
    the hole and some of 1 - SSIM there, each picture counting the same.

    Args:
        data: Folder of scenes made by `raydepth.training.data.build`.
        fills: Folder of true fills made by it.
        start: A diffusers folder, whose U-Net it starts from and whose codec it keeps.
        out: Where to write.
        budget: How long and how fast.
        resume: Go on from the last checkpoint.
        seed: Of every draw.
    """
    scenes, true_fills = Cache(data), Cache(fills, "near")
    codec = BlockDCT.from_pretrained(start, subfolder="vae", use_safetensors=True)
    unet = widen(
        UNet2DConditionModel.from_pretrained(
            start, subfolder="unet", dtype=torch.float32, use_safetensors=True
        )
    ).to(memory_format=torch.channels_last)
    alphas = build_scheduler().alphas_cumprod

    def loss_of(network: torch.nn.Module, step: int, progress: float) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        side, batch = (128, 8) if step % 8 else (192, 4)
        drawn = [draw_hole(scenes, true_fills, side, generator) for _ in range(batch)]
        truth = torch.stack([picture for picture, _ in drawn])
        rough = torch.stack([fill_roughly(picture, hole, generator) for picture, hole in drawn])
        hole = torch.stack([torch.from_numpy(hole) for _, hole in drawn])[:, None].float()
        noise = torch.randn(
            batch, codec.config.latent_channels, side // 4, side // 4, generator=generator
        )
        times = torch.where(
            torch.rand(batch, generator=generator) < 1 / 7,
            torch.randint(LAST_STEP, (batch,), generator=generator),
            torch.randint(*_USUAL, (batch,), generator=generator),
        )
        alpha = alphas[times].view(-1, 1, 1, 1)
        noisy = (
            alpha.sqrt() * codec.encode(rough, return_dict=False)[0] + (1 - alpha).sqrt() * noise
        )
        # As DiffusionFiller has it: a cell is in the hole when its first pixel is.
        cells = torch.nn.functional.interpolate(hole, noise.shape[2:])
        seen = torch.cat([noisy, cells, codec.encode(truth * (1 - hole), return_dict=False)[0]], 1)
        with torch.autocast("cpu", torch.bfloat16):
            velocity = network(
                seen.contiguous(memory_format=torch.channels_last),
                times,
                encoder_hidden_states=torch.zeros(batch, 1, 32),
            ).sample
        clean = alpha.sqrt() * noisy - (1 - alpha).sqrt() * velocity.float()
        picture = torch.lerp(truth, codec.decode(clean, return_dict=False)[0], hole)
        area = hole.sum((1, 2, 3))
        error = ((picture - truth) ** 2).sum((1, 2, 3)) / (3 * 4 * area)
        inner = hole[..., 5:-5, 5:-5]
        unlike = ((1 - similarity(picture, truth)) * inner).sum((1, 2, 3)) / (
            3 * inner.sum((1, 2, 3)) + 1
        )
        return ((error + 1e-5).sqrt() + _SIMILARITY * unlike).mean()

    train(
        unet,
        loss_of,
        out / "inpaint-training",
        budget,
        resume=resume,
        export=lambda averaged, effort: save(
            averaged,
            codec,
            out / "inpaint",
            {**effort, "pictures": len(scenes), "fills": len(true_fills), "seed": seed},
            "StableDiffusionInpaintPipeline",
        ),
        exported=out / "inpaint",
    )
