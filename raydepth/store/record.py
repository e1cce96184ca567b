"""What a run leaves to explain itself: the resolved job, the environment, the clips' calibrations; and the guard against mixing jobs."""

import importlib.metadata
import json
import os
import platform
from dataclasses import asdict, dataclass
from typing import Any

import yaml

import raydepth
from raydepth.depth.calibrate import Calibration
from raydepth.job import Job, JobError
from raydepth.store.folder import OutputFolder

JOB = "job.yaml"
ENVIRONMENT = "environment.json"
CALIBRATIONS = "calibrations.json"

OURS = [JOB, ENVIRONMENT, CALIBRATIONS, "segments.parquet", "benchmark.json", "frames", "images", "report"]
"""Everything that a run writes, and all that ``output.overwrite`` deletes."""

_MAY_CHANGE = ("input.paths", "input.limit", "output.path", "output.overwrite", "depth.calibration_frames")
_RESULT_KEYS_OF_RUN = ("run.batch", "run.dtype", "run.seed")


@dataclass(frozen=True)
class ClipCalibration:
    """What is fixed once per clip: the normalisation of its depth and its planes (nearest first, normalised)."""

    depth: Calibration
    planes: tuple[float, ...]


def resolve(job: Job) -> str:
    """The resolved job as YAML: every field with its value, defaults included."""
    return yaml.safe_dump(job.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def check_same_job(folder: OutputFolder, job: Job) -> None:
    """Refuses to go on in a folder whose frames another job or another raydepth made.

    Raises:
        JobError: the folder's job differs in a field that changes results; the message lists field, there and here.
    """
    if not (folder.exists(JOB) and folder.exists(ENVIRONMENT)):
        return
    there = _flat(yaml.safe_load(folder.read(JOB)))
    here = _flat(job.model_dump(mode="json"))
    differences = [
        f"  {field}: {there.get(field)!r} there, {here.get(field)!r} here"
        for field in sorted(there.keys() | here.keys())
        if there.get(field) != here.get(field) and _changes_results(field)
    ]
    version = json.loads(folder.read(ENVIRONMENT))["raydepth"]
    if version != raydepth.__version__:
        differences.append(f"  raydepth: {version} there, {raydepth.__version__} here")
    if differences:
        raise JobError(
            f"output.path: {folder.uri} holds frames of another job; name another folder or set output.overwrite\n"
            + "\n".join(differences)
        )


def record_job(folder: OutputFolder, job: Job) -> None:
    """Writes ``environment.json`` and then ``job.yaml``."""
    folder.write(ENVIRONMENT, json.dumps(environment(), indent=2).encode())
    folder.write(JOB, resolve(job).encode())


def _changes_results(field: str) -> bool:
    return field in _RESULT_KEYS_OF_RUN or not (field.startswith("run.") or field in _MAY_CHANGE)


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections -> dotted field -> value."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def environment() -> dict[str, Any]:
    """Machine and versions, as ``environment.json``."""
    packages = (
        "torch",
        "ray",
        "diffusers",
        "transformers",
        "numpy",
        "opencv-python",
        "av",
        "pyarrow",
        "onnxruntime",
    )
    versions: dict[str, str | None] = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "raydepth": raydepth.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "packages": versions,
    }


def write_calibrations(folder: OutputFolder, clips: dict[str, ClipCalibration]) -> None:
    """Keeps the clips' calibrations, so that a resumed run normalises and cuts exactly as the first."""
    tree = {
        video: {"depth": asdict(clip.depth), "planes": list(clip.planes)}
        for video, clip in sorted(clips.items())
    }
    folder.write(CALIBRATIONS, json.dumps(tree, indent=2).encode())


def read_calibrations(folder: OutputFolder) -> dict[str, ClipCalibration]:
    """Video id -> calibration; empty where none is kept yet. JSON floats round-trip exactly."""
    if not folder.exists(CALIBRATIONS):
        return {}
    tree = json.loads(folder.read(CALIBRATIONS))
    return {
        video: ClipCalibration(Calibration(**clip["depth"]), tuple(clip["planes"]))
        for video, clip in tree.items()
    }
