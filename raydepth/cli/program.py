"""The program itself: the commands' home, and how their exceptions become exit codes."""

import io
import sys
from typing import Annotated

import typer

from raydepth import __version__, interrupt
from raydepth.errors import JobError
from raydepth.files.text import printable
from raydepth.run.log import route_libraries
from raydepth.run.surroundings import find_home, leave_current_folder, speak_utf8

OK, FAILED, WRONG, SOME_FAILED, STOPPED = 0, 1, 2, 3, 75
"""Exit codes: every frame done; anything else; the job is wrong; some frames failed or some sources
could not be read; stopped at the deadline."""

app = typer.Typer(
    pretty_exceptions_enable=False,
    help="Depth-aware image editing of whole video collections, on Ray Data.",
)


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
