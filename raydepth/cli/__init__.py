"""The command line: parse, call, print.

Heavy imports are made inside the commands, so that ``--help`` answers at once.
"""

# In the order in which --help lists the commands.
from raydepth.cli import learn, look, runs, folders, tools  # noqa: F401, I001
from raydepth.cli.program import FAILED, OK, SOME_FAILED, STOPPED, WRONG, app, main

__all__ = ["FAILED", "OK", "SOME_FAILED", "STOPPED", "WRONG", "app", "main"]
