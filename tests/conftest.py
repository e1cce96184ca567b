"""What tests share: the data folder beside the checkout, and small clips."""

import os
from pathlib import Path

import pytest

os.environ["RAY_ENABLE_AUTO_CONNECT"] = (
    "0"  # as raydepth.cluster sets it, but before a test module imports ray
)


@pytest.fixture(scope="session")
def data() -> Path:
    """``../shared/data`` with the real clips, RGB-D frames and weights; tests that need it skip where it is missing."""
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data")
    return folder
