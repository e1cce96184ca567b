"""Where a submitted job begins on the cluster: are the packages here that raydepth needs? Then
``raydepth run``.

Imports the standard library only, so that a machine without those packages gets a sentence instead
of a traceback.
"""

import os
import sys

from raydepth.run.submit.requirements import lacking

PYTHON = (3, 11)


def main() -> None:
    """``python -m raydepth.run.submit.entrypoint JOB.yaml``: exits 2 where packages are missing,
    else as ``raydepth run``.
    """
    problems = lacking()
    if sys.version_info < PYTHON:
        problems.insert(0, f"Python>={'.'.join(map(str, PYTHON))}")
    if problems:
        sys.exit(_refuse(problems))
    # In place of this process, so that Ray's signals reach the program itself.
    command = [sys.executable, "-m", "raydepth", "run", *sys.argv[1:], "--address", "auto"]
    os.execv(sys.executable, command)


def _refuse(problems: list[str]) -> int:
    have = f"{sys.executable}, Python {sys.version.split()[0]}"
    print(
        f"raydepth: this node ({have}) lacks {', '.join(problems)}; install raydepth's "
        "dependencies on every node, "
        "and start Ray from that environment",
        file=sys.stderr,
    )
    return 2


if __name__ == "__main__":
    main()
