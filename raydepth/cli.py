"""The command line: parse, call, print.

Heavy imports are made inside the commands, so that ``--help`` answers at once.
"""

import difflib
import io
import json
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from raydepth import __version__, interrupt
from raydepth.errors import JobError, JobNote
from raydepth.files.text import printable
from raydepth.run.log import route_libraries, speak
from raydepth.run.surroundings import find_home, leave_current_folder, speak_utf8

if TYPE_CHECKING:
    from raydepth.job import Job

OK, FAILED, WRONG, SOME_FAILED, STOPPED = 0, 1, 2, 3, 75
"""Exit codes: every frame done; anything else; the job is wrong; some frames failed or some sources
could not be read; stopped at the deadline."""

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Depth-aware image editing of whole video collections, on Ray Data.",
)

JobFile = Annotated[Path, typer.Argument(metavar="JOB.yaml", help="The job file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=VALUE", help="Set a field of the job; repeatable."),
]
Address = Annotated[
    str | None,
    typer.Option(help="A running Ray cluster (host:port, ray://, auto); default: start one here."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
OutFolder = Annotated[str, typer.Argument(metavar="OUT", help="The output folder of a run.")]


def main() -> None:
    """The ``raydepth`` program: runs a command and turns its exceptions into exit codes.

    The codes are listed in raydepth/README.md, "Conventions and contracts".
    """
    with interrupt.answered(FAILED, lambda answer: _complain(answer, FAILED)):
        speak_utf8()
        leave_current_folder()
        find_home()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        route_libraries()
        code = _run()
    sys.exit(code if isinstance(code, int) else OK)


_TYPERS_INTERRUPT = 130
"""What Typer makes of a KeyboardInterrupt."""


def _run() -> object:
    try:
        code = app(standalone_mode=False)
        if code == _TYPERS_INTERRUPT:
            raise KeyboardInterrupt
    except typer.Exit as stop:
        code = stop.exit_code
    except (JobError, FileNotFoundError) as error:
        code = _complain(error, WRONG)
    except Exception as error:
        if hasattr(
            error, "format_message"
        ):  # a usage error of click's: unknown option, missing argument
            code = _complain(error.format_message(), WRONG)
        else:
            code = _complain(error, FAILED, kind=f"{type(error).__name__}: ")
    return code


def _complain(error: object, code: int, *, kind: str = "") -> int:
    # Line ends are ours; what came from file names and other programs may hold anything else.
    notes = getattr(error, "__notes__", [])  # where the log is
    lines = [printable(line) for text in (f"{kind}{error}", *notes) for line in text.split("\n")]
    print("raydepth: " + "\n".join(lines), file=sys.stderr, flush=True)
    return code


def _load(
    path: Path,
    overrides: list[str] | None = None,
    *,
    files_here: bool = True,
    **sections: dict[str, Any],
) -> "Job":
    from raydepth.job import load_job
    from raydepth.job.paths import refuse_missing

    extra = [
        f"{section}.{key}={json.dumps(value)}"
        for section, values in sections.items()
        for key, value in values.items()
        if value is not None
    ]
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", JobNote)
        job = load_job(path, [*(overrides or []), *extra], files_here=files_here)
    for note in notes:
        print(f"raydepth: {printable(str(note.message))}", file=sys.stderr)
    if files_here:
        refuse_missing(job, path)
    return job


@app.callback(invoke_without_command=True)
def _version(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit()
    if context.invoked_subcommand is None:
        print(context.get_help(), end="")
        raise typer.Exit(WRONG)


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
    resolved = _load(
        job,
        set_,
        run={"max_hours": max_hours},
        input={"limit": limit},
        output={"overwrite": overwrite},
    )
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
    if outcome.log is not None and (frames["failed"] or frames["missing"] or outcome.videos_failed):
        print(printable(f"log: {outcome.log}"))
    where = f"report: {outcome.report}" if outcome.report else "stopped before anything was changed"
    print(where, flush=True)  # before what Ray does when the process ends
    if outcome.videos_failed:
        print(f"{outcome.videos_failed} videos could not be written; the report names them")
    if frames["missing"] or outcome.videos_left:
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

    figures = estimate(_load(job, set_), address=address)
    print(
        json.dumps(figures, indent=2)
        if as_json
        else "\n".join(f"{key:>28}  {value}" for key, value in figures.items())
    )


@app.command()
def status(out: OutFolder, as_json: AsJson = False) -> None:
    """Say what is done, failed and missing in an output folder."""
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
    for source in state["gone"]:
        print(printable(f"  gone, {source['frames']} frames kept aside: {source['path']}"))


@app.command()
def prune(out: OutFolder) -> None:
    """Delete the results of sources that the job no longer has, OUT/gone."""
    from raydepth.output.folder import OutputFolder
    from raydepth.output.names import prune as delete_gone

    print(f"{delete_gone(OutputFolder.at(out))} files deleted")


@app.command()
def report(out: OutFolder) -> None:
    """Rebuild OUT/report from the shards."""
    from raydepth.output.folder import OutputFolder
    from raydepth.run.summary import rebuild

    print(rebuild(OutputFolder.at(out)))


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
        _load(job, set_, files_here=not paths_on_cluster),
        address,
        name=job.stem,
        echo=lambda text: print(text, end="", flush=True),
        pack_limit_mb=pack_limit,
        paths_on_cluster=paths_on_cluster,
        detach=detach,
        on_interrupt=on_interrupt,
    )
    raise typer.Exit(code)


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
        resolved = _load(job)
        check_models(resolved)
        for model in named_models(resolved):
            print(f"{model.field}: {model.name} ({model.form}): found")
    else:
        near = difflib.get_close_matches(action, ["list", "check"], 1)
        raise JobError(
            f"models: expected 'list', or 'check --job JOB.yaml', got {action!r}"
            + (f"; is {near[0]} meant?" if near and near[0] != action else "")
        )
