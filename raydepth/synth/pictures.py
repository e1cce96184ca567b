"""Program that renders what models are trained on and measured with: ``python -m
raydepth.synth.pictures``. Its files are all that ``raydepth.training`` has of the synthetic worlds.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import numpy as np

from raydepth.synth.case import Snapshot
from raydepth.synth.random_scene import random_scene
from raydepth.synth.render import World, render_threads
from raydepth.synth.scene import PERIOD
from raydepth.synth.setup import random_setup
from raydepth.synth.textures import PHOTOGRAPHS, VARIANTS, photograph, texture

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


_TRUE_SAMPLES = 24
"""The same for the true fills that the models are measured with."""


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
    """Renders what is behind the near things of a setup, and where these are: a true fill and its
    hole.

    Args:
        number: MOMENTS times the setup's seed, and which of its times: drawing a setup costs
            more than a picture of it.
        side: Height and width in pixels.

    Returns:
        rgb uint8 [side, side, 3] (sRGB), without the near things but with the shadows they cast;
        bool [side, side].
    """
    seed, time = divmod(number, MOMENTS)
    seen = Snapshot(random_setup(seed, 1.0), time / MOMENTS * PERIOD, (side, side), _FILL_SAMPLES)
    return seen.fill_shadowed(), seen.near


def _write_shard(
    job: tuple[Path, int, Callable[[int], tuple[np.ndarray, np.ndarray]], int, str],
) -> None:
    folder, index, picture, first, beside = job
    render_threads(1)
    pictures = [picture(first + index * SHARD + i) for i in range(SHARD)]
    np.save(folder / f"{index:04d}-{beside}.npy", np.stack([second for _, second in pictures]))
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


def write_textures(folder: Path) -> None:
    """Writes what is drawn beside scenes: photographs float32 [3, H, W] and dead leaves float32
    [H, W, 3], in 0..1, as ``photograph-00.npy`` ... and ``leaves-00.npy`` ...
    """
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(PHOTOGRAPHS):
        np.save(folder / f"photograph-{index:02d}.npy", photograph(index))
    for index in range(VARIANTS["leaves"]):
        np.save(folder / f"leaves-{index:02d}.npy", texture("leaves", index))


def write_held_out(folder: Path, *, scenes: int) -> None:
    """Writes what no model was trained on, from seeds below FIRST_SEED.

    ``calm-rgb.npy`` and ``calm-inv.npy`` as ``scene_picture`` has them, ``wide-...`` likewise;
    ``holes-128-rgb.npy``, the near things' mask ``holes-128-near.npy`` and what is behind them
    ``holes-128-fill.npy`` at 128 x 128, ``holes-256-...`` likewise.

    Args:
        folder: Where the files go; made if absent.
        scenes: Pictures of each style; half of it are the holes at 128, an eighth those at 256.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for style in ("calm", "wide"):
        seeds = [seed for seed in range(3 * scenes + 3) if (seed % 3 == 0) == (style == "calm")]
        pictures = [scene_picture(seed) for seed in seeds[:scenes]]
        np.save(folder / f"{style}-rgb.npy", np.stack([rgb for rgb, _ in pictures]))
        np.save(folder / f"{style}-inv.npy", np.stack([inverse for _, inverse in pictures]))
    for side, count in ((128, scenes // 2), (256, scenes // 8)):
        seen = [
            Snapshot(random_setup(seed, 1.0), 0.0, (side, side), _TRUE_SAMPLES)
            for seed in range(count)
        ]
        for name, pictures_of in (
            ("rgb", Snapshot.rgb),
            ("near", lambda snapshot: snapshot.near),
            ("fill", Snapshot.fill_shadowed),
        ):
            np.save(folder / f"holes-{side}-{name}.npy", np.stack([pictures_of(s) for s in seen]))


def main() -> None:
    """Renders pictures into files: shards of scenes or fills, textures, or what is held out."""
    parser = argparse.ArgumentParser(
        prog="python -m raydepth.synth.pictures", description=main.__doc__
    )
    parser.add_argument("what", choices=["scenes", "fills", "textures", "held-out"])
    parser.add_argument("folder", type=Path, help="where the files go")
    parser.add_argument("--shards", type=int, default=1, help=f"of {SHARD} scenes or fills")
    parser.add_argument("--workers", type=int, default=2, help="processes that render shards")
    parser.add_argument("--scenes", type=int, default=60, help="held-out scenes of each style")
    arguments = parser.parse_args()
    if arguments.what == "textures":
        write_textures(arguments.folder)
    elif arguments.what == "held-out":
        write_held_out(arguments.folder, scenes=arguments.scenes)
    else:
        build(
            arguments.folder,
            shards=arguments.shards,
            workers=arguments.workers,
            fills=arguments.what == "fills",
        )


if __name__ == "__main__":
    main()
