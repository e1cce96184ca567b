"""Edited clips written to object storage (``output.video``): whole objects, played back as they are
on disk.
"""

import re
from pathlib import Path

import av
import numpy as np
import pytest

from raydepth.frames.decode import batches
from raydepth.frames.probe import probe
from raydepth.frames.segments import plan_segments
from raydepth.output.folder import OutputFolder
from raydepth.output.plan import Part, cut_parts
from raydepth.output.settings import Output
from raydepth.output.shards import batch_table, encode_pictures, write_shard
from raydepth.output.video import write_videos
from tests.frames.barcodes import make_clip
from tests.storage.conftest import Bucket
from tests.storage.proxy import Proxy


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "clip.mp4", 12, audio=True)


def edited(folder: OutputFolder, clip: str) -> list[Part]:
    """Shards of a run whose edited pictures are the source's, under ``folder``."""
    parts = cut_parts(plan_segments(probe(clip), size=None), batch=4, shard_frames=8, limit=None)
    for part in parts:
        tables = []
        for batch in batches(part.segment.take(slice(part.start, part.stop)), 4):
            batch["attempts"] = np.ones(len(batch["pts"]), np.int32)
            tables.append(
                batch_table(batch, encode_pictures([{"edited": rgb} for rgb in batch["rgb"]]))
            )
        write_shard(folder, part.name, tables, Output(path=folder.uri, keep=["edited"]))
    return parts


def test_a_video_from_bucket_to_bucket(bucket: Bucket, clip: Path, tmp_path: Path) -> None:
    """Source, shards and video in a bucket: byte for byte the video that is written on disk, audio
    and all.
    """
    there = OutputFolder.at(f"{bucket.uri}/runs/out")
    uri = bucket.put("in/clip.mp4", clip.read_bytes())
    (line,) = write_videos(there, edited(there, uri), {}, crf=18)
    here = OutputFolder.at(str(tmp_path / "out"))
    parts = edited(here, str(clip))
    (same,) = write_videos(here, parts, {}, crf=18)
    assert line == same and "12 frames; audio copied" in line
    name = f"videos/{parts[0].segment.video}.mp4"
    data = bucket.get(f"runs/out/{name}")
    assert data == (tmp_path / "out" / name).read_bytes()
    (tmp_path / "back.mp4").write_bytes(data)
    with av.open(str(tmp_path / "back.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 12 and len(video.streams.audio) == 1


@pytest.mark.timeout(60)
def test_an_upload_of_a_video_that_breaks_off_leaves_none(
    bucket: Bucket, proxy: Proxy, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No half video in the bucket, none left on this machine, and the next run writes it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    folder = OutputFolder.at(f"{bucket.uri}/runs/out")
    parts = edited(folder, str(clip))
    proxy.fault = lambda r: "denied" if r.method in ("PUT", "POST") and "/videos/" in r.path else ""
    (line,) = write_videos(folder, parts, {}, crf=18)
    assert "not written" in line and re.search(r"runs/out/videos/.*\.mp4: .*access denied", line)
    assert not any("videos/" in name for name in bucket.sizes())
    assert not list((tmp_path / "tmp").rglob("*.mp4*"))
    proxy.fault = lambda request: ""
    (line,) = write_videos(folder, parts, {}, crf=18)
    assert "12 frames" in line and any("videos/" in name for name in bucket.sizes())
