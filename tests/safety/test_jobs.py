"""Job files and arrays run no code."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from raydepth.errors import JobError
from raydepth.job import load_job, parse_job
from tests.safety.conftest import Trap

pytestmark = pytest.mark.timeout(60)


def test_the_trap_works(here: Path) -> None:
    pickle.loads(pickle.dumps(Trap()))
    assert (here / "sprung").exists()
    (here / "sprung").rmdir()


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.mkdir [sprung]",
        "!!python/object/new:os.mkdir [sprung]",
        "!!python/object:os.mkdir {}",
        "!!python/name:os.mkdir",
        "!!python/module:os",
        "!!python/tuple [1]",
        "!<tag:yaml.org,2002:python/object/apply:os.mkdir> [sprung]",
        "!include /etc/passwd",
        "!ENV ${HOME}",
    ],
)
def test_job_files_run_no_code(here: Path, value: str) -> None:
    text = "schema_version: 1\ninput: {paths: [a.mp4]}\noutput: {path: out}\n"
    (here / "job.yaml").write_text(f"{text}depth: {{model: {value}}}\n")
    with pytest.raises(JobError, match="is not YAML"):
        load_job(here / "job.yaml")
    (here / "job.yaml").write_text(text)
    with pytest.raises(JobError, match="is not YAML"):
        load_job(here / "job.yaml", [f"depth.model={value}"])


def test_arrays_with_objects_are_not_unpickled(here: Path) -> None:
    from raydepth.depth.files import read_depth

    np.save(here / "depth.npy", np.array([[Trap()]], object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        read_depth(str(here / "depth.npy"), 0.001)


def test_parse_job_takes_no_objects() -> None:
    with pytest.raises(JobError):
        parse_job(
            {"schema_version": 1, "input": {"paths": [Trap()]}, "output": {"path": Path("out")}}
        )
