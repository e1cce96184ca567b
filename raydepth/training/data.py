"""Training pictures for the built-in models: rendered once by a program of their own, and crops
drawn from its files.
"""

from __future__ import annotations

import io
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image


def render(what: str, folder: Path, **options: int) -> None:
    """Runs ``python -m raydepth.synth.pictures WHAT FOLDER --option value ...``.

    Raises:
        CalledProcessError: it failed; what is wrong it has printed.
    """
    pairs = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    program = [sys.executable, "-m", "raydepth.synth.pictures", what, str(folder), *pairs]
    subprocess.run(program, check=True)


class Cache:
    """The shards that `render` has finished so far, mapped into memory."""

    def __init__(self, folder: Path, beside: str = "inv") -> None:
        """Opens the finished shards in `folder`.

        Args:
            folder: That `render` wrote.
            beside: What was kept beside the colours: `inv` of scenes, `near` of fills.

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
        self._beside = [
            np.load(str(name).replace("-rgb", f"-{beside}"), mmap_mode="r") for name in names
        ]
        self._folder, self._shard = folder, len(self._rgb[0])
        self._drawn: dict[str, list[np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self._rgb) * self._shard

    def drawn(self, kind: str) -> list[np.ndarray]:
        """What lies beside the scenes: `photograph` or `leaves`, as `write_textures` says.

        Raises:
            FileNotFoundError: There is none.
        """
        if kind not in self._drawn:
            names = sorted(self._folder.glob(f"{kind}-*.npy"))
            if not names:
                raise FileNotFoundError(
                    f"{self._folder} holds no {kind}-*.npy: run `python -m raydepth.training data`"
                )
            self._drawn[kind] = [np.load(name, mmap_mode="r") for name in names]
        return self._drawn[kind]

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns one picture: rgb float32 [3, H, W] in 0..1 and, float32 [1, H, W], inverse depth
        in 1 / metres of a scene, 1 where the near things are of a fill.
        """
        shard, row = divmod(index, self._shard)
        rgb = torch.from_numpy(self._rgb[shard][row].astype(np.float32)).permute(2, 0, 1) / 255
        return rgb, torch.from_numpy(self._beside[shard][row].astype(np.float32))[None]


def crop(
    pictures: torch.Tensor, side: int, generator: torch.Generator, *, smallest: float
) -> torch.Tensor:
    """Cuts a random part out of a picture, flips it half of the time, and resizes it without
    aliasing.

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
