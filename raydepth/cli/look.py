"""The command that shows what a job does before it runs: ``preview``."""

from pathlib import Path
from typing import Annotated

import typer

from raydepth.cli.options import JobFile, Overrides, load
from raydepth.cli.program import app
from raydepth.errors import JobError


@app.command()
def preview(
    job: JobFile,
    set_: Overrides = None,
    video: Annotated[
        str | None, typer.Option(metavar="NAME", help="One of the job's sources; default: first.")
    ] = None,
    time: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Default: the middle of the first shot."),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(metavar="X,Y", help="Say what is there, as fractions; repeatable."),
    ] = None,
    grid: Annotated[bool, typer.Option(help="A grid of fractions on the input.")] = True,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Default: preview-NAME.png, here.")
    ] = None,
) -> None:
    """Show one frame of a job before it runs: depth, planes, things, layers, result, as one PNG."""
    points = [_point(text) for text in at or []]
    resolved = load(job, set_)
    from raydepth.run.preview import preview as show

    picture = show(
        resolved,
        video=video,
        time_s=time,
        points=points,
        grid=grid,
        out=out,
        echo=lambda line: print(line, flush=True),
    )
    print(f"sheet: {picture}")


def _point(text: str) -> tuple[float, float]:
    """``0.4,0.6``; raises JobError where it is no point in a picture."""
    try:
        x, y = map(float, text.split(","))
    except ValueError as error:
        raise JobError(f"--at {text}: expected x,y such as 0.4,0.6") from error
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise JobError(
            f"--at {text}: expected fractions of width and height from 0 to 1, from the upper left "
            "corner; pixels are not taken: divide by the picture's width or height"
        )
    return x, y
