"""Commands that help to write a job: ``init``, ``explain``, ``schema``."""

import difflib
import json
from pathlib import Path
from typing import Annotated

import typer

from raydepth.cli.program import app
from raydepth.errors import JobError


@app.command()
def init(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="remove, insert, background, planes, depth-eval.")
    ],
    clip: Annotated[
        str | None, typer.Argument(metavar="[CLIP]", help="A video, a folder, a pattern, a URI.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE.yaml", help="The job file.")] = Path(
        "job.yaml"
    ),
) -> None:
    """Write a commented job for a clip of yours; no file is overwritten."""
    from raydepth.job.start import KINDS, write_job

    if kind == "photo3d":
        raise JobError("init photo3d: raydepth makes no novel views of a photo yet")
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, 1)
        raise JobError(
            f"init: expected {', '.join(KINDS)}, got {kind!r}"
            + (f"; is {near[0]} meant?" if near else "")
        )
    for file in write_job(kind, clip, out):
        print(file)
    print(f"next: raydepth preview {out}")


@app.command()
def explain(
    field: Annotated[
        str | None, typer.Argument(metavar="[FIELD]", help="Such as layers.things or edit.at.")
    ] = None,
) -> None:
    """Say what a field of the job file takes: type, unit, default, meaning."""
    from raydepth.job.explain import explain as say

    print(say(field))


@app.command()
def schema(
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Write it there; default: print it.")
    ] = None,
) -> None:
    """Give the job file's JSON Schema, by which editors complete and check it."""
    from raydepth.job.schema import job_schema

    text = json.dumps(job_schema(), indent=2, ensure_ascii=False)
    if out is None:
        print(text)
        return
    try:
        out.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise JobError(f"--out {out} cannot be written: {error.strerror}") from error
    print(f"{out}\nfirst line of a job that is to use it: # yaml-language-server: $schema={out}")
