"""Steps 3 to 7 of a job, without Ray: what the micro-batches of one shot go through, in order."""

from raydepth.compose.crop import Crops
from raydepth.compose.stage import ComposeStage
from raydepth.depth.files import DepthFiles
from raydepth.depth.stage import DepthStage
from raydepth.edits.registry import EDITS, layering, load_edit
from raydepth.evaluate.stage import MetricStage
from raydepth.evaluate.true_edits import TrueEdits
from raydepth.job import Job
from raydepth.layers.fill.registry import FILLERS
from raydepth.layers.stage import LayerStage
from raydepth.layers.things.said import thing_names
from raydepth.layers.things.stage import ThingStage
from raydepth.output.folder import OutputFolder
from raydepth.output.plates import cache_plates
from raydepth.output.record import ClipCalibration
from raydepth.output.references import cache_references
from raydepth.run.editor import Step
from raydepth.run.load import WorkerModels
from raydepth.run.things import read_things


def build_steps(
    job: Job, models: WorkerModels, shot: str, clip: ClipCalibration | None
) -> list[Step]:
    """3. to 7.: what the micro-batches of one shot go through on a worker, in order; see the table
    of ``pipeline``.

    Args:
        job: the resolved job.
        models: the worker's.
        shot: the shot's id.
        clip: its calibration; None: it has no scale, and its frames become error rows.

    Raises:
        JobError: a file that the edit or the shot needs is gone or damaged.
    """
    folder = OutputFolder.at(job.output.path)
    estimator, compositor, filler = models.estimator, models.compositor, models.filler
    shots = {} if clip is None else {shot: clip}
    scales = {shot: clip.depth for shot, clip in shots.items()}
    fixed = {shot: (clip.depth, clip.edit) for shot, clip in shots.items()}
    edit = load_edit(
        job.edit,
        job.layers,
        fixed,
        estimator,
        scenes={shot: clip.scene for shot, clip in shots.items()},
        matte=job.compose.matte_edges,
    )
    if with_plates := FILLERS.of(job.layers.fill).with_plates:
        records = {shot: clip.plate for shot, clip in shots.items()}
        filler = with_plates(cache_plates(folder, records), filler)
    kept = cache_references(folder, {shot: clip.samples for shot, clip in shots.items()})
    references = kept if job.depth.stabilise else lambda shot: None
    crops = Crops(compositor, keep_source=job.compose.paste_back)
    truth = None
    if job.depth.truth:
        truth = DepthFiles(job.depth.truth, kind="depth_m", scale=job.depth.scale)
    names = thing_names(job.layers.things)
    tracks = {shot: read_things(job, folder, shot) for shot, clip in shots.items() if clip.things}
    return [
        DepthStage(
            estimator,
            scales,
            references=references,
            guided=job.depth.guided,
        ),
        *([ThingStage(names, tracks)] if names else []),
        LayerStage(
            job.layers,
            {shot: clip.planes for shot, clip in shots.items()},
            filler,
            layering(job.edit),
        ),
        ComposeStage(
            edit,
            compositor,
            job.run.seed,
            keep_stack=job.output.layers or job.output.size == "source",
            crops=crops if job.compose.crop == "region" else None,
            light=job.compose.matched_light,
            lights={shot: clip.light for shot, clip in shots.items()},
        ),
        MetricStage(
            estimator,
            scales,
            compositor,
            reestimate_every=job.evaluate.reestimate_every,
            truth=truth,
            true_edits=TrueEdits(job.evaluate.truth) if job.evaluate.truth else None,
            references=references,
            guided=job.depth.guided,
            things=EDITS.of(job.edit).things(job.edit),
        ),
    ]
