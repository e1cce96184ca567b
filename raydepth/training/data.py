"""Training pictures for the built-in models: rendered scenes in shards, and random crops."""

from __future__ import annotations

import io
import math
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from raydepth.synth.case import Snapshot
from raydepth.synth.random_scene import random_scene
from raydepth.synth.render import World, render_threads
from raydepth.synth.scene import PERIOD
from raydepth.synth.setup import random_setup

SIDE = 192
"""Height and width of the cached pictures in pixels: training crops are of 128 and 192, and
rendering costs what pixels there are."""

SHARD = 250
"""Pictures in a shard."""

_SAMPLES = 16
"""Paths through a pixel: their noise is that of a camera in poor light, which the models are to see
through anyway."""

_FILL_SAMPLES = 6
"""The same for fills: they are learnt as means, and mostly at two thirds of their size."""

MOMENTS = 3
"""Pictures of one scene setup, at times of its clip."""

FIRST_SEED = 1_000_000
"""Training scenes have seeds from here on; evaluation uses seeds below."""


def scene_picture(seed: int, side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """Renders the training picture of a seed: every third scene is calm, the others vary widely.

    Returns:
        rgb uint8 [side, side, 3] (sRGB) and inverse depth float16 [side, side] in 1 / metres.
    """
    scene = random_scene(seed, style="calm" if seed % 3 == 0 else "wide")
    seconds = (seed % 97) / 97 * PERIOD
    world, camera = World(scene.at(seconds)), scene.path.at(seconds)
    rgb = world.colour(camera, (side, side), samples=_SAMPLES)
    return rgb, (1 / world.depth(camera, (side, side))).astype(np.float16)


def fill_picture(number: int, side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """Renders what is behind the near objects of a scene setup, and where these are.

    It is a true fill and its hole.

    Args:
        number: MOMENTS times the setup's seed, and which of its times; making a setup costs more
            than a picture of it.
        side: Height and width in pixels.

    Returns:
        rgb uint8 [side, side, 3] (sRGB), without the near objects but with the shadows they cast;
        bool [side, side].
    """
    seed, time = divmod(number, MOMENTS)
    seen = Snapshot(random_setup(seed, 1.0), time / MOMENTS * PERIOD, (side, side), _FILL_SAMPLES)
    return seen.fill_shadowed(), seen.near


def _write_shard(
    job: tuple[Path, int, Callable[[int], tuple[np.ndarray, np.ndarray]], int, str],
) -> None:
    folder, index, picture, first, extra = job
    render_threads(1)
    pictures = [picture(first + index * SHARD + i) for i in range(SHARD)]
    np.save(folder / f"{index:04d}-{extra}.npy", np.stack([second for _, second in pictures]))
    # Written last and renamed, so that a shard with colours is a whole one.
    temporary = folder / f"{index:04d}-rgb.tmp.npy"
    np.save(temporary, np.stack([rgb for rgb, _ in pictures]))
    temporary.rename(folder / f"{index:04d}-rgb.npy")


def build(folder: Path, *, shards: int, workers: int = 2, fills: bool = False) -> None:
    """Renders the shards that are missing; the same shard number always holds the same pictures.

    Args:
        folder: Where the shards go; made if absent.
        shards: How many shards of SHARD pictures there shall be.
        workers: Processes, each with one thread.
        fills: Render `fill_picture`s and not `scene_picture`s.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kind = (
        (fill_picture, MOMENTS * FIRST_SEED, "near")
        if fills
        else (scene_picture, FIRST_SEED, "inv")
    )
    jobs = [
        (folder, index, *kind)
        for index in range(shards)
        if not (folder / f"{index:04d}-rgb.npy").exists()
    ]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for _ in pool.imap_unordered(_write_shard, jobs):
            pass


class Cache:
    """The shards that `build` has finished so far, mapped into memory."""

    def __init__(self, folder: Path, extra: str = "inv") -> None:
        """Opens the finished shards in `folder`.

        Args:
            folder: That `build` wrote.
            extra: What was kept with the colours: `inv` of scenes, `near` of fills.

        Raises:
            FileNotFoundError: There is none.
        """
        names = sorted(folder.glob("*-rgb.npy"))
        if not names:
            raise FileNotFoundError(
                f"{folder} holds no finished shard (*-rgb.npy): run `python -m raydepth.training "
                "data`"
            )
        self._rgb = [np.load(name, mmap_mode="r") for name in names]
        self._extra = [
            np.load(str(name).replace("-rgb", f"-{extra}"), mmap_mode="r") for name in names
        ]

    def __len__(self) -> int:
        return len(self._rgb) * SHARD

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns one picture, rgb float32 [3, H, W] in 0..1, and its extra channel [1, H, W].

        The extra channel, float32, is inverse depth in 1 / metres of a scene; of a fill it is 1
        where the near objects are. H = W = SIDE unless an earlier version rendered the shard.
        """
        shard, row = divmod(index, SHARD)
        rgb = torch.from_numpy(self._rgb[shard][row].astype(np.float32)).permute(2, 0, 1) / 255
        return rgb, torch.from_numpy(self._extra[shard][row].astype(np.float32))[None]


def crop(
    pictures: torch.Tensor, side: int, generator: torch.Generator, *, smallest: float
) -> torch.Tensor:
    """Cuts a random part out of a picture and resizes it without aliasing.

    Half of the time it is flipped.

    Args:
        pictures: float32 [C, H, W].
        side: Height and width of the result in pixels.
        generator: Source of chance.
        smallest: Smallest part, as a share of the picture's height.

    Returns:
        float32 [C, side, side].
    """
    chance = torch.rand(5, generator=generator).tolist()
    height, width = pictures.shape[1:]
    share = smallest ** chance[0]
    rows = round(height * share)
    columns = min(round(rows * 1.3 ** (2 * chance[1] - 1)), width)
    top, left = int(chance[2] * (height - rows + 1)), int(chance[3] * (width - columns + 1))
    part = pictures[:, top : top + rows, left : left + columns]
    if chance[4] < 0.5:
        part = part.flip(2)
    return torch.nn.functional.interpolate(
        part[None], size=(side, side), mode="bilinear", antialias=True, align_corners=False
    )[0]


def degrade(rgb: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Makes a clean picture look like a frame of some camera: colours, blur, noise, JPEG blocks.

    Args:
        rgb: float32 [3, H, W] in 0..1.
        generator: Source of chance.

    Returns:
        float32 [3, H, W] in 0..1.
    """
    chance = torch.rand(12, generator=generator).tolist()
    rgb = rgb.clamp(1e-3, 1) ** math.exp(1.2 * (chance[0] - 0.5))
    gain = (
        torch.exp(0.35 * torch.randn(3, 1, 1, generator=generator))
        if chance[1] < 0.5
        else torch.ones(3, 1, 1)
    )
    rgb = rgb * gain * math.exp(0.8 * (chance[2] - 0.6))
    grey = rgb.mean(0, keepdim=True)
    rgb = grey + (rgb - grey) * (0.0 if chance[3] < 0.08 else 0.3 + 1.3 * chance[4])
    middle = rgb.mean()
    rgb = middle + (rgb - middle) * (0.6 + 0.9 * chance[5])
    if chance[6] < 0.35:
        sigma = 0.4 + 1.6 * chance[7]
        ticks = torch.arange(-4, 5)
        kernel = torch.exp(-(ticks**2) / (2 * sigma**2))
        kernel = (kernel / kernel.sum()).expand(3, 1, 1, 9)
        padded = torch.nn.functional.pad(rgb[None], (4, 4, 4, 4), mode="reflect")
        blurred = torch.nn.functional.conv2d(padded, kernel, groups=3)
        rgb = torch.nn.functional.conv2d(blurred, kernel.transpose(2, 3), groups=3)[0]
    if chance[8] < 0.5:
        rgb = rgb + 0.06 * chance[9] * torch.randn(rgb.shape, generator=generator)
    rgb = rgb.clamp(0, 1)
    if chance[10] < 0.3:
        stream = io.BytesIO()
        Image.fromarray((rgb.permute(1, 2, 0) * 255).to(torch.uint8).numpy()).save(
            stream, "JPEG", quality=int(25 + 65 * chance[11])
        )
        rgb = (
            torch.from_numpy(np.asarray(Image.open(stream), dtype=np.float32)).permute(2, 0, 1)
            / 255
        )
    return rgb
