"""A whole run from bucket to bucket through Ray: an upload that fails, going on, nothing left to
do, and the commands on it.
"""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from raydepth.cli import main
from raydepth.run.pipeline import WorkerFailed, run
from tests.storage.conftest import Bucket
from tests.storage.proxy import Proxy
from tests.support.clips import write_clip
from tests.support.runs import differing, small_job

FRAMES = 16
PATTERN = "files:{parent}/depth/{stem}_{frame_index:02d}.png"


@pytest.fixture
def clip(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clip with depth files beside it, on disk and in the bucket under ``in/``."""
    monkeypatch.setenv("RAY_worker_niceness", "0")
    path = write_clip(tmp_path / "in/clip.mp4", frames=FRAMES)
    (tmp_path / "in/depth").mkdir()
    slope = np.linspace(1000, 5000, 96 * 128).reshape(96, 128).astype(np.uint16)
    for i in range(FRAMES):
        cv2.imwrite(str(tmp_path / f"in/depth/clip_{i:02d}.png"), slope + 10 * i)
    for file in (tmp_path / "in").rglob("*.*"):
        bucket.put(f"in/{file.relative_to(tmp_path / 'in')}", file.read_bytes())
    return path


@pytest.mark.timeout(200)
def test_from_bucket_to_bucket(
    clip: Path,
    bucket: Bucket,
    proxy: Proxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    """Under throttling: the same bytes as on disk; then there is nothing to do; and the commands
    work on the result.
    """
    out = f"{bucket.uri}/runs/out"
    lines: list[str] = []
    job = small_job([f"{bucket.uri}/in/*.mp4"], out, depth__model=PATTERN, output__images="both")
    proxy.fault = lambda request: "slow down" if request.number % 20 == 7 else ""
    assert run(job, echo=lines.append).frames == {
        "total": FRAMES,
        "done": FRAMES,
        "failed": 0,
        "missing": 0,
    }
    assert any(request.fault for request in proxy.requests)
    proxy.fault = lambda request: ""

    local = tmp_path / "out"
    run(small_job(clip, local, depth__model=PATTERN, output__images="both"), echo=lines.append)
    assert differing(out, local) == ["path"]
    pictures = list((local / "images").rglob("*.png"))
    assert len(pictures) == 5 * FRAMES
    assert all(
        bucket.get(f"runs/out/{file.relative_to(local)}") == file.read_bytes() for file in pictures
    )

    before = bucket.sizes()
    run(job, echo=lines.append)
    assert f"{FRAMES} frames of 1 videos; 0 to do" in lines
    added = bucket.sizes().keys() - before.keys()
    assert [re.sub(r"[^/]+\.log", "a log", name) for name in added] == ["runs/out/logs/a log"]
    for command in (["status", out, "--json"], ["report", out]):
        monkeypatch.setattr("sys.argv", ["raydepth", *command])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
    assert json.loads(capsys.readouterr().out.splitlines()[0])["frames"]["done"] == FRAMES
    assert "runs/out/report/index.html" in bucket.sizes()


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_an_upload_that_fails_ends_the_run_and_the_next_goes_on(
    clip: Path, bucket: Bucket, proxy: Proxy
) -> None:
    out = f"{bucket.uri}/runs/out"
    job = small_job([f"{bucket.uri}/in/clip.mp4"], out, depth__model=PATTERN)
    proxy.fault = lambda r: (
        "denied" if r.method == "PUT" and "000000-0001.parquet" in r.path else ""
    )
    with pytest.raises(WorkerFailed, match="access denied"):
        run(job, echo=lambda line: None)
    kept = [name for name in bucket.sizes() if name.startswith("runs/out/frames/")]
    assert len(kept) == 1 and not any("/.raydepth.lock/" in name for name in bucket.sizes())
    proxy.fault = lambda request: ""
    lines: list[str] = []
    assert run(job, echo=lines.append).frames["done"] == FRAMES
    assert any("8 to do" in line for line in lines)
