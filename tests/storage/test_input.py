"""Videos and images in object storage are the same sources as on disk, and no more of them is read
than has to be.
"""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from raydepth.errors import JobError
from raydepth.files import ranges
from raydepth.files.ranges import RemoteFile
from raydepth.frames import index_only, packets
from raydepth.frames.decode import decode
from raydepth.frames.probe import probe
from raydepth.frames.segments import plan_segments
from raydepth.frames.source import Source
from raydepth.frames.sources import SourceError, expand
from tests.frames.barcodes import CLIPS, FRAMES, clip_of, flip, make_clip, read_barcode
from tests.storage.conftest import Bucket
from tests.storage.proxy import Proxy

MORE_CLIPS = {
    "fast.mp4": {"options": {"g": "12"}, "container_options": {"movflags": "faststart"}},
    "fragmented.mp4": {
        "options": {"g": "12"},
        "container_options": {"movflags": "frag_keyframe+empty_moov"},
    },
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
    """Lets clips of some kilobytes be read as those of gigabytes are: FFmpeg's own buffer would
    hold all of them.
    """
    monkeypatch.setattr(ranges, "READ_FIRST", 1024)
    monkeypatch.setattr(ranges, "READ_MOST", 4096)
    monkeypatch.setattr(ranges, "BRIDGE", 0)
    monkeypatch.setattr(index_only, "HEAD", 16)
    monkeypatch.setattr("raydepth.frames.container.REMOTE_BUFFER", 256)


def same(a: Source, b: Source) -> bool:
    """Whether two sources are equal but for where they lie."""
    left, right = asdict(a), asdict(b)
    for tree in (left, right):
        del tree["path"], tree["images"]
    return left.keys() == right.keys() and all(
        np.array_equal(left[key], right[key]) for key in left
    )


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
    sparse, tables = [], []
    keep_only, read_packets = RemoteFile.keep_only, packets.read_packets

    def watched(self: RemoteFile, wanted: list) -> None:
        keep_only(self, wanted)
        sparse.append(self.sparse)

    def counted(*args: Any, **options: Any) -> Any:
        tables.append(args)
        return read_packets(*args, **options)

    path = clip(folder, name)
    local = probe(str(path))
    monkeypatch.setattr(RemoteFile, "keep_only", watched)
    monkeypatch.setattr("raydepth.frames.probe.read_packets", counted)
    assert same(probe(bucket.put(name, path.read_bytes())), local)
    assert sparse == ([] if name in READ_WHOLE else [True])
    assert len(tables) == 1  # not read again in full


@pytest.mark.parametrize(
    "name",
    ["open.mp4", "fast.mp4", "open.mkv", "mpeg2.ts", "mpeg4 b.avi", "raw.h264", "picture.gif"],
)
@pytest.mark.usefixtures("small_ranges")
def test_frames_come_as_from_disk(folder: Path, bucket: Bucket, name: str) -> None:
    path = clip(folder, name)
    source, local = probe(bucket.put(name, path.read_bytes())), probe(str(path))
    assert same(source, local)
    assert numbers(source) == numbers(local) == list(range(FRAMES))


@pytest.mark.parametrize("name", ["fast.mp4", "open.mkv", "open.mp4"])
@pytest.mark.usefixtures("small_ranges")
def test_damage_is_found_as_on_disk(
    folder: Path, bucket: Bucket, tmp_path: Path, name: str
) -> None:
    """Cut off at every tenth of the file, and with bytes flipped in a keyframe's packet."""
    data = clip(folder, name).read_bytes()
    cases = [data[: len(data) * tenth // 10] for tenth in range(10)]
    cases.append(flip(clip(folder, name), 24, junk=True).read_bytes())
    for i, content in enumerate(cases):
        path = tmp_path / name
        path.write_bytes(content)
        uri = bucket.put(f"{i}/{name}", content)
        outcomes = []
        for where in (str(path), uri):
            try:
                source = probe(where)
                outcomes.append((source, numbers(source), source.note))
            except SourceError as error:
                outcomes.append((error.error_type, str(error).replace(where, "")))
        (local, *left), (remote, *right) = outcomes
        assert left == right
        assert local == remote if isinstance(local, str) else same(local, remote)


def test_what_is_no_video(bucket: Bucket) -> None:
    cases = {"empty.mp4": (b"", "EmptyFile"), "text.mp4": (b"no video\n" * 99, "NotAVideo")}
    for name, (content, error_type) in cases.items():
        with pytest.raises(SourceError, match=name) as raised:
            probe(bucket.put(name, content))
        assert raised.value.error_type == error_type
    with pytest.raises(SourceError, match="does not exist") as raised:
        probe(f"{bucket.uri}/nowhere.mp4")
    assert raised.value.error_type == "Missing"


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of 15 MB: 240 noisy pictures, a keyframe every 24."""
    noise = np.random.default_rng(0).integers(0, 255, (8, 256, 256, 3), dtype=np.uint8)
    return make_clip(
        tmp_path_factory.mktemp("long") / "long.mp4",
        240,
        size=(256, 256),
        picture=lambda i: noise[i % 8],
        options={"g": "24", "preset": "ultrafast", "qp": "20"},
        audio=True,
    )


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_only_what_a_segment_needs_is_fetched(
    long_clip: Path, tmp_path: Path, bucket: Bucket, proxy: Proxy, container: str
) -> None:
    path = long_clip if container == "mp4" else remuxed(long_clip, tmp_path / "long.mkv")
    size = path.stat().st_size
    assert size > 12 << 20
    uri = bucket.put(path.name, path.read_bytes())
    source = probe(uri)
    assert same(source, probe(str(path)))
    print("probe", proxy.sent() / size, len(proxy.requests))
    if container == "mp4":
        assert (
            proxy.sent() < 0.45 * size
        )  # head, first dozen frames, index, heads of keyframes, and both ends for the id
    for segment in plan_segments(source, size=64, min_frames=24)[:10:3]:
        proxy.requests.clear()
        frames = list(decode(segment))
        assert all(frame.rgb is not None for frame in frames)
        share = len(frames) / len(source.pts)
        print("segment", share, proxy.sent() / size, len(proxy.requests))
        assert proxy.sent() < (share + 0.2) * size
        assert len(proxy.requests) < 20


def remuxed(path: Path, target: Path) -> Path:
    with av.open(str(path)) as source, av.open(str(target), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    return target


def test_images(bucket: Bucket, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for i in (1, 2, 10):
        picture = Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8))
        exif = Image.Exif()
        exif[0x0112] = 6 if i == 2 else 1
        picture.save(tmp_path / f"{i}.png", exif=exif)
    (tmp_path / "11.png").write_bytes(b"damaged")
    for file in tmp_path.iterdir():
        bucket.put(f"walk/{file.name}", file.read_bytes())
    (uri,) = expand([f"{bucket.uri}/walk/"])
    local, remote = probe(str(tmp_path)), probe(uri)
    assert same(local, remote)
    assert [image.rpartition("/")[2] for image in remote.images] == [
        "1.png",
        "2.png",
        "10.png",
        "11.png",
    ]
    for a, b in zip(plan_segments(local, size=32), plan_segments(remote, size=32), strict=True):
        for left, right in zip(decode(a), decode(b), strict=True):
            assert left.error_type == right.error_type
            assert left.rgb is None or np.array_equal(left.rgb, right.rgb)
    assert same(probe(f"{bucket.uri}/walk/2.png"), probe(str(tmp_path / "2.png")))


FILES = [
    "clips/b10.mp4",
    "clips/b2.MOV",
    "clips/cover.jpg",
    "clips/notes.txt",
    "clips/._b2.MOV",
    "clips/deep/c.webm",
    "walk/1.png",
    "walk/10.png",
    "walk/2.png",
    "sets/a/1.jpg",
    "sets/b/1.jpg",
    "sets/.hidden/1.jpg",
    "odd [1] ü 日本 #%20?.mp4",
    "video.unusual",
    "text/readme.md",
]


@pytest.mark.parametrize(
    "paths",
    [
        ["clips"],
        ["clips/"],
        ["clips/*.mp4"],
        ["clips/*"],
        ["walk"],
        ["walk/*.png"],
        ["walk/?.png"],
        ["sets"],
        ["sets/*"],
        ["sets/*/1.jpg"],
        ["s[ea]ts/[!b]"],
        ["odd [1] ü 日本 #%20?.mp4"],
        ["odd*"],
        ["video.unusual"],
        ["*.unusual"],
        ["**/*.webm"],
        ["**"],
        ["**/1.*"],
        ["clips/deep", "clips", "clips/b10.mp4"],
    ],
)
def test_paths_stand_for_the_same_as_on_disk(
    bucket: Bucket, tmp_path: Path, paths: list[str]
) -> None:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
        bucket.put(name, b"x")
    bucket.put("clips/empty/")  # an object that stands for a folder
    local = [
        os.path.relpath(path, tmp_path) for path in expand([str(tmp_path / path) for path in paths])
    ]
    remote = [
        path.removeprefix(f"{bucket.uri}/")
        for path in expand([f"{bucket.uri}/{path}" for path in paths])
    ]
    assert (sorted(local) if "*" in paths[0] else local) == (
        sorted(remote) if "*" in paths[0] else remote
    )


def test_options_of_a_uri_stay_with_its_sources(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    host = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    bucket.put("clips/a?b.mp4", clip(folder, "open.mp4").read_bytes())
    query = f"?scheme=http&endpoint_override={host}&region=us-east-1"
    (found,) = expand([f"{bucket.uri}/clips/*.mp4{query}"])
    assert found == f"{bucket.uri}/clips/a?b.mp4{query}"
    assert numbers(probe(found)) == list(range(FRAMES))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("s3://{bucket}/nothing.mp4", "nothing.mp4' matches nothing"),
        ("s3://{bucket}/clips/*.avi", "avi' matches nothing"),
        ("s3://{bucket}/text", "text' holds neither videos nor images"),
        ("s3://no-such-bucket/a.mp4", "there is no such bucket"),
        ("s3://no-such-bucket/*", "there is no such bucket"),
        ("s3://no-such-bucket", "there is no such bucket"),
        ("s3://", "names no bucket"),
        ("s3://buck*/a.mp4", "names no bucket"),
        ("s3://key:secret@bucket/a.mp4", "AWS_SECRET_ACCESS_KEY"),
        ("ftp://host/a.mp4", "ftp:// is not known"),
    ],
)
def test_paths_that_stand_for_nothing(bucket: Bucket, path: str, message: str) -> None:
    bucket.put("text/readme.md", b"x")
    with pytest.raises(JobError, match=r"^input\.paths: ") as raised:
        expand([path.format(bucket=bucket.name)])
    assert message in str(raised.value)
    assert ":secret" not in str(raised.value)


def test_access_denied(bucket: Bucket, proxy: Proxy) -> None:
    uri = bucket.put("a.mp4", b"x")
    proxy.fault = lambda request: "denied"
    for path in (uri, f"{bucket.uri}/*.mp4", bucket.uri):
        with pytest.raises(
            JobError, match=r"^input\.paths: .*access denied: check AWS_ACCESS_KEY_ID"
        ):
            expand([path])
    with pytest.raises(SourceError, match="access denied") as raised:
        probe(uri)
    assert raised.value.error_type == "Unreadable"
