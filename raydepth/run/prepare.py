"""From the frames that there are to the work that is left: the output folder taken, Ray started."""

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from raydepth.edits.registry import EDITS
from raydepth.errors import JobError
from raydepth.files import storage
from raydepth.files.text import printable, utf8
from raydepth.frames.segments import Segment
from raydepth.frames.sources import SourceNote, UnreadableSource
from raydepth.job import Job
from raydepth.layers.fill.registry import FILLERS
from raydepth.output import names, record
from raydepth.output.clip_names import name_clips
from raydepth.output.folder import OutputFolder
from raydepth.output.ledger import Ledger, sources_in
from raydepth.output.names import Listed, Moves
from raydepth.output.pictures import pictures_not_held
from raydepth.output.plan import GONE, SEGMENTS, Part, write_plan
from raydepth.output.shards import FRAMES
from raydepth.run import cluster
from raydepth.run.check import named_models, thing_files
from raydepth.run.cost import check_deadline, mean_pixels
from raydepth.run.log import open_log, phase
from raydepth.run.placing import preflight
from raydepth.run.terminal import begin


@dataclass(frozen=True)
class Source:
    """Which frames there are."""

    segments: list[Segment]
    parts: list[Part]
    """Segments cut into what is decoded, edited and stored together: whole batches."""
    unreadable: list[UnreadableSource]
    notes: list[SourceNote] = field(default_factory=list)
    loaded: dict[str, str] = field(default_factory=dict)
    """What the job's names stand for here; see ``run.identity.identify``."""


@dataclass(frozen=True)
class Work:
    """What there is to do, and the folder that is this run's alone."""

    job: Job
    """As the workers read it."""
    folder: OutputFolder
    lost: Callable[[], bool]
    """Whether another run may write to the folder by now."""
    source: Source
    ledger: Ledger
    todo: list[Part]
    changes: "Changes"
    """What is yet to be done to the folder."""
    cut: bytes | None
    """The cut-out object that the folder is to hold, as PNG; None: it holds it, or needs none."""

    @property
    def names(self) -> dict[str, str]:
        """What the clips are called in the folder, by video id."""
        return self.changes.clips

    def take_over(self, echo: Callable[[str], None]) -> None:
        """Makes the folder this job's: the first that is changed there, once the models are
        loaded.
        """
        self.changes.make(self.cut, echo)


@phase
def prepare(
    job: Job, source: Source, address: str | None, stack: ExitStack, echo: Callable[[str], None]
) -> Work:
    """Locks the output folder, finds what is left to do and starts Ray for it; what is there stays
    as it is until ``Work.take_over``. ``stack`` gives both back.
    """
    folder = OutputFolder.at(job.output.path)
    job = job.writing_to(folder.location)  # workers may start in other folders
    lock = stack.enter_context(folder.taken())
    begin("reading what is done")
    changes = plan_changes(job, source, folder)
    ledger = changes.read_ledger()
    for name in ledger.damaged:
        echo(printable(f"damaged shard, its frames are done again: {name}"))
    todo = ledger.todo(source.parts, job.run.attempts)
    frames = sum(part.frames for part in todo)
    cut: bytes | None = None
    if todo:
        check_deadline(job, frames, mean_pixels(todo))
        cut = None if folder.exists(record.OBJECT) and not changes.anew else cut_object(job, echo)
        stack.callback(cluster.disconnect)
        begin("starting Ray" if address is None else "attaching to Ray")
        preflight(job.run, cluster.connect(job.run, address))
        if address is not None:
            cluster.check_nodes()
    if EDITS.of(job.edit).segmentation(job.edit):
        job = job.with_object(storage.join(folder.location, record.OBJECT))
    covered = sum(part.frames for part in source.parts)
    videos = len({part.segment.video for part in source.parts})
    echo(f"{covered} frames of {videos} videos; {frames} to do")
    return Work(job, folder, lock.lost, source, ledger, todo, changes, cut)


@dataclass(frozen=True)
class Changes:
    """What becomes of the files in the output folder before the first frame is edited."""

    job: Job
    source: Source
    folder: OutputFolder
    listed: Listed
    """What earlier runs have listed as theirs."""
    planned: frozenset[str]
    """Entries of what this run may write."""
    clips: dict[str, str]
    """What the job's clips are called, by video id."""
    anew: bool
    """Whether earlier results are deleted; they are gone on with otherwise."""
    moves: Moves

    def read_ledger(self) -> Ledger:
        """What is done already; of sources that are there again too."""
        if self.anew:
            return Ledger({})
        ledger = Ledger.read(self.folder)
        return ledger.joined(Ledger.read(self.folder, GONE + FRAMES), self.moves.back)

    def make(self, cut: bytes | None, echo: Callable[[str], None]) -> None:
        """Makes the changes: the only place where files of earlier runs are deleted or moved.

        Args:
            cut: the picture of the object that was cut out, if one was.
            echo: gets a line on every source that is gone.
        """
        job_yaml = record.job_yaml(self.job.tree()).encode()
        # What is deleted goes by its old names until it is gone.
        clips = {} if self.anew else self.clips
        listed = self.listed.with_run(self.folder, self.planned, job_yaml, clips)
        listed.write(self.folder)
        names.delete_temporaries(self.folder, listed)
        if self.anew:
            names.clear_results(self.folder, listed)
            listed = replace(listed, entries=self.planned, clips=self.clips)
            listed.write(self.folder)
        else:
            self._name_gone(echo)
            self.moves.make(self.folder)
        open_log(self.folder, names.LOGS)
        if cut is not None:
            self.folder.write(record.OBJECT, cut)
        record.record_job(self.folder, self.job.tree(), self.source.loaded)
        write_plan(self.folder, self.source.parts, self.source.unreadable, self.source.notes)

    def _name_gone(self, echo: Callable[[str], None]) -> None:
        shards = [name for name in self.moves.away if name.startswith(f"{FRAMES}/")]
        here = {utf8(segment.path) for segment in self.source.segments}
        for gone in sources_in(self.folder, shards):
            was = ", as it was before it changed" if gone["path"] in here else ""
            echo(
                printable(
                    f"gone: {gone['path']}{was}: its results ({gone['frames']} frames) are kept in "
                    f"{self.folder.uri}/{GONE}; raydepth prune deletes them"
                )
            )


