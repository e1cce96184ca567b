"""Commands that run a job, or say what running it would take: ``run``, ``plan``, ``submit``."""

import json
from typing import Annotated, Literal

import typer

from raydepth.cli.options import Address, AsJson, JobFile, Overrides, load
from raydepth.cli.program import FAILED, OK, SOME_FAILED, STOPPED, app
from raydepth.files.text import printable
from raydepth.run.log import speak


@app.command()
def run(
    job: JobFile,
    set_: Overrides = None,
    max_hours: Annotated[
        float | None, typer.Option(help="Stop feeding after so long, exit 75.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many frames.")] = None,
    overwrite: Annotated[
        bool | None, typer.Option("--overwrite", help="Delete what an earlier run left.")
    ] = None,
    address: Address = None,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Show the run's log on standard error.")
    ] = False,
) -> None:
    """Run a job; running it again goes on where it stopped."""
    resolved = load(
        job,
        set_,
        run={"max_hours": max_hours},
        input={"limit": limit},
        output={"overwrite": overwrite},
    )
    from raydepth.evaluate.verdict import lines as verdict_lines
    from raydepth.run.pipeline import run as run_job

    if verbose:
        speak()

    outcome = run_job(resolved, address=address, echo=lambda line: print(line, flush=True))
    frames = outcome.frames
    print(
        f"{frames['done']} done, {frames['failed']} failed, {frames['missing']} missing of "
        f"{frames['total']} frames"
    )
    for reason, count in outcome.errors.items():
        print(printable(f"  {count} x {reason}"))
    if outcome.unreadable:
        print(f"{len(outcome.unreadable)} sources could not be read, or not to their end:")
    for source in outcome.unreadable:
        print(printable(f"  {source['error_type']}: {source['path']}"))
    if outcome.verdict is not None and frames["done"]:
        for line in verdict_lines(outcome.verdict):
            print(printable(line))
    if outcome.log is not None and (frames["failed"] or frames["missing"] or outcome.videos_failed):
        print(printable(f"log: {outcome.log}"))
    where = f"report: {outcome.report}" if outcome.report else "stopped before anything was changed"
    print(where, flush=True)  # before what Ray does when the process ends
    if outcome.videos_failed:
        print(f"{outcome.videos_failed} videos could not be written; the report names them")
    if frames["missing"] or outcome.videos_left or outcome.pictures_left:
        raise typer.Exit(STOPPED if outcome.stopped == "deadline" else FAILED)
    if outcome.videos_failed:
        raise typer.Exit(FAILED)
    raise typer.Exit(SOME_FAILED if frames["failed"] or outcome.unreadable else OK)


@app.command()
def plan(
    job: JobFile, set_: Overrides = None, as_json: AsJson = False, address: Address = None
) -> None:
    """Say what a job will take: frames, segments, hours, memory, disk; and whether it can be
    scheduled.
    """
    from raydepth.run.estimate import estimate

    figures = estimate(load(job, set_), address=address)
    print(
        json.dumps(figures, indent=2)
        if as_json
        else "\n".join(f"{key:>28}  {value}" for key, value in figures.items())
    )


@app.command()
def submit(
    job: JobFile,
    address: Annotated[str, typer.Option(help="The cluster's dashboard, http://HOST:8265.")],
    set_: Overrides = None,
    pack_limit: Annotated[
        float,
        typer.Option(metavar="MB", min=0, max=450, help="Refuse to send more of local files."),
    ] = 50,
    paths_on_cluster: Annotated[
        bool,
        typer.Option("--paths-on-cluster", help="The job's paths are the nodes' own; send none."),
    ] = False,
    detach: Annotated[
        bool, typer.Option("--detach", "--no-follow", help="Exit 0 once the job is accepted.")
    ] = False,
    on_interrupt: Annotated[
        Literal["ask", "stop", "leave"],
        typer.Option(
            help="Ctrl-C and the job on the cluster; ask needs a terminal, else it is left."
        ),
    ] = "ask",
) -> None:
    """Run the same job on a Ray cluster; follow its log and pass its exit code on (1 if it was
    stopped or left).
    """
    from raydepth.run.submit.client import submit as submit_job

    code = submit_job(
        load(job, set_, files_here=not paths_on_cluster),
        address,
        name=job.stem,
        echo=lambda text: print(text, end="", flush=True),
        pack_limit_mb=pack_limit,
        paths_on_cluster=paths_on_cluster,
        detach=detach,
        on_interrupt=on_interrupt,
    )
    raise typer.Exit(code)
