"""Videos and images in object storage are the same sources as on disk, and no more of them is read than has to be."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from raydepth import ranges
from raydepth.frames import thin
from raydepth.frames.decode import decode
from raydepth.frames.probe import Source, probe
from raydepth.frames.segments import plan_segments
from raydepth.ranges import RemoteFile
from tests.frames.barcodes import CLIPS, FRAMES, clip_of, make_clip, read_barcode
from tests.storage.conftest import Bucket

MORE_CLIPS = {
    "fast.mp4": {"options": {"g": "12"}, "container_options": {"movflags": "faststart"}},
    "fragmented.mp4": {"options": {"g": "12"}, "container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "dash.mp4": {"options": {"g": "12"}, "container_options": {"movflags": "dash"}},
    "hybrid.mp4": {"options": {"g": "12"}, "container_options": {"movflags": "hybrid_fragmented"}},
    "refresh.mp4": CLIPS["refresh.mkv"],
    "prores.mov": {"codec": "prores_ks", "pix_fmt": "yuv422p10le"},
    "mpeg4 b.mp4": {"codec": "mpeg4", "options": {"g": "12", "bf": "2"}},
    "vp9.mp4": CLIPS["vp9.webm"],
    "hevc.mov": CLIPS["hevc.mp4"],
}
READ_WHOLE = ("fragmented.mp4", "dash.mp4", "vp9.mp4")
"""mp4 files that the index does not tell enough of."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips of ä")


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets clips of some kilobytes be read as those of gigabytes are: FFmpeg's own buffer would hold all of them."""
    monkeypatch.setattr(ranges, "READ_FIRST", 64)
    monkeypatch.setattr(ranges, "READ_MOST", 1024)
    monkeypatch.setattr(ranges, "BRIDGE", 0)
    monkeypatch.setattr(thin, "HEAD", 16)
    monkeypatch.setattr("raydepth.frames.container.REMOTE_BUFFER", 256)


def same(a: Source, b: Source) -> bool:
    """Whether two sources are equal but for where they lie."""
    left, right = asdict(a), asdict(b)
    for tree in (left, right):
        del tree["path"], tree["images"]
    return left.keys() == right.keys() and all(np.array_equal(left[key], right[key]) for key in left)


def numbers(source: Source, min_frames: int = 10) -> list[int | None]:
    segments = plan_segments(source, size=None, min_frames=min_frames)
    frames = [frame for segment in segments for frame in decode(segment)]
    return [None if frame.rgb is None else read_barcode(frame.rgb) for frame in frames]


def clip(folder: Path, name: str) -> Path:
    path = folder / name
    return (
        clip_of(folder, name)
        if name in CLIPS
        else path
        if path.exists()
        else make_clip(path, FRAMES, **MORE_CLIPS[name])
    )


@pytest.mark.parametrize("name", [n for n in [*CLIPS, *MORE_CLIPS] if n.endswith((".mp4", ".mov"))])
@pytest.mark.usefixtures("small_ranges")
def test_an_index_tells_what_reading_everything_tells(
    folder: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    thinned = []
    keep_only = RemoteFile.keep_only

    def watched(self: RemoteFile, wanted: list) -> None:
        keep_only(self, wanted)
        thinned.append(self.thinned)

    monkeypatch.setattr(RemoteFile, "keep_only", watched)
    path = clip(folder, name)
    uri = bucket.put(name, path.read_bytes())
    assert same(probe(uri), probe(str(path)))
    assert thinned == ([] if name in READ_WHOLE else [True])