def plan_changes(job: Job, source: Source, folder: OutputFolder) -> Changes:
    """Finds what the run will change in the folder, and changes nothing.

    Raises:
        JobError: the folder holds frames of another job, or somebody's file where the run would
            write, or a file that the job reads where it would write or delete.
    """
    listed = Listed.read(folder)
    shards = [*folder.files(FRAMES), *folder.files(GONE + FRAMES)]
    anew = job.output.overwrite or not any(map(listed.holds, shards))
    if not anew:
        record.check_same_job(folder, job.tree(), source.loaded)
    clips = name_clips(source.segments, {} if anew else listed.clips)
    if not anew:
        refuse_lost_pictures(job, folder, clips)
    planned = names.planned_entries(
        source.parts,
        job.output,
        clips,
        measures_clips=job.depth.stabilise or FILLERS.of(job.layers.fill).with_plates is not None,
        cuts_object=EDITS.of(job.edit).segmentation(job.edit) is not None,
        tracks_things=bool(job.layers.things),
    )
    moves = Moves((), ()) if anew else Moves.find(folder, listed, clips)
    planned |= moves.new_entries
    names.refuse_foreign(folder, listed, planned)
    touched = planned | (listed.entries if anew else set(map(names.entry, moves.away)))
    refuse_reading_there(job, source, folder, touched)
    return Changes(job, source, folder, listed, frozenset(planned), clips, anew, moves)


def refuse_lost_pictures(job: Job, folder: OutputFolder, clips: Mapping[str, str]) -> None:
    """Refuses a job that keeps pictures which the frames that are done were edited without.

    Args:
        job: the job; it may keep its pictures otherwise than the folder's did.
        folder: its results are gone on with.
        clips: what its clips are called.

    Raises:
        JobError: names the field and the pictures.
    """
    before, now = record.read_job(folder).get("output", {}), job.output
    kept = before.get("keep")
    same = before.get("images") == now.images and isinstance(kept, list)
    same = same and all(kind in kept for kind in now.keep)
    if same or now.images == "none" or not folder.exists(SEGMENTS):
        return
    lost = pictures_not_held(folder, clips, now.keep, files=now.images == "png")
    if lost:
        kinds = ", ".join(f"{kind} of {count} frames" for kind, count in lost.items())
        raise JobError(
            f"output.images: {now.images} needs pictures that the shards in {folder.uri} do not "
            f"hold ({kinds}; they were made with images: {before.get('images')}, keep: {kept}); "
            "name another folder or set output.overwrite"
        )


def refuse_reading_there(
    job: Job, source: Source, folder: OutputFolder, touched: Collection[str]
) -> None:
    """Refuses a job that reads a file which the run would write, move or delete.

    Args:
        job, source: the job and its frames.
        folder: the output folder.
        touched: entries of what the run may change.

    Raises:
        JobError: names the field and the file.
    """
    root = storage.plain(folder.uri).rstrip("/") if not folder.is_local else folder.root
    if folder.is_local:
        root = os.path.realpath(root)
    tops = {name.partition("/")[0] + "/" for name in touched if "/" in name}
    for asked, path in _read_files(job, source):
        if storage.is_remote(path) == folder.is_local:
            continue
        plain = storage.plain(path)
        full = os.path.realpath(os.path.expanduser(plain)) if folder.is_local else plain
        name = full.removeprefix(f"{root}/")
        top, below, _ = name.partition("/")
        if name != full and (names.entry(name) in touched or ("{" in name and top + below in tops)):
            raise JobError(
                f"{asked}: {path} lies in the output folder {folder.uri}, where this run would "
                "write or delete a file of that name; name another output.path, or a copy of the "
                "file elsewhere"
            )


def _read_files(job: Job, source: Source) -> Iterator[tuple[str, str]]:
    """Field and path, or URI, of the files that a job names; patterns are as they are written."""
    for segment in source.segments:
        for path in segment.images or [segment.path]:
            yield "input.paths", path
    for problem in source.unreadable:
        yield "input.paths", problem.path
    for model in named_models(job):
        if model.form not in ("builtin", "hub"):
            yield model.field, model.name.removeprefix("files:")
    for asked, file in EDITS.of(job.edit).files(job.edit):
        if file and not file.startswith("#"):
            yield asked, file
    yield from thing_files(job)
    if job.depth.truth:
        yield "depth.truth", job.depth.truth
    if job.evaluate.truth:
        yield "evaluate.truth", job.evaluate.truth


def cut_object(job: Job, echo: Callable[[str], None]) -> bytes | None:
    """The inserted object cut out, as an RGBA PNG, where the job asks for that (``edit.segment``);
    else None.

    On the driver and kept in the output folder: workers need no model for it, and a resumed run has
    the very same object.

    Raises:
        JobError: as ``cut_out``.
    """
    entry = EDITS.of(job.edit)
    picture, segmentation = entry.image_prompt(job.edit), entry.segmentation(job.edit)
    if picture is None or segmentation is None:
        return None
    # Here, because few jobs need torch on the driver.
    from raydepth.layers.segment import cut_out

    echo(printable(f"cutting {picture} out with {segmentation.model}"))
    return cut_out(picture, segmentation)
