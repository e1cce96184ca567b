"""What tests share: the data folder beside the checkout, and small clips."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data() -> Path:
    """``../shared/data`` with the real clips, RGB-D frames and weights; tests that need it skip where it is missing."""
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data")
    return folder
