"""Records of a run (resolved job, environment, calibrations), and the guard against mixing jobs."""

import hashlib
import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import yaml

import raydepth
from raydepth.depth.calibrate import Calibration
from raydepth.edits.clip import ClipEdit
from raydepth.edits.relight.light import ClipLight
from raydepth.errors import JobError
from raydepth.files import strict_yaml
from raydepth.output.folder import OutputFolder

JOB = "job.yaml"
ENVIRONMENT = "environment.json"
CALIBRATIONS = "calibrations.json"
BENCHMARK = "benchmark.json"
OBJECT = "object.png"
"""The inserted object where the run has cut it out itself (``edit.segment``)."""

_MAY_CHANGE = (
    "input.paths",
    "input.limit",
    "input.limit_per_video",
    "output.path",
    "output.overwrite",
    "output.video",
    "output.crf",
    "output.images",
    "output.keep",
    "depth.calibration_frames",
)
"""What of it a folder has not been made with is made from its shards; see ``pictures_not_held``."""
_NOT_IN_SHARDS = {
    "output.size": "pictures of the other size",
    "output.layers": "layers",
}
"""Fields that the shards of another value hold nothing for."""
_RESULT_KEYS_OF_RUN = ("run.dtype", "run.seed")
"""Not ``run.batch`` and ``run.threads``: results agree to a tolerance, and rows say their batch."""


@dataclass(frozen=True)
class PlateRecord:
    """What is recorded of a shot's plate, whose picture is written by ``output.plates``."""

    still: bool = False
    """Whether the camera stands still."""
    missing: str = ""
    """Why the shot has no plate; empty where it has one."""
    frame: tuple[int, int] | None = None
    """Height and width of the frames that a mosaic is for; None: the plate's own."""
    remark: str = ""
    """What is to be said of it on every frame; empty where nothing."""


@dataclass(frozen=True)
class ThingsRecord:
    """What is recorded of a shot's things, whose masks are written by ``output.things``."""

    segmenter: str
    """Name of what found the masks."""
    counts: dict[str, dict[str, int]]
    """By thing, how many frames say so of it: ``seen``, ``hidden``, ``lost``, ``absent``."""
    notes: dict[str, str] = field(default_factory=dict)
    """By thing, what became of it in words, where it is absent or its track broke."""


@dataclass(frozen=True)
class ClipCalibration:
    """What is fixed once per shot.

    That is the normalisation of its depth, its planes (nearest first, normalised), and what its
    edit needs beyond them.
    """

    depth: Calibration
    planes: tuple[float, ...]
    edit: ClipEdit | None = None
    plate: PlateRecord | None = None
    """With ``layers.fill.method: plate``."""
    light: ClipLight | None = None
    """How its moved layers are to be lit; None: as they are."""
    samples: int = 0
    """How many reference frames stabilise its depth (``depth.stabilise``); 0: none, its camera
    moves."""
    scene: Calibration | None = None
    """Scale of the depth of the scene that the edit brings in; None: it needs none, or has none."""
    things: ThingsRecord | None = None
    """Of the things in it; None: the job has none."""


def job_yaml(tree: dict[str, Any]) -> str:
    """A resolved job's tree as YAML: every field with its value, defaults included."""
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def check_same_job(
    folder: OutputFolder, job: dict[str, Any], loaded: Mapping[str, str] | None = None
) -> None:
    """Refuses to go on in a folder whose frames another job, other models or another raydepth made.

    Args:
        folder: the output folder.
        job: the resolved job as a tree.
        loaded: by field, which weights, files, device and dtype the job comes to here
            (``run.identity``); None: not compared.

    Raises:
        JobError: the folder's job differs in a field that changes results (the message lists field,
            there and here), or its record is gone or damaged.
    """
    there = _flat(read_job(folder))
    here = _flat(job)
    differences = [
        f"  {field}: {there.get(field)!r} there, {here.get(field)!r} here"
        + (
            f" (shards hold no {what})"
            if here.get(field) and (what := _NOT_IN_SHARDS.get(field))
            else ""
        )
        for field in sorted(there.keys() | here.keys())
        if not _same(there.get(field), here.get(field)) and _changes_results(field)
    ]
    environment = read_environment(folder)
    if (version := environment["raydepth"]) != raydepth.__version__:
        differences.append(f"  raydepth: {version} there, {raydepth.__version__} here")
    elif loaded is not None:
        before = environment.get("loaded", {})
        differences += [
            f"  what was loaded as {field}: {before.get(field, 'not recorded')} there, "
            f"{loaded.get(field, 'nothing')} here"
            for field in sorted(before.keys() | loaded.keys())
            if before.get(field) != loaded.get(field)
        ]
    if differences:
        raise JobError(
            f"output.path: {folder.uri} holds frames of another job; name another folder or set "
            "output.overwrite\n" + "\n".join(differences)
        )


