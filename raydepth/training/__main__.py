"""Reproduces the built-in models: renders training pictures, then trains.

The models are depth, diffusion and inpaint.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from raydepth.training.loop import Budget


def main() -> None:
    """Parses the command line and trains.

    `--out` collects everything: `data/` and `fills/` (rendered scenes and true fills), `depth/`,
    `diffusion/` and `inpaint/` (the models) and their checkpoints. `inpaint` starts from
    `diffusion/` there, or else from the one that is built in.
    """
    parser = argparse.ArgumentParser(prog="python -m raydepth.training", description=main.__doc__)
    parser.add_argument(
        "what", choices=["data", "depth", "diffusion", "inpaint", "all"], nargs="?", default="all"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for data, checkpoints and models"
    )
    parser.add_argument(
        "--minutes", type=float, default=60.0, help="wall-clock minutes for each model"
    )
    parser.add_argument(
        "--steps",
        type=int,
        help="stop at this step instead of after --minutes: repeatable on any machine",
    )
    parser.add_argument("--shards", type=int, default=48, help="rendered scenes, in shards of 250")
    parser.add_argument(
        "--fills", type=int, default=4, help="rendered true fills, in shards of 250"
    )
    parser.add_argument(
        "--threads", type=int, default=2, help="torch threads, and processes that render"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoints in --out")
    parser.add_argument(
        "--start",
        type=Path,
        help="folder with a trained depth/ to begin with, for example raydepth/models/builtin; "
        "without, from scratch",
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    data, fills = arguments.out / "data", arguments.out / "fills"

    if arguments.what in ("data", "all"):
        from raydepth.training.data import render

        render("textures", data)
        render("scenes", data, shards=arguments.shards, workers=arguments.threads)
        render("fills", fills, shards=arguments.fills, workers=arguments.threads)
    if arguments.what in ("depth", "all"):
        from raydepth.training import depth

        budget = Budget(arguments.minutes, arguments.steps, rate=6e-4)
        depth.run(
            data,
            arguments.out,
            budget,
            resume=arguments.resume,
            start=arguments.start and arguments.start / "depth",
            seed=arguments.seed,
        )
    if arguments.what in ("diffusion", "all"):
        from raydepth.training import diffusion

        budget = Budget(arguments.minutes, arguments.steps, rate=8e-4)
        diffusion.run(data, arguments.out, budget, resume=arguments.resume, seed=arguments.seed)
    if arguments.what in ("inpaint", "all"):
        from raydepth.models import builtin
        from raydepth.training import inpaint

        own = arguments.out / "diffusion"
        start = own if own.exists() else builtin.path("diffusion")
        budget = Budget(arguments.minutes, arguments.steps, rate=5e-4, average=0.998)
        inpaint.run(
            data, fills, start, arguments.out, budget, resume=arguments.resume, seed=arguments.seed
        )


if __name__ == "__main__":
    main()
