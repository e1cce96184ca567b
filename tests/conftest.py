"""What tests share: the data folder beside the checkout, small clips, and the threads of the
libraries that compute.
"""

import os
from pathlib import Path

import cv2
import pytest
import torch
from hypothesis import settings

settings.register_profile("raydepth", deadline=None)  # machines are shared, and may be slow
settings.load_profile("raydepth")

os.environ["RAY_ENABLE_AUTO_CONNECT"] = (
    "0"  # as raydepth.run.cluster sets it, but before a test module imports ray
)

ROOT = Path(__file__).resolve().parents[1]
# Nodes of test clusters find the tests' workers here; no worker looks in the current folder.
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).strip(
    os.pathsep
)

pytest_plugins = ["tests.support.small_models", "tests.support.scenes"]

THREADS = int(os.environ.get("RAYDEPTH_TEST_THREADS", "1"))
"""One is fastest for models this small beside another file's tests; results must not need it."""


def use_threads() -> None:
    torch.set_num_threads(THREADS)
    cv2.setNumThreads(THREADS)


use_threads()  # for fixtures of a session or module, too


@pytest.fixture(autouse=True)
def threads() -> None:
    """The same for every test, whatever a worker in this process has set before."""
    use_threads()


@pytest.fixture(scope="session")
def data() -> Path:
    """``../shared/data`` with the real clips, RGB-D frames and weights; tests that need it skip
    where it is missing.
    """
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data")
    return folder
