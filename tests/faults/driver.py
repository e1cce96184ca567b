"""``raydepth`` as a program whose workers are stand-ins named by the environment: what fault tests
start and kill.
"""

import importlib
import os

from raydepth import cli
from raydepth.run import pipeline

if __name__ == "__main__":
    module, _, name = os.environ["RAYDEPTH_TEST_WORKER"].partition(":")
    pipeline.Worker = getattr(importlib.import_module(module), name)
    cli.main()
