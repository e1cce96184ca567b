"""Peak memory of the diffusion models that a worker of a job holds: for ``raydepth plan``."""

from raydepth.compose.registry import COMPOSITORS
from raydepth.edits.registry import EDITS
from raydepth.job import Job
from raydepth.layers.fill.registry import FILLERS
from raydepth.models.footprint import Workload
from raydepth.run.load import resolved

_ROUND = 64
"""Picture sizes are rounded up to this many pixels, as four levels below a compression of 8 need
it."""


def job_memory(job: Job, height: int, width: int) -> dict[str, float] | None:
    """Peak memory in GB of the diffusion models that a worker holds; None where a job has none.

    It is the GPU's memory where the worker has one.

    Args:
        job: the resolved job.
        height: of the working size.
        width: of the working size.

    Returns:
        ``weights`` of all models, the peak of each step's activations (``encode``, ``unet``,
        ``decode``, and of the fill ``fill``), and ``peak``: the weights and the largest of these.
    """
    edit = EDITS.of(job.edit)
    work = Workload(
        height=-(-height // _ROUND) * _ROUND,
        width=-(-width // _ROUND) * _ROUND,
        batch=job.run.batch,
        dtype=resolved(job)["dtype"],
        references=edit.held_references,
        pictures=edit.held_pictures,
    )
    found = [
        COMPOSITORS.of(job.compose).memory(job.compose, work),
        FILLERS.of(job.layers.fill).memory(job.layers.fill, job.diffusion, work),
    ]
    footprints = [one for one in found if one is not None]
    if not footprints:
        return None
    weights = sum({one.model: one.weights for one in footprints}.values())
    steps = {name: peak for one in footprints for name, peak in one.steps.items()}
    figures = {"weights": weights, **steps, "peak": weights + max(steps.values())}
    return {name: round(value / 1e9, 3) for name, value in figures.items()}
