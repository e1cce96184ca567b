"""What a user has who submits: an environment, and a job file beside the clip."""

import os
from pathlib import Path

import yaml

from tests.support.runs import small_job

ROOT = Path(__file__).resolve().parents[3]


def environment(home: Path, **variables: str) -> dict[str, str]:
    """This process's environment without any token, Ray address or home of the machine's user."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    clean |= {
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "RAY_worker_niceness": "0",
    }
    return clean | variables


def write_job(folder: Path, name: str, **fields: object) -> str:
    tree = small_job(["clip.mp4"], folder / name, **fields).model_dump(mode="json")
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(tree))
    return f"{name}.yaml"
