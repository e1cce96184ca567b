"""The ledger of what is done, read from the shards: what a run has still to do, and the status."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

import pyarrow as pa
import pyarrow.compute as pc

from raydepth.errors import JobError
from raydepth.evaluate.fold import row_columns
from raydepth.evaluate.verdict import judge
from raydepth.output.folder import OutputFolder
from raydepth.output.plan import GONE, Part, read_plan, unreadable_sources
from raydepth.output.record import read_job
from raydepth.output.shards import FRAMES, DamagedShard, named_shards, read_shard, shard_name


@dataclass(frozen=True)
class Ledger:
    """What the shards hold.

    Attributes:
        rows: every frame in them: ``frame_id`` -> (status, attempts, error type).
        damaged: names of files among them that are no readable shards; their frames are missing,
            and so are done again.
        where: the shard of every frame that is done.
    """

    rows: dict[str, tuple[str, int, str]]
    damaged: tuple[str, ...] = ()
    where: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(
        cls,
        folder: OutputFolder,
        below: str = FRAMES,
        *,
        each: Callable[[pa.Table], None] = lambda table: None,
    ) -> "Ledger":
        """Reads the small columns of every shard in a subfolder; ``each`` gets them too.

        A frame that two shards hold counts once, ok before error.
        """
        rows: dict[str, tuple[str, int, str]] = {}
        damaged: list[str] = []
        where: dict[str, str] = {}
        columns = ("frame_id", "status", "attempts", "error_type")
        for name, table in named_shards(folder, damaged=damaged, below=below):
            each(table)
            for frame_id, status, attempts, error_type in zip(
                *(table[name].to_pylist() for name in columns),
                strict=True,
            ):
                if rows.get(frame_id, ("error",))[0] != "ok":
                    rows[frame_id] = (status, attempts, error_type)
                    if status == "ok":
                        where[frame_id] = name
        return cls(rows, tuple(damaged), where)

    def joined(self, aside: "Ledger", names: Collection[str]) -> "Ledger":
        """With what is kept aside of these shards, which come back; ok before error."""
        videos = {name.split("/")[1] for name in names if name.startswith(f"{FRAMES}/")}
        rows, where = dict(self.rows), dict(self.where)
        for frame_id, row in aside.rows.items():
            if frame_id.partition(":")[0] in videos and rows.get(frame_id, ("error",))[0] != "ok":
                rows[frame_id] = row
                if frame_id in aside.where:
                    where[frame_id] = aside.where[frame_id].removeprefix(GONE)
        return Ledger(rows, self.damaged, where)

    def finished(self, frame_id: str, attempts: int) -> bool:
        """Done, or failed so often that it stays quarantined."""
        status, tried, _ = self.rows.get(frame_id, ("missing", 0, ""))
        return _finished(status, tried, attempts)

    def todo(self, parts: list[Part], attempts: int) -> list[Part]:
        """The parts with a frame that is missing or may be tried again.

        A part is decoded whole, and batches with such a frame are edited whole, so bytes stay
        equal. Rows of frames that are finished stay as they are (``earlier_rows``).
        """
        return [
            part
            for part in parts
            if not all(self.finished(frame, attempts) for frame in part.frame_ids)
        ]

    def tried(self, frame_id: str) -> int:
        """Attempts of earlier runs on a frame that is not done; 0 for a done or new frame."""
        status, attempts, _ = self.rows.get(frame_id, ("missing", 0, ""))
        return attempts if status == "error" else 0

    def elsewhere(self, parts: list[Part]) -> frozenset[str]:
        """Frames of these parts that are done in another shard than their part's.

        Parts were cut otherwise then (``run.batch``); the frames stay where they are.
        """
        return frozenset(
            frame
            for part in parts
            for frame in part.frame_ids
            if self.where.get(frame, shard_name(part.name)) != shard_name(part.name)
        )


def _finished(status: str, tried: int, attempts: int) -> bool:
    return status == "ok" or (status == "error" and tried >= attempts)


def earlier_rows(folder: OutputFolder, part: Part, attempts: int) -> pa.Table | None:
    """The rows of a part's shard that another try leaves as they are, with their pictures.

    Those are the rows of frames that are finished, so that a good frame is never replaced by an
    error, and of frames that the part does not have: it was cut otherwise, or to fewer frames
    (``input.limit``). None: there is no such row, no shard, or a damaged one.

    Raises:
        OSError: the storage can't be read; what is there must not be written over.
    """
    name = shard_name(part.name)
    if not folder.exists(name):
        return None
    try:
        table = read_shard(folder, name, pictures=True)
    except DamagedShard:
        return None
    mine = frozenset(part.frame_ids)
    columns = (table[column].to_pylist() for column in ("frame_id", "status", "attempts"))
    stays = [
        frame not in mine or _finished(status, tried, attempts)
        for frame, status, tried in zip(*columns, strict=True)
    ]
    return table.filter(pa.array(stays, pa.bool_())) if any(stays) else None


class GoneSource(TypedDict):
    """A source whose results are kept aside, as the job does not have it any more."""

    path: str
    video: str
    frames: int


def sources_in(folder: OutputFolder, shards: Iterable[str]) -> list[GoneSource]:
    """The sources of these shards, by path, and how many frames of each there are."""
    found: dict[str, GoneSource] = {}
    for name in shards:
        try:
            table = read_shard(folder, name, columns=("video", "path"))
        except DamagedShard:
            continue
        for video, path in zip(table["video"].to_pylist(), table["path"].to_pylist(), strict=True):
            found.setdefault(video, {"path": path, "video": video, "frames": 0})["frames"] += 1
    return sorted(found.values(), key=lambda gone: (gone["path"], gone["video"]))


def count(frame_ids: Sequence[str], ledger: Ledger) -> tuple[dict[str, int], dict[str, int]]:
    """How many of these frames there are in all (``total``), and are ``done``, ``failed`` and
    ``missing``; and the failed ones by error type, the most frequent first.
    """
    rows = [ledger.rows.get(frame_id, ("missing", 0, "")) for frame_id in frame_ids]
    states = Counter(state for state, _, _ in rows)
    errors = Counter(reason for state, _, reason in rows if state == "error")
    frames = {"total": len(rows), "done": states["ok"], "failed": states["error"]}
    return frames | {"missing": states["missing"]}, dict(errors.most_common())


def status(folder: OutputFolder) -> dict:
    """What ``raydepth status --json`` prints.

    See raydepth/README.md, "Conventions and contracts". Frames are those of ``segments.parquet``,
    whatever else the shards hold. `unreadable` are sources that could not be read, or not to their
    end. `gone` are those that the job does not have any more. `damaged` are files among the shards
    that can't be read. `verdict` is that of ``evaluate.verdict`` on what is done; null
    where ``job.yaml`` is gone or damaged.

    Raises:
        FileNotFoundError: no run has started.
        JobError: ``segments.parquet`` is damaged.
    """
    plan = read_plan(folder)
    planned = plan["frame_id"].drop_null().combine_chunks()
    rows: list[pa.Table] = []

    def keep(table: pa.Table) -> None:
        columns = row_columns(table.column_names)
        rows.append(table.select(columns).filter(pc.is_in(table["frame_id"], planned)))

    ledger = Ledger.read(folder, each=keep)
    frames, errors = count(planned.to_pylist(), ledger)
    unreadable = unreadable_sources(plan)
    try:
        job = read_job(folder)
    except JobError:
        verdict = None
    else:
        verdict = judge(rows, job, broken=bool(frames["failed"] or unreadable)).tree()
    sizes = folder.files(FRAMES)
    aside = [name for name in folder.files(GONE + FRAMES) if name.endswith(".parquet")]
    return {
        "frames": frames,
        "shards": len(sizes),
        "bytes": sum(sizes.values()),
        "damaged": list(ledger.damaged),
        "errors": errors,
        "unreadable": unreadable,
        "gone": sources_in(folder, aside),
        "verdict": verdict,
    }
