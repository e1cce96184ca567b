"""What a worker loads once, when it starts: the device, and every model that its job names."""

from dataclasses import dataclass

from raydepth.compose.protocol import Compositor
from raydepth.compose.registry import load_compositor
from raydepth.depth.estimator import DepthEstimator
from raydepth.depth.registry import load_depth
from raydepth.depth.settings import DepthKind
from raydepth.edits.registry import EDITS
from raydepth.errors import JobError
from raydepth.job import Job
from raydepth.layers.fill.protocol import Filler
from raydepth.layers.fill.registry import FillHost, load_filler
from raydepth.layers.settings import AtMetres
from raydepth.layers.things.protocol import SegmenterHost
from raydepth.layers.things.registry import SEGMENTERS, load_segmenter
from raydepth.layers.things.said import said, thing_names
from raydepth.run.cpus import available_cpus
from raydepth.run.things import ThingTracker


@dataclass(frozen=True)
class WorkerModels:
    """A worker's models; calibrating and editing share them."""

    estimator: DepthEstimator
    compositor: Compositor
    filler: Filler
    """With plates, what fills the parts of them that no frame of a clip shows."""
    things: ThingTracker | None = None
    """Tracks the job's things; None: it has none."""


def load_worker(job: Job, *, device: str, dtype: str) -> WorkerModels:
    """Loads the models that a job names.

    Args:
        job: the resolved job.
        device: ``cpu`` or ``cuda``.
        dtype: ``float32``, ``float16`` or ``bfloat16``.

    Raises:
        JobError: a model cannot be loaded.
    """
    threads = model_threads(job)
    estimator = load_depth(job.depth, device=device, dtype=dtype, threads=threads)
    return load_beside(job, estimator, device=device, dtype=dtype, threads=threads)


def load_beside(
    job: Job, estimator: DepthEstimator, *, device: str, dtype: str, threads: int
) -> WorkerModels:
    """As ``load_worker``, with a source of depth that is there already, and without torch where no
    model needs it.
    """
    check_metres(job, estimator.kind)
    compositor = load_compositor(
        job.compose,
        device=device,
        dtype=dtype,
        image_prompt=EDITS.of(job.edit).image_prompt(job.edit),
    )
    host = FillHost(
        device=device,
        dtype=dtype,
        threads=threads,
        seed=job.run.seed,
        compose=job.diffusion,
        loaded=getattr(compositor, "models", None),
    )
    filler = load_filler(job.layers.fill, host)
    things = load_tracker(job, SegmenterHost(device, dtype, threads))
    return WorkerModels(estimator, compositor, filler, things)


def load_tracker(job: Job, host: SegmenterHost) -> ThingTracker | None:
    """What tracks the job's things, with its segmenter and, where a word names one, its detector;
    None where the job has no things.

    Raises:
        JobError: a model cannot be loaded.
    """
    if not thing_names(job.layers.things):
        return None
    segmenter = load_segmenter(job.layers.segmenter, host)
    finder = None
    if any(one.thing.text for one in said(job.layers.things)):
        finder = SEGMENTERS.of(job.layers.segmenter).finder(job.layers.segmenter, host)
    return ThingTracker(job, segmenter, finder)


def model_threads(job: Job) -> int:
    """CPU threads of an ONNX model: as many as torch has been given, where onnxruntime would take
    all cores.
    """
    import torch

    return job.run.threads or torch.get_num_threads()


def check_metres(job: Job, kind: DepthKind) -> None:
    """Refuses a job that asks for metres of a depth model that has none.

    Raises:
        JobError: the field, and what to give instead.
    """
    if kind == "depth_m":
        return
    at = "layers.at" if any(isinstance(plane, AtMetres) for plane in job.layers.planes) else None
    for field in filter(None, (at, *EDITS.of(job.edit).metres(job.edit))):
        instead = "give a value, quantile, point or box"
        if field == "edit.height_m":
            instead = "give edit.height, a fraction of the frame's height"
        raise JobError(
            f"{field}: metres needs a metric depth model; {job.depth.model} gives {kind}: "
            f"{instead}, or name another depth.model"
        )


def resolved(job: Job) -> dict[str, str]:
    """``device`` (``cpu`` or ``cuda``) and ``dtype`` of the job's models, without looking at the
    machine.
    """
    cpu = job.run.gpus_per_worker == 0 or job.run.logical_gpus is not None
    auto = "float32" if cpu else "float16"
    return {
        "device": "cpu" if cpu else "cuda",
        "dtype": auto if job.run.dtype == "auto" else job.run.dtype,
    }


def device_and_dtype(job: Job, *, workers_here: int | None = None) -> dict[str, str]:
    """The device and the resolved dtype of a worker on this machine, as keyword arguments of the
    model loaders. A worker on the CPU takes its share of the CPUs for them.

    Args:
        job: the resolved job.
        workers_here: workers that share this machine; None: all of the job's.

    Raises:
        JobError: the job asks for a GPU but torch sees none here, and the GPUs are not declared
            logical.
    """
    import torch

    found = resolved(job)
    if found["device"] == "cuda" and not torch.cuda.is_available():
        raise JobError(
            "run.gpus_per_worker: torch sees no CUDA device on this worker; install a CUDA build "
            "of torch or set 0"
        )
    if found["device"] == "cpu":
        # Ray sets OMP_NUM_THREADS to the reserved CPUs; models should use the cores that are there,
        # fairly shared.
        torch.set_num_threads(cpu_threads(job, workers_here or job.run.workers))
    return found


def cpu_threads(job: Job, workers_here: int) -> int:
    """What a worker on the CPU has for its models, where so many workers share its machine."""
    return job.run.threads or max(1, available_cpus() // workers_here)