def read_job(folder: OutputFolder) -> dict[str, Any]:
    """The tree of ``job.yaml``; raises JobError where it is gone or damaged."""
    try:
        tree = strict_yaml.load(folder.read(JOB))
        if not isinstance(tree, dict):
            raise ValueError(f"not sections, but {type(tree).__name__}")
    except (FileNotFoundError, ValueError) as error:
        raise _damaged(folder, JOB, error) from error
    return tree


def read_environment(folder: OutputFolder) -> dict[str, Any]:
    """The tree of ``environment.json``; raises JobError where it is gone or damaged."""
    try:
        tree = json.loads(folder.read(ENVIRONMENT))
        if (
            not isinstance(tree, dict)
            or environment().keys() - tree.keys()
            or not isinstance(tree["packages"], dict)
            or not isinstance(tree.get("loaded", {}), dict)
        ):
            raise ValueError("its fields are others")
    except (FileNotFoundError, ValueError, RecursionError) as error:
        raise _damaged(folder, ENVIRONMENT, error) from error
    return tree


def read_benchmark(folder: OutputFolder) -> dict[str, Any]:
    """The figures of ``benchmark.json``.

    Empty where it is not there or damaged, as the next run measures again.
    """
    return {
        name: value
        for name, value in _benchmark(folder).items()
        if isinstance(value, int | float) and math.isfinite(value)
    }


def benchmark_differs(folder: OutputFolder, job: dict[str, Any]) -> list[str]:
    """The fields that cost time in which ``benchmark.json`` is of another job (see ``costs``);
    ``job`` where it does not say of which.
    """
    there = _benchmark(folder).get("measured_for")
    if not isinstance(there, dict):
        return ["job"]
    here = costs(job)
    return [field for field in sorted(here.keys() | there.keys()) if _other(there, here, field)]


def costs(job: dict[str, Any]) -> dict[str, Any]:
    """What of a resolved job's tree costs time, by dotted field."""
    return {field: value for field, value in _flat(job).items() if _costs_time(field)}


def _costs_time(field: str) -> bool:
    section, _, rest = field.partition(".")
    if section == "run":
        return rest in ("batch", "dtype", "gpus_per_worker", "logical_gpus")
    if section == "output":
        return rest in ("size", "images", "keep", "layers")
    if field == "compose.every":  # how many frames, not how long each takes
        return False
    return field == "input.size" or section in ("depth", "layers", "edit", "compose", "evaluate")


def _other(there: dict[str, Any], here: dict[str, Any], field: str) -> bool:
    return not _same(there.get(field), here.get(field))


def _benchmark(folder: OutputFolder) -> dict[str, Any]:
    try:
        tree = json.loads(folder.read(BENCHMARK))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return tree if isinstance(tree, dict) else {}


def _damaged(folder: OutputFolder, name: str, error: Exception) -> JobError:
    reason = (
        "gone"
        if isinstance(error, FileNotFoundError)
        else f"damaged ({' '.join(str(error).split())})"
    )
    return JobError(
        f"{folder.uri}/{name} is {reason}, so what made the frames there is not known; put it "
        "back, name another folder "
        "or set output.overwrite"
    )


def record_job(
    folder: OutputFolder, job: dict[str, Any], loaded: Mapping[str, str] | None = None
) -> None:
    """Writes ``environment.json``, with what is loaded (see ``check_same_job``), and then
    ``job.yaml``, the resolved job's tree.
    """
    tree = environment() | {"loaded": dict(loaded or {})}
    folder.write(ENVIRONMENT, json.dumps(tree, indent=2).encode())
    folder.write(JOB, job_yaml(job).encode())


