"""What several commands take, and how a command reads its job."""

import json
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raydepth.errors import JobNote
from raydepth.files.text import printable

if TYPE_CHECKING:
    from raydepth.job import Job

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


def load(
    path: Path,
    overrides: list[str] | None = None,
    *,
    files_here: bool = True,
    **sections: dict[str, Any],
) -> "Job":
    """The job of a file, checked; what is old in it is said on standard error.

    Args:
        path: the job file.
        overrides: the ``a.b=value`` of ``--set``.
        files_here: whether its files are looked up on this machine.
        sections: what other options set, as section -> field -> value; None: not given.

    Raises:
        JobError: as ``job.load_job`` does, or a file that it names is missing.
    """
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
