"""Commands beside the runs: ``models``, ``synth``."""

import difflib
from pathlib import Path
from typing import Annotated

import typer

from raydepth.cli.options import load
from raydepth.cli.program import app
from raydepth.errors import JobError


@app.command()
def models(
    action: Annotated[
        str, typer.Argument(metavar="[list|check]", help="list names, or check opens them.")
    ] = "list",
    job: Annotated[
        Path | None, typer.Option(help="With check: the job whose models are opened.")
    ] = None,
) -> None:
    """List the models that jobs may name, with licences and what is cached; or check that a job's
    can be opened.
    """
    from raydepth.models.names import HUB_DEFAULTS, cached
    from raydepth.run.check import check_models, named_models

    if action == "list":
        print(f"{'builtin':50} Apache-2.0              in the package   depth, diffusion, inpaint")
        for role, entries in HUB_DEFAULTS.items():
            for name, licence in entries:
                print(
                    f"{name:50} {licence:23} {'cached' if cached(name) else 'not cached':16} {role}"
                )
    elif action == "check" and job is not None:
        resolved = load(job)
        check_models(resolved)
        for model in named_models(resolved):
            print(f"{model.field}: {model.name} ({model.form}): found")
    else:
        near = difflib.get_close_matches(action, ["list", "check"], 1)
        raise JobError(
            f"models: expected 'list', or 'check --job JOB.yaml', got {action!r}"
            + (f"; is {near[0]} meant?" if near and near[0] != action else "")
        )


@app.command()
def synth(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to make.")],
    frames: Annotated[int, typer.Option(min=1, help="Frames in the clip.")] = 48,
    size: Annotated[int, typer.Option(help="Short side in pixels, even, 32 to 4320.")] = 256,
    aspect: Annotated[float, typer.Option(min=1, max=4, help="Width over height.")] = 16 / 9,
    fps: Annotated[float, typer.Option(min=1, max=240, help="Frames per second.")] = 24.0,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another world.")] = 0,
    layers: Annotated[
        bool, typer.Option("--layers", help="Also the near layer and the rest.")
    ] = False,
    truths: Annotated[
        bool,
        typer.Option("--truths", help="Also the true results of remove, insert and background."),
    ] = False,
    samples: Annotated[
        int,
        typer.Option(
            min=1, max=4096, help="Paths through a pixel: more are slower and less noisy."
        ),
    ] = 64,
) -> None:
    r"""Make a synthetic clip with exact depth; needs raydepth\[synth]."""
    from raydepth.synth.clip import write_clip

    if out.exists() and not out.is_dir():
        raise JobError(f"{out} is a file; name a folder")
    paths = write_clip(
        out,
        frames=frames,
        size=(size, round(size * aspect / 2) * 2),
        seed=seed,
        fps=fps,
        layers=layers,
        truths=truths,
        samples=samples,
    )
    for path in (paths.video, paths.depth, paths.camera, paths.frames, paths.layers, paths.truth):
        if path is not None:
            print(path)
