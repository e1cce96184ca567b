"""What of a job travels with it to a cluster: the small local files that it names; the first step
of ``raydepth submit``.

Below the current directory a file keeps its relative name, so that the job's paths stay as they are
and a job that ``raydepth run`` began is the same job to ``raydepth submit``. Files elsewhere go
below ``.outside``.
"""

import glob
import os
import string
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raydepth.errors import JobError
from raydepth.frames.sources import expand, image_names
from raydepth.job import Job, parse_job
from raydepth.output.record import job_yaml
from raydepth.run.check import (
    edit_files,
    is_same_everywhere,
    named_models,
    thing_files,
    worker_paths,
)

JOB = ".raydepth/job.yaml"
"""The job file's name in the parcel; hidden, so that no folder or pattern of the job takes it for
an input."""

OUTSIDE = ".outside"
"""Where files from outside the current directory go, under their absolute paths."""

CODE = (".py", ".pyc", ".so", ".pyd")

ON_CLUSTER = "if every node of the cluster sees it there, say --paths-on-cluster"


@dataclass(frozen=True)
class Parcel:
    """A job whose paths are relative to the parcel, and the parcel's files: name in it -> local
    file.
    """

    job: Job
    files: Mapping[str, str]

    @property
    def size_bytes(self) -> int:
        return sum(os.path.getsize(file) for file in self.files.values())

    def write(self, archive: Path) -> None:
        """Writes a zip whose bytes depend on the contents only, so that Ray recognises a parcel
        that it has.
        """
        with zipfile.ZipFile(archive, "w") as parcel:
            parcel.writestr(_entry(JOB), job_yaml(self.job.tree()))
            for name, file in sorted(self.files.items()):
                with open(file, "rb") as source, parcel.open(_entry(name), "w") as target:
                    while block := source.read(1 << 20):
                        target.write(block)


def _entry(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)  # dated 1980
    info.external_attr = 0o644 << 16
    return info


def pack(job: Job, *, limit_mb: float, on_cluster: bool = False) -> Parcel:
    """Finds the local files that a job names and gives it the paths that they will have on the
    cluster.

    Object storage (``s3://`` ...), hub ids and ``builtin`` stay as they are. The output is checked
    only.

    Args:
        job: the resolved job, with paths of this machine.
        limit_mb: more than so many megabytes (1e6 bytes) are refused.
        on_cluster: paths are those of the cluster's nodes; nothing is packed.

    Raises:
        JobError: a file is missing here, the files are too large, or a path means nothing on
            another machine.
    """
    _check_output(job.output.path)
    if on_cluster:
        _check_absolute(job)
        return Parcel(job, {})
    files: dict[str, str] = {}
    tree = job.tree()
    sources = _pack_input(tree["input"]["paths"], files)
    for model in named_models(job):
        if "://" in model.name or model.form in ("builtin", "hub", "files"):
            continue
        found = list(_model_files(model.name))
        if not found:
            raise JobError(f"{model.field}: nothing at {model.name}; {ON_CLUSTER}")
        files |= {_place(file): file for file in found}
        _set(tree, model.field, _renamed(model.name))
    clicks = [(field, path) for field, path in thing_files(job) if not field.endswith(".masks")]
    for field, path in [*edit_files(job.edit), *clicks]:
        full = os.path.abspath(os.path.expanduser(path))
        if not os.path.isfile(full):
            raise JobError(f"{field}: no file {path}; {ON_CLUSTER}")
        files[_place(path)] = full
        _set(tree, field, _renamed(path))
    if job.depth.model.startswith("files:"):
        pattern = job.depth.model.removeprefix("files:")
        tree["depth"]["model"] = "files:" + _pack_pattern("depth.model", pattern, sources, files)
    for field, pattern in thing_files(job):
        if field.endswith(".masks"):
            _set(tree, field, _pack_pattern(field, pattern, sources, files))
    if job.depth.truth:
        tree["depth"]["truth"] = _pack_pattern("depth.truth", job.depth.truth, sources, files)
    if job.evaluate.truth:
        tree["evaluate"]["truth"] = _pack_pattern(
            "evaluate.truth", job.evaluate.truth, sources, files
        )
    parcel = Parcel(parse_job(tree), files)
    _check_size(parcel, limit_mb)
    return parcel


def _set(tree: Any, field: str, value: str) -> None:
    """Sets a field of a job's tree by its dotted path, numbers in which count in lists."""
    *parents, last = field.split(".")
    for parent in parents:
        tree = tree[int(parent) if parent.isdigit() else parent]
    tree[last] = value


def _check_output(path: str) -> None:
    if "://" not in path and not os.path.isabs(path):
        raise JobError(
            f"output.path: {path!r} would be a temporary folder of one node; expected s3:// or "
            "gs://, or the absolute path "
            "of a folder that every node shares (NFS, for example)"
        )


