"""What tests share: the data folder next to the checkout, and small clips."""

import os
from pathlib import Path

import pytest
import torch

os.environ["RAY_ENABLE_AUTO_CONNECT"] = (
    "0"  # as raydepth.run.cluster sets it, but before a test module imports ray
)


pytest_plugins = ["tests.support.small_models"]

# With more threads a CPU splits a matrix product over its rows, and equal rows may differ in their
# last bit.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data() -> Path:
    """``../shared/data`` with the real clips, RGB-D frames and weights; tests that need it skip
    where it is missing.
    """
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data")
    return folder