def results_digest(folder: OutputFolder) -> str:
    """What tells the results of one job from those of another: of the recorded fields that change
    results, and of what was loaded. Raises JobError where they are gone or damaged.
    """
    fields = {
        field: value for field, value in _flat(read_job(folder)).items() if _changes_results(field)
    }
    loaded = read_environment(folder).get("loaded", {})
    told = json.dumps([fields, loaded], sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()


def _changes_results(field: str) -> bool:
    return field in _RESULT_KEYS_OF_RUN or not (field.startswith("run.") or field in _MAY_CHANGE)


def _same(there: Any, here: Any) -> bool:
    """Whether two values of a field are the same; so are a file's absolute name and one that is
    relative to a folder it lies below, as a submission has it, and version 1 had it.
    """
    if isinstance(there, dict) and isinstance(here, dict):
        return there.keys() == here.keys() and all(_same(there[key], here[key]) for key in there)
    if isinstance(there, list) and isinstance(here, list):
        return len(there) == len(here) and all(map(_same, there, here))
    if isinstance(there, str) and isinstance(here, str):
        if there.startswith("files:") and here.startswith("files:"):
            return _same(there.removeprefix("files:"), here.removeprefix("files:"))
        full, other = (there, here) if os.path.isabs(there) else (here, there)
        if other and os.path.isabs(full) and not os.path.isabs(other):
            return full == os.path.abspath(other) or full.endswith("/" + os.path.normpath(other))
    return bool(there == here)


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


def write_calibrations(folder: OutputFolder, shots: dict[str, ClipCalibration]) -> None:
    """Keeps the shots' calibrations, so that a resumed run normalises and cuts exactly alike."""
    tree = {
        shot: {
            "depth": asdict(clip.depth),
            "planes": list(clip.planes),
            "edit": asdict(clip.edit) if clip.edit else None,
            "plate": asdict(clip.plate) if clip.plate else None,
            "light": asdict(clip.light) if clip.light else None,
            "samples": clip.samples,
            "scene": asdict(clip.scene) if clip.scene else None,
            "things": asdict(clip.things) if clip.things else None,
        }
        for shot, clip in sorted(shots.items())
    }
    folder.write(CALIBRATIONS, json.dumps(tree, indent=2).encode())


def read_calibrations(folder: OutputFolder) -> dict[str, ClipCalibration]:
    """Shot id -> calibration; empty where none is kept yet. JSON floats round-trip exactly.

    Raises:
        JobError: the file is damaged.
    """
    if not folder.exists(CALIBRATIONS):
        return {}
    try:
        shots = {}
        for shot, clip in json.loads(folder.read(CALIBRATIONS)).items():
            scale, planes = Calibration(**clip["depth"]), tuple(clip["planes"])
            if not (
                planes and all(math.isfinite(value) for value in (scale.lo, scale.hi, *planes))
            ):
                raise ValueError(f"the scale of {shot} is no scale")
            edit = ClipEdit.from_tree(clip["edit"]) if clip.get("edit") else None
            plate = _plate(clip["plate"]) if clip.get("plate") else None
            light = ClipLight.from_tree(clip["light"]) if clip.get("light") else None
            scene = Calibration(**clip["scene"]) if clip.get("scene") else None
            if scene and not (math.isfinite(scene.lo) and math.isfinite(scene.hi)):
                raise ValueError(f"the scale of {shot}'s new scene is no scale")
            things = _things(clip["things"]) if clip.get("things") else None
            shots[shot] = ClipCalibration(
                scale, planes, edit, plate, light, int(clip.get("samples", 0)), scene, things
            )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise JobError(
            f"{folder.uri}/{CALIBRATIONS} is damaged ({' '.join(str(error).split())}); delete it "
            "to have the shots measured again, "
            "which gives the same scales unless depth.calibration_frames has changed"
        ) from error
    return shots


def _plate(tree: dict[str, Any]) -> PlateRecord:
    height, width = tree.get("frame") or (0, 0)
    frame = (int(height), int(width)) if height else None
    return PlateRecord(
        bool(tree["still"]), str(tree["missing"]), frame, str(tree.get("remark", ""))
    )


def _things(tree: dict[str, Any]) -> ThingsRecord:
    counts = {
        str(name): {str(state): int(count) for state, count in states.items()}
        for name, states in tree["counts"].items()
    }
    notes = {str(name): str(text) for name, text in tree.get("notes", {}).items()}
    return ThingsRecord(str(tree["segmenter"]), counts, notes)
