"""Runs reduced to what they do to their output folder, and a user who keeps files in it: no models,
no decoding, no Ray.
"""

import dataclasses
from contextlib import ExitStack
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from raydepth.errors import JobError
from raydepth.frames.segments import Segment
from raydepth.output.clip_videos import video_name
from raydepth.output.folder import OutputFolder
from raydepth.output.layers import layers_name
from raydepth.output.ledger import Ledger
from raydepth.output.names import Listed
from raydepth.output.plan import cut_parts
from raydepth.output.record import BENCHMARK, CALIBRATIONS
from raydepth.output.shards import FRAMES, PICTURES, shard_name, write_shard
from raydepth.run.prepare import Source, plan_changes
from tests.support.runs import small_job

VIDEOS = tuple(f"{number:016x}" for number in (0xA, 0xB, 0xC))
PER_VIDEO = 4


class Died(BaseException):
    """The run's process is gone in the middle of its work."""


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run is asked for.

    ``dies_after``: it comes to an end after so many changes in the folder; None: it does not.
    """

    videos: tuple[str, ...]
    limit: int | None = None
    overwrite: bool = False
    images: str = "parquet"
    layers: bool = False
    video: bool = False
    dies_after: int | None = None


runs = st.builds(
    Run,
    videos=st.lists(st.sampled_from(VIDEOS), min_size=1, unique=True).map(tuple),
    limit=st.none() | st.integers(1, 12),
    overwrite=st.booleans(),
    images=st.sampled_from(["parquet", "both"]),
    layers=st.booleans(),
    video=st.booleans(),
    dies_after=st.none() | st.integers(0, 30),
)

_V = VIDEOS[0]
names = st.sampled_from(
    [
        *("notes.txt", "job.yaml", "object.png", "a.tmp", "frames", "data/clip.mp4"),
        *("videos/mine.mp4", "videos/dog.mp4", f"videos/dog-{_V}.mp4", "videos/dog.mov"),
        "report/figures/mine.png",
        *("report/index.html", "report/pictures/00_edited.jpg", "report/notes.md"),
        *("frames/mine.parquet", f"frames/{_V}/mine.parquet", f"frames/{_V}/000000-0000.parquet"),
        *("images/dog/000000_edited.png", "images/dog/mine.png", "images/mine.png"),
        *("layers/dog/000000/layers.json", "layers/dog/000000/mine.png", "layers/dog/notes"),
        *(f"plates/{_V}.png", "gone/mine.txt", f"gone/frames/{_V}/000000-0000.parquet"),
        f"frames/{_V}/.000000-0000.parquet.{'0' * 32}.tmp.part",
        f".notes.txt.{'0' * 32}.tmp",
    ]
)
"""What a user may call a file of his: some are names that runs write too."""


def source(video: str) -> str:
    """Where a clip lies: all have one name, so what their outputs are called depends on which came
    first.
    """
    return f"/clips/{video}/dog.mp4"


def segment(video: str) -> Segment:
    numbers = np.arange(PER_VIDEO)
    return Segment(
        video, source(video), "video", 0, 32, 32, (1, 0, 0, 1), Fraction(1, 25), 0,
        numbers, numbers, numbers / 25, numbers[:1], numbers[:1],
    )  # fmt: skip


def shard_rows(video: str, indices: np.ndarray) -> pa.Table:
    """Rows of done frames, with what every row of a shard says."""
    n = len(indices)
    columns: dict[str, Any] = {
        "frame_id": [f"{video}:{index}" for index in indices],
        "video": [video] * n,
        "path": [source(video)] * n,
        "frame_index": indices.astype(np.int64),
        "time_s": indices / 25,
        "attempts": pa.array([1] * n, pa.int32()),
        "status": ["ok"] * n,
        "error_type": [""] * n,
        "error_message": [""] * n,
        **dict.fromkeys(PICTURES, pa.array([b"png"] * n, pa.binary())),
    }
    return pa.table(columns)


class Mortal(OutputFolder):
    """A folder in which only so many changes can be made before the process is gone."""

    left: list[int]

    @classmethod
    def of(cls, uri: str, changes: int | None) -> "Mortal":
        folder = cls(**vars(OutputFolder.at(uri)))
        object.__setattr__(folder, "left", [10**9 if changes is None else changes])
        return folder

    def _spend(self) -> None:
        self.left[0] -= 1
        if self.left[0] < 0:
            raise Died

    def write(self, name: str, data: bytes) -> None:
        self._spend()
        super().write(name, data)

    def delete(self, names: Any) -> None:
        for name in sorted(names):
            self._spend()
            super().delete([name])

    def move(self, names: Any, source: str, target: str) -> None:
        for name in sorted(names):
            self._spend()
            super().move([name], source, target)


def do_run(uri: str, asked: Run) -> None:
    """What a run changes, in its order; raises JobError where it refuses, Died where it dies."""
    output = {"images": asked.images, "layers": asked.layers, "video": asked.video}
    job = small_job(
        ["/clips"], uri, output__overwrite=asked.overwrite, input__limit=asked.limit,
        **{f"output__{field}": value for field, value in output.items()},
    )  # fmt: skip
    segments = [segment(video) for video in sorted(asked.videos)]
    parts = cut_parts(segments, batch=1, shard_frames=2, limit=asked.limit)
    folder = Mortal.of(uri, asked.dies_after)
    job = job.writing_to(folder.location)
    with ExitStack() as stack:
        stack.enter_context(folder.taken())
        changes = plan_changes(job, Source(segments, parts, []), folder)
        todo = changes.read_ledger().todo(parts, attempts=1)
        changes.make(None, lambda line: None)
        folder.write(CALIBRATIONS, b"{}")
        for part in todo:
            video, indices = part.segment.video, part.segment.frame_index[part.start : part.stop]
            clip = changes.clips[video]
            if asked.layers:
                for index in indices:
                    folder.write(f"{layers_name(clip, index)}/00_near.png", b"png")
                    folder.write(f"{layers_name(clip, index)}/layers.json", b"{}")
            write_shard(folder, part.name, [shard_rows(video, indices)], job.output, clip=clip)
        for part in parts if asked.video else ():
            folder.write(video_name(changes.clips[part.segment.video]), part.segment.video.encode())
        folder.write(BENCHMARK, b"{}")
        for name in ("index.html", "report.json", "pictures/00_edited.jpg", "figures/curves_0.png"):
            folder.write(f"report/{name}", b"report")


def good_frames(folder: OutputFolder) -> set[str]:
    """Ids of the frames whose results the folder holds, whether or not their source is there."""
    return {
        frame_id
        for below in (FRAMES, f"gone/{FRAMES}")
        for frame_id, row in Ledger.read(folder, below).rows.items()
        if row[0] == "ok"
    }


def planned_shards(asked: Run) -> set[str]:
    parts = cut_parts(
        [segment(video) for video in sorted(asked.videos)],
        batch=1, shard_frames=2, limit=asked.limit,
    )  # fmt: skip
    return {shard_name(part.name) for part in parts}


@dataclasses.dataclass
class Model:
    """The folder, the user's files in it, and what must hold after everything that is done.

    ``read`` gives every file of the folder, by a client of its own.
    """

    uri: str
    read: Any
    put: Any
    mine: dict[str, bytes] = dataclasses.field(default_factory=dict)
    refused: int = 0

    def user_keeps(self, name: str) -> None:
        """A user's file; a listed name is raydepth's, and a path through a file is none."""
        folder, there = OutputFolder.at(self.uri), self.read()
        if Listed.read(folder).holds(name) or name in there:
            return
        if any(other.startswith(f"{name}/") or name.startswith(f"{other}/") for other in there):
            return
        self.mine[name] = f"mine: {name}, {len(self.mine)}".encode()
        self.put(name, self.mine[name])

    def run(self, asked: Run) -> None:
        folder, before = OutputFolder.at(self.uri), self.read()
        good, called = good_frames(folder), Listed.read(folder).clips
        try:
            do_run(self.uri, asked)
        except JobError:
            self.refused += 1
            assert self.read() == before, "a refused run changed something"
        except Died:
            pass
        else:
            shards = {name for name in folder.files(FRAMES) if name not in self.mine}
            other = {name for name in shards if name.split("/")[1] not in asked.videos}
            assert planned_shards(asked) <= shards
            assert not other, "results of sources that are gone are among the others"
            clips = Listed.read(folder).clips
            assert len(set(clips.values())) == len(clips), "two clips have one name"
            for video in asked.videos if asked.video else ():
                if any(f"/{video}/" in name for name in planned_shards(asked)):
                    assert self.read()[video_name(clips[video])] == video.encode()
        if good and not asked.overwrite:
            assert called.items() <= Listed.read(folder).clips.items(), "a clip is called otherwise"
        if not asked.overwrite:
            assert good <= good_frames(folder), "a frame that was good is lost"
        there = self.read()
        assert {name: there.get(name) for name in self.mine} == self.mine

    def play(self, story: list[str | Run]) -> None:
        for step in story:
            self.user_keeps(step) if isinstance(step, str) else self.run(step)


stories = st.lists(runs | names, min_size=2, max_size=8)
