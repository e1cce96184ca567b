"""Every bad video becomes frames in their places, error rows, or one named refusal; never a crash,
a hang or a shift.
"""

import resource
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from raydepth.frames.decode import Frame, decode
from raydepth.frames.probe import probe
from raydepth.frames.segments import plan_segments
from raydepth.frames.source import Source
from raydepth.frames.sources import SourceError, expand
from tests.faults import bad_videos
from tests.faults.bad_videos import CONTAINERS, PLACES, STRANGE, N, flipped, truncated, whole
from tests.frames.barcodes import read_barcode

pytestmark = pytest.mark.timeout(20)

STREAMS = ("h264.ts", "mpeg2.mpg")
"""No index and no checksums: where a packet's head is lost, its content counts as more of the
packet before."""
REFUSALS = {
    "EmptyFile",
    "NotAVideo",
    "NoVideoStream",
    "NoDecoder",
    "NoFrames",
    "TooLarge",
    "Unreadable",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    av.logging.set_level(None)
    return tmp_path_factory.mktemp("bad videos")


def look(path: Path, size: int | None = None) -> tuple[Source, list[Frame]] | SourceError:
    """What a run would see of a file; every planned frame must come exactly once and in order, or
    the file be refused.
    """
    (found,) = expand([str(path)])
    try:
        source = probe(found)
    except SourceError as error:
        assert error.error_type in REFUSALS
        assert path.name in str(error)
        assert len(str(error)) < 500
        return error
    assert (np.diff(source.pts) > 0).all()
    frames = [
        f for segment in plan_segments(source, size=size, min_frames=8) for f in decode(segment)
    ]
    assert [frame.frame_index for frame in frames] == list(range(len(source.pts)))
    assert [frame.pts for frame in frames] == source.pts.tolist()
    for frame in frames:
        assert (frame.rgb is None) == bool(frame.error_type) == bool(frame.error_message)
    return source, frames


def numbers_by_pts(path: Path) -> dict[int, int]:
    """Time stamp -> number in the picture, of a good clip."""
    seen = look(path)
    assert not isinstance(seen, SourceError)
    return {frame.pts: frame.frame_index for frame in seen[1]}


@pytest.mark.parametrize("tenths", range(1, 10))
@pytest.mark.parametrize("name", CONTAINERS)
def test_truncated(folder: Path, name: str, tenths: int) -> None:
    """What is left comes as it was, under its own time stamp, and where the file says how long it
    was, the loss is told.
    """
    numbers = numbers_by_pts(whole(folder, name))
    seen = look(truncated(folder, name, tenths))
    if isinstance(seen, SourceError):
        # Without its index an mp4 holds nothing that can be found; others need their head and a
        # first frame.
        assert name == "moov last.mp4" or tenths < 10 * 0.95
        return
    source, frames = seen
    good = [frame for frame in frames if frame.rgb is not None]
    if name in STREAMS:  # the last frame may get the stamp of one before it whose packet is gone
        good = [frame for frame in good if frame.frame_index < len(frames) - 3]
    assert [read_barcode(frame.rgb) for frame in good] == [numbers[frame.pts] for frame in good]
    assert sum(frame.rgb is None for frame in frames) <= 2  # what was cut in two
    if name == "faststart.mp4" or (
        name in ("mpeg4.avi", "h264.mkv", "vp8.webm") and len(frames) < N // 2
    ):
        assert "truncated" in source.note


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", CONTAINERS)
def test_flipped_bytes(folder: Path, name: str, place: str) -> None:
    """A picture is shown under its own time stamp, or is spoiled, or is an error; it never stands
    in another's place.
    """
    numbers = numbers_by_pts(whole(folder, name, intra=True))
    seen = look(flipped(folder, name, place))
    if isinstance(seen, SourceError):
        assert place in ("head", "tail", "everywhere") or name.endswith(
            ("mp4", "mkv", "webm")
        )  # the index is hit
        return
    source, frames = seen
    if source.packets is not None and not name.endswith("avi"):
        return  # the stamps themselves are gone: there is no time to be wrong about
    shifted = []
    for frame in frames:
        number = None if frame.rgb is None else read_barcode(frame.rgb)
        if number is not None and numbers.get(frame.pts, number) != number:
            assert name in STREAMS and abs(number - numbers[frame.pts]) == 1
            shifted.append(number)
    # Packets that lost their own stamp get the one before; the next stamp, half a second later,
    # puts it right.
    assert not shifted or max(shifted) - min(shifted) < 12


@pytest.mark.parametrize("name", STRANGE)
def test_strange(folder: Path, name: str) -> None:
    make, outcome = STRANGE[name]
    made = make(folder / name)
    seen = look(made)
    if outcome == "some":  # damage that may cost anything, but no more than frames
        return
    if isinstance(outcome, str) and outcome != "in order":
        assert isinstance(seen, SourceError), "it was not refused"
        assert seen.error_type in outcome.split("|")
        return
    assert not isinstance(seen, SourceError), seen
    source, frames = seen
    good = [frame for frame in frames if frame.rgb is not None]
    if outcome == "in order":  # and nothing else is known beforehand
        numbers = [read_barcode(frame.rgb) for frame in good]
        assert len(numbers) >= 20
        expected = [i % 20 for i in range(40)] if "joined" in name else list(range(40))
        assert numbers == [expected[frame.frame_index] for frame in good]
        return
    assert len(good) == len(frames) == outcome
    if min(source.height, source.width) > 2:
        assert [read_barcode(frame.rgb) for frame in frames] == list(range(outcome))
    assert not source.note


def test_a_strip_is_not_enlarged_beyond_memory(folder: Path) -> None:
    source = probe(str(STRANGE["a line of 4096 pixels.mkv"][0](folder / "line.mkv")))
    (segment,) = plan_segments(source, size=512)
    assert (segment.height, segment.width) == (1, 4096)
    assert [frame.rgb.shape for frame in decode(segment)] == [(1, 4096, 3)] * 3


def test_a_playlist_opens_nothing(folder: Path) -> None:
    """Neither the files that it names (a pipe would hang) nor the addresses."""
    import os
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        os.mkfifo(folder / "pipe.ts")
        port = server.getsockname()[1]
        for i, text in enumerate((
            f"#EXTM3U\n#EXTINF:9,\nhttp://127.0.0.1:{port}/a.ts\n#EXTINF:9,\npipe.ts\n#EXT-X-ENDLIST\n",
            "ffconcat version 1.0\nfile pipe.ts\n",
        )):  # fmt: skip
            (folder / f"list {i}.mp4").write_text(text)
            seen = look(folder / f"list {i}.mp4")
            assert isinstance(seen, SourceError) and seen.error_type == "NotAVideo"
        with pytest.raises(TimeoutError):
            server.accept()


HOME = Path(__file__).parents[2]
_MEASURE = """
import sys
import av
from raydepth.frames.probe import probe
from raydepth.frames.segments import plan_segments
from raydepth.frames.decode import decode
from raydepth.frames.sources import SourceError
av.logging.set_level(None)
def high_water():
    status = open("/proc/self/status")
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) // 1024
before = high_water()
try:
    segments = plan_segments(probe(sys.argv[1]), size=512)
    frames = sum(frame.rgb is not None for segment in segments for frame in decode(segment))
except SourceError:
    frames = -1
print(frames, high_water() - before)
"""


@pytest.mark.parametrize(
    ("name", "limit_mb"),
    [
        ("says 65535 x 65535.mp4", 100),
        ("says 1000 million frames.mp4", 100),
        ("says 2^31 x 2^31.y4m", 100),
        ("says 16000 x 16000.gif", 100),
        ("says 65535 x 65535.gif", 100),
        ("a box of 4 GB.mp4", 100),
        ("16K wide.mov", 200),
        ("stamps near the end of 64 bits.nut", 100),
    ],
)
def test_memory_follows_what_is_there_not_what_is_announced(
    folder: Path, name: str, limit_mb: int
) -> None:
    path = STRANGE[name][0](folder / f"measured {name}")
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(path)],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
        cwd=HOME,
    )
    frames, megabytes = map(int, done.stdout.split())
    assert megabytes < limit_mb
    assert frames in (-1, 0, 2, 8, 12, 24)


def test_pictures_of_sixteen_thousand_pixels(tmp_path: Path) -> None:
    """33 million pixels a frame, decoded and scaled down, in a few times the frame's own 100 MB."""
    path = bad_videos.make_clip(
        tmp_path / "16K.mov", 1, codec="mjpeg", size=(2160, 15360), pix_fmt="yuvj420p",
        picture=lambda i: np.broadcast_to(np.uint8(90), (2160, 15360, 3)),
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(path)],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
        cwd=HOME,
    )
    frames, megabytes = map(int, done.stdout.split())
    assert frames == 1
    assert megabytes < 400


def test_the_cases_are_many() -> None:
    """Every container with every kind of damage, so that no loop over them is empty."""
    assert len(CONTAINERS) * (9 + len(PLACES)) + len(STRANGE) > 200
    assert (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 8 << 20
    )  # kilobytes: no case ate the machine
