"""``python -m raydepth`` is the ``raydepth`` program."""

import os
import sys

try:
    here = os.getcwd()
except FileNotFoundError:  # deleted under us
    here = ""
if not sys.flags.safe_path and sys.path[0] == here:
    del sys.path[0]  # the current folder, which -m puts there, may hold anything: a random.py

from raydepth.cli import main

main()
