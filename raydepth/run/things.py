"""A job's things on a worker: tracked over a shot when it is calibrated, read when it is edited."""

from collections.abc import Mapping

from raydepth.batch import Batch
from raydepth.job import Job
from raydepth.layers.things.stage import ReadThings, ThingFrame
from raydepth.output.folder import OutputFolder
from raydepth.output.things import ThingTracks


def read_things(job: Job, folder: OutputFolder, shot: str) -> ReadThings:
    """What gives the things of a shot's frames.

    Raises:
        JobError: the shot's table is gone or damaged.
    """
    tracks = ThingTracks(folder, shot)

    def read(batch: Batch) -> Mapping[str, ThingFrame]:
        return tracks(int(batch["frame_index"][0]))

    return read