def _check_absolute(job: Job) -> None:
    """Paths of the nodes must be absolute: a job on a cluster starts in a temporary folder."""
    named = [("input.paths", path) for path in job.input.paths if "://" not in path]
    for field, path in [*named, *worker_paths(job)]:
        if not is_same_everywhere(path):
            raise JobError(
                f"{field}: {path!r} with --paths-on-cluster: expected an absolute path, or s3://"
            )


def _pack_input(paths: list[str], files: dict[str, str]) -> list[str]:
    """Packs the sources, renames the paths in place, and returns the local sources' paths."""
    sources: list[str] = []
    for i, path in enumerate(paths):
        if "://" in path:
            continue
        try:
            found = expand([path])
        except JobError as error:
            raise JobError(f"{error}; {ON_CLUSTER}") from error
        sources += found
        for source in found:
            names = (
                [os.path.join(source, name) for name in image_names(source)]
                if os.path.isdir(source)
                else [source]
            )
            files |= {_place(file): file for file in names}
        paths[i] = _renamed(path)
    return sources


def _model_files(name: str) -> Iterator[str]:
    """An ONNX file with the files of weights beside it (``model.onnx.data`` ...), or what a
    directory holds, but no code: on the cluster Python looks for modules in the parcel.
    """
    path = os.path.abspath(os.path.expanduser(name))
    if os.path.isdir(path):
        for folder, folders, names in os.walk(path, followlinks=True):
            folders[:] = sorted(inner for inner in folders if not inner.startswith("."))
            yield from (
                os.path.join(folder, file)
                for file in names
                if not file.startswith(".") and not file.endswith(CODE)
            )
    elif os.path.isfile(path):
        yield from glob.glob(glob.escape(path) + "*")


def _pack_pattern(field: str, pattern: str, sources: list[str], files: dict[str, str]) -> str:
    """Packs the files that a pattern can find; returns the pattern as the parcel needs it."""
    if "://" in pattern:
        return pattern
    if "{parent" not in pattern:
        found = {_place(file): file for file in glob.glob(os.path.abspath(_as_glob(pattern)))}
        renamed = _renamed(pattern)
    else:
        found, renamed = {}, pattern
        for source in sources:
            folder = os.path.dirname(source)
            for file in glob.glob(_as_glob(pattern, parent=folder, stem=Path(source).stem)):
                there = os.path.join(os.path.dirname(_place(source)), os.path.relpath(file, folder))
                found[os.path.normpath(there)] = file
        if not pattern.startswith("{parent}") or any(name.startswith("..") for name in found):
            raise JobError(
                f"{field}: {pattern!r} leads out of the current directory and cannot be packed; "
                "submit from a directory "
                f"above the clips and these files, or: {ON_CLUSTER}"
            )
    if not found and (sources or "{parent" not in pattern):
        raise JobError(f"{field}: {pattern!r} matches no file here; {ON_CLUSTER}")
    files |= found
    return renamed


def _as_glob(pattern: str, **known: str) -> str:
    """A pattern with ``*`` for every field that is not known."""
    try:
        pieces = list(string.Formatter().parse(pattern))
    except ValueError as error:
        raise JobError(f"pattern {pattern!r}: {error}") from error
    text = ""
    for literal, name, _, _ in pieces:
        text += glob.escape(literal)
        if name is not None:
            text += glob.escape(known[name]) if name in known else "*"
    return text


def _place(path: str) -> str:
    """The name in the parcel of a local file."""
    full = os.path.abspath(os.path.expanduser(path))
    relative = os.path.relpath(full)
    return OUTSIDE + full if relative == ".." or relative.startswith("../") else relative


def _renamed(path: str) -> str:
    """A path or pattern of the job as the parcel has it: unchanged where it is relative and leads
    downwards.
    """
    unchanged = (
        not os.path.isabs(path) and not path.startswith("~") and ".." not in Path(path).parts
    )
    return path if unchanged else _place(path)


def _check_size(parcel: Parcel, limit_mb: float) -> None:
    if parcel.size_bytes <= limit_mb * 1e6:
        return
    sizes = sorted(((os.path.getsize(file), file) for file in parcel.files.values()), reverse=True)
    largest = "".join(f"\n  {size / 1e6:10.1f} MB  {file}" for size, file in sizes[:5])
    raise JobError(
        f"the job's {len(sizes)} local files are {parcel.size_bytes / 1e6:.1f} MB, more than the "
        f"{limit_mb:g} MB that submit packs:"
        f"{largest}\nput them on s3:// or gs://, or on a file system that every node shares "
        "(--paths-on-cluster), or raise "
        "--pack-limit"
    )
