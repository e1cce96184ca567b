"""A compositor and a source of depth from outside: one module each, and nothing else is touched."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow.dataset as ds
import pytest
import yaml

from tests.support.clips import write_clip

ROOT = Path(__file__).resolve().parents[2]

COMPOSITOR = """
from typing import Annotated, Literal
import numpy as np
from pydantic import Field
from raydepth.compose.protocol import Compositor
from raydepth.compose.registry import COMPOSITORS, CompositorEntry
from raydepth.compose.settings import Compose
from raydepth.models.names import NamedModel

class Negative(Compose):
    method: Literal["negative"]
    share: Annotated[float, Field(ge=0, le=1)] = 1.0
    table: str

class NegativeCompositor(Compositor):
    def __init__(self, settings):
        self.levels = np.array(open(settings.table).read().split(), np.uint8)

    def __call__(self, plan, source, seeds):
        self.notes, self.failed = ["negated"] * len(source), np.zeros(len(source), bool)
        return np.where(plan.region[..., None] > 0, self.levels[source], source)

COMPOSITORS.register(CompositorEntry(
    Negative,
    lambda settings, host: NegativeCompositor(settings),
    models=lambda settings: [NamedModel("compose.table", settings.table, "file", "diffusion")],
    evaluations=lambda settings, references: 7 * references,
    has_codec=False,
))
"""

DEPTH = """
import numpy as np
from raydepth.depth.registry import DepthEntry, register_depth

class Ramp:
    name, kind = "ramp", "disparity_rel"

    def __call__(self, batch):
        count, height, width = batch["rgb"].shape[:3]
        row = np.arange(height, dtype=np.float32)[None, :, None]
        return np.broadcast_to(row, (count, height, width)).copy()

register_depth(DepthEntry(lambda model: model == "ramp", lambda d, host: Ramp(), lambda d: []))
"""


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as pip installs it: two modules, and metadata that names their entry points."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "outside_compositor.py").write_text(COMPOSITOR)
    (folder / "outside_depth.py").write_text(DEPTH)
    info = folder / "outside-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[raydepth.methods]\nnegative = outside_compositor\nramp = outside_depth\n"
    )
    return folder


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job that names both, beside its clip."""
    folder = tmp_path_factory.mktemp("job")
    write_clip(folder / "clip.mp4", frames=8)
    (folder / "levels.txt").write_text(" ".join(str(255 - level) for level in range(256)))
    tree = {
        "schema_version": 1,
        "input": {"paths": ["clip.mp4"], "size": 64},
        "depth": {"model": "ramp", "calibration_frames": 2},
        "layers": {"at": 0.5},
        "compose": {"method": "negative", "table": "levels.txt"},
        "output": {"path": "out"},
        "run": {"batch": 4, "threads": 1},
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(tree))
    return folder / "job.yaml"


def program(plugins: Path, job: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(plugins), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *words],
        cwd=job.parent,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=280,
    )


def test_a_run_its_plan_and_its_report_take_them_like_their_own(plugins: Path, job: Path):
    plan = program(plugins, job, "-m", "raydepth", "plan", "job.yaml", "--json")
    assert plan.returncode == 0, plan.stderr
    figures = json.loads(plan.stdout)
    assert figures["frames"] == 8 and figures["unet_lanes_per_frame"] == 14
    ran = program(plugins, job, "-m", "raydepth", "run", "job.yaml")
    assert ran.returncode == 0, ran.stderr
    out = job.parent / "out"
    rows = ds.dataset(out / "frames").to_table().to_pylist()
    assert {row["note"] for row in rows} == {"negated"} and len(rows) == 8
    assert {row["threshold"][0] for row in rows} == {0.5}
    again = program(plugins, job, "-m", "raydepth", "report", "out")
    assert again.returncode == 0, again.stderr
    report = json.loads((out / "report" / "report.json").read_text())
    assert report["job"]["method"] == "negative"
    assert "has no codec" in report["metrics"]["rmse_round_trip"]["not_measured_because"]


def test_its_files_are_packed_for_a_cluster(plugins: Path, job: Path, tmp_path: Path):
    code = (
        "from raydepth.job import load_job; from raydepth.run.submit.packing import pack; "
        "import sys; from pathlib import Path; job = load_job('job.yaml', "
        "['output.path=/nfs/out']); "
        "pack(job, limit_mb=1).write(Path(sys.argv[1]))"
    )
    packed = program(plugins, job, "-c", code, str(tmp_path / "parcel.zip"))
    assert packed.returncode == 0, packed.stderr
    with zipfile.ZipFile(tmp_path / "parcel.zip") as parcel:
        assert {"clip.mp4", "levels.txt"} <= set(parcel.namelist())
        there = yaml.safe_load(parcel.read(".raydepth/job.yaml"))
    assert there["compose"]["table"] == "levels.txt" and there["compose"]["share"] == 1.0


def test_what_is_wrong_in_their_sections_is_told_like_their_own(plugins: Path, job: Path):
    wrong = program(plugins, job, "-m", "raydepth", "plan", "job.yaml", "--set", "compose.share=2")
    assert wrong.returncode == 2 and "compose.share: got 2" in wrong.stderr
    gone = program(plugins, job, "-m", "raydepth", "plan", "job.yaml", "--set", "compose.table=x")
    assert gone.returncode == 2 and "compose.table: no file x" in gone.stderr
    unknown = program(
        plugins, job, "-m", "raydepth", "plan", "job.yaml", "--set", "compose.method=x"
    )
    assert unknown.returncode == 2 and "'negative'" in unknown.stderr
