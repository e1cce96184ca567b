"""``python -m raydepth`` is the ``raydepth`` program."""

import os
import sys

try:
    here = os.getcwd()
except FileNotFoundError:  # deleted under us
    here = ""
if not sys.flags.safe_path and sys.path[0] == here:
    del sys.path[0]  # the current folder, which -m puts there, may hold anything: a random.py


from raydepth import interrupt


def main() -> None:
    """The program, whose own import may be interrupted too."""
    with interrupt.answered(1, lambda answer: print(f"raydepth: {answer}", file=sys.stderr)):
        from raydepth import cli

    cli.main()


if __name__ == "__main__":
    main()
