"""From the frames that there are to the work that is left: the output folder taken, Ray started."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from raydepth.edits.registry import EDITS
from raydepth.files import storage
from raydepth.files.text import printable
from raydepth.frames.segments import Segment
from raydepth.frames.sources import UnreadableSource
from raydepth.job import Job
from raydepth.output import record
from raydepth.output.folder import OutputFolder
from raydepth.output.ledger import Ledger
from raydepth.output.plan import Part, write_plan
from raydepth.output.shards import FRAMES
from raydepth.run import cluster
from raydepth.run.cost import check_deadline


@dataclass(frozen=True)
class Source:
    """Which frames there are."""

    segments: list[Segment]
    parts: list[Part]
    """Segments cut into what is decoded, edited and stored together: whole batches."""
    unreadable: list[UnreadableSource]
    loaded: dict[str, str] = field(default_factory=dict)
    """What the job's names stand for here; see ``run.identity.identify``."""


@dataclass(frozen=True)
class Work:
    """What there is to do, and the folder that is this run's alone."""

    asked: Job
    """As it is recorded."""
    job: Job
    """As the workers read it."""
    folder: OutputFolder
    lost: Callable[[], bool]
    """Whether another run may write to the folder by now."""
    source: Source
    ledger: Ledger
    todo: list[Part]
    anew: bool
    """Whether what an earlier run left there is to go."""
    cut: bytes | None
    """The cut-out object that the folder is to hold, as PNG; None: it holds it, or needs none."""

    def take_over(self) -> None:
        """Makes the folder this job's: the first that is changed there, once the models are loaded.

        Done twice, it comes to the same.
        """
        if self.anew:
            self.folder.clear(record.OURS)
        if self.cut is not None:
            self.folder.write(record.OBJECT, self.cut)
        record.record_job(self.folder, self.asked.tree(), self.source.loaded)
        self.folder.delete_temporaries()
        write_plan(self.folder, self.source.parts, self.source.unreadable)


def prepare(
    job: Job, source: Source, address: str | None, stack: ExitStack, echo: Callable[[str], None]
) -> Work:
    """Locks the output folder, finds what is left to do and starts Ray for it; what is there stays
    as it is until ``Work.take_over``. ``stack`` gives both back.
    """
    folder = OutputFolder.at(job.output.path)
    job = job.writing_to(folder.location)  # workers may start in other folders
    folder.prepare()
    lock = stack.enter_context(folder.lock())
    anew = job.output.overwrite or not folder.files(FRAMES)
    if not anew:
        record.check_same_job(folder, job.tree(), source.loaded)
    ledger = Ledger({}) if anew else Ledger.read(folder)
    for name in ledger.damaged:
        echo(printable(f"damaged shard, its frames are done again: {name}"))
    todo = ledger.todo(source.parts, job.run.attempts)
    frames = sum(part.frames for part in todo)
    cut: bytes | None = None
    if todo:
        check_deadline(job, frames, todo[0].segment.height * todo[0].segment.width)
        cut = None if folder.exists(record.OBJECT) and not anew else cut_object(job, echo)
        stack.callback(cluster.disconnect)
        cluster.preflight(job.run, cluster.connect(job.run, address))
        if address is not None:
            cluster.check_nodes()
    asked = job
    if EDITS.of(job.edit).segmentation(job.edit):
        job = job.with_object(storage.join(folder.location, record.OBJECT))
    covered = sum(part.frames for part in source.parts)
    videos = len({part.segment.video for part in source.parts})
    echo(f"{covered} frames of {videos} videos; {frames} to do")
    return Work(asked, job, folder, lock.lost, source, ledger, todo, anew, cut)


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
