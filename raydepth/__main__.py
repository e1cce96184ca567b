"""``python -m raydepth`` is the ``raydepth`` program."""

from raydepth.cli import main

main()
