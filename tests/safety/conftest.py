"""Traps for whoever unpickles or runs what a file brings."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, where the traps would leave `sprung`; checked at the end."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not (tmp_path / "sprung").exists()


class Trap:
    """Unpickling it writes a file."""

    def __reduce__(self) -> tuple:
        return (os.mkdir, ("sprung",))


EVIL_MODULE = "import os\nos.mkdir('sprung')\nclass Evil: pass\n"
