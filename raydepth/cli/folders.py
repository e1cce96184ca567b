"""Commands on the output folder of a run: ``status``, ``report``, ``export``, ``prune``."""

import json
from typing import Annotated, Literal

import typer

from raydepth.cli.options import AsJson, OutFolder
from raydepth.cli.program import FAILED, app
from raydepth.errors import JobError
from raydepth.files.text import printable


@app.command()
def status(out: OutFolder, as_json: AsJson = False) -> None:
    """Say what is done, failed and missing in an output folder, and the verdict on it."""
    from raydepth.evaluate.verdict import lines
    from raydepth.output.folder import OutputFolder
    from raydepth.output.ledger import status as read_status

    try:
        state = read_status(OutputFolder.at(out))
    except FileNotFoundError as error:
        raise JobError(f"{out}: no raydepth run has started there (no segments.parquet)") from error
    if as_json:
        print(json.dumps(state))
        return
    print("  ".join(f"{key} {value}" for key, value in state["frames"].items()))
    print(f"{state['shards']} shards, {state['bytes'] / 1e6:.1f} MB")
    for reason, count in state["errors"].items():
        print(printable(f"  {count} x {reason}"))
    for name in state["damaged"]:
        print(printable(f"  damaged, to be done again: {name}"))
    for source in state["unreadable"]:
        print(printable(f"  not read, {source['error_type']}: {source['error_message']}"))
    if state["verdict"] is not None and state["frames"]["done"]:
        for line in lines(state["verdict"]):
            print(printable(line))
    for source in state["gone"]:
        print(printable(f"  gone, {source['frames']} frames kept aside: {source['path']}"))


@app.command()
def report(out: OutFolder) -> None:
    """Rebuild OUT/report from the shards."""
    from raydepth.output.folder import OutputFolder
    from raydepth.run.summary import rebuild

    print(rebuild(OutputFolder.at(out)))


@app.command()
def export(
    out: OutFolder,
    images: Annotated[
        Literal["png", "jpeg", "none"],
        typer.Option(help="Pictures as files; jpeg: those in colour, depth and near stay PNG."),
    ] = "none",
    video: Annotated[
        bool, typer.Option("--video/--no-video", help="Each clip as an mp4, with its sound.")
    ] = False,
    crf: Annotated[
        int | None, typer.Option(min=0, max=51, help="Quality of the videos; default: the job's.")
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND",
            help="Which pictures: edited, depth, near, background, rgb; repeatable; default: those "
            "that the job keeps.",
        ),
    ] = None,
    to: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="A folder of its own; default: OUT.")
    ] = None,
) -> None:
    """Make pictures and videos from the shards of a run; nothing is edited again."""
    if images == "none" and not video:
        raise JobError("export: nothing is asked for; give --images png, --images jpeg or --video")
    from raydepth.output.folder import OutputFolder
    from raydepth.run.export import Asked
    from raydepth.run.export import export as make
    from raydepth.run.summary import rebuild

    asked = Asked(None if images == "none" else images, video, crf, keep or ())
    failed = make(out, asked, to=to, echo=lambda line: print(line, flush=True))
    if video and to is None:
        rebuild(OutputFolder.at(out))
    if failed:
        raise typer.Exit(FAILED)


@app.command()
def prune(out: OutFolder) -> None:
    """Delete the results of sources that the job no longer has, OUT/gone."""
    from raydepth.output.folder import OutputFolder
    from raydepth.output.names import prune as delete_gone

    print(f"{delete_gone(OutputFolder.at(out))} files deleted")
