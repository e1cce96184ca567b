"""Where the files lie that a job names relative: beside the job file first, then in the current
folder; what ``--set`` names, the other way round, as a shell completes names from the current one.

A name found beside the job file becomes absolute, so that the job is the same one from any folder;
one found in the current folder, or nowhere, stays as it was written. ``output.path`` is not looked
up: results go below the current folder.
"""

import glob
import os
import string
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar

from raydepth.depth.registry import names_no_file
from raydepth.errors import JobError
from raydepth.models.names import form_of
from raydepth.section import Names, Section

_Section = TypeVar("_Section", bound=Section)
_Kind = Literal["input", "file", "hub", "model", "pattern"]
"""What a relative name is of: as ``Names.what``, with ``hub`` for what may be a hub id."""


def locate_files(job: _Section, job_file: str | Path, overrides: Iterable[str] = ()) -> _Section:
    """The job with the files that it names looked up.

    Args:
        job: the validated job.
        job_file: where it was read from.
        overrides: the ``a.b=value`` of ``--set``.
    """
    beside = _folder(job_file)
    given = tuple(override.partition("=")[0] + "." for override in overrides)

    def look_up(field: str, name: str, kind: _Kind) -> str:
        if f"{field}.".startswith(given) and _is_there("", name, kind):
            return name
        return _full(beside, name, kind) if _is_there(beside, name, kind) else name

    return _each_name(job, "", look_up)


def refuse_missing(job: Section, job_file: str | Path) -> None:
    """Raises JobError where a file that a job names relative is in neither folder.

    Args:
        job: as ``locate_files`` returned it.
        job_file: where it was read from.
    """
    here, beside, missing = os.getcwd(), _folder(job_file), []
    where = f"in {here}" if here == beside else f"beside the job file ({beside}) or in {here}"
    said = {
        "input": "{!r} matches nothing",
        "file": "no file {}",
        "model": "no file or directory {}",
        "pattern": "{!r} matches no file",
    }

    def look_up(field: str, name: str, kind: _Kind) -> str:
        if kind != "hub" and not _is_there("", name, kind):
            missing.append(f"{field}: {said[kind].format(name)} {where}")
        return name

    _each_name(job, "", look_up)
    if missing:
        raise JobError("\n".join(missing))


def _folder(job_file: str | Path) -> str:
    return os.path.dirname(os.path.abspath(job_file))


def _each_name(section: _Section, at: str, change: Callable[[str, str, _Kind], str]) -> _Section:
    """A section with every relative local name in it changed.

    Args:
        section: the job or a section of it.
        at: its dotted path with a dot at its end; empty for the job.
        change: from the field's dotted path, the name and its kind to the new name.
    """

    def changed(value: Any, field: str, what: str | None) -> Any:
        if isinstance(value, Section):
            return _each_name(value, f"{field}.", change)
        if isinstance(value, list):
            # Of input.paths the field is named, not the entry, as in all of its messages.
            return [
                changed(v, field if what else f"{field}.{i}", what) for i, v in enumerate(value)
            ]
        if isinstance(value, dict):
            return {key: changed(v, f"{field}.{key}", what) for key, v in value.items()}
        if not what or not isinstance(value, str):
            return value
        prefix = "files:" if what == "model" and value.startswith("files:") else ""
        name = value.removeprefix(prefix)
        kind = _kind(name, "pattern" if prefix else what)
        if kind == "model" and field == "depth.model" and names_no_file(name):
            return value  # a source of depth that an installed package brings
        return prefix + change(field, name, kind) if kind else value

    new = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        what = next((mark.what for mark in field.metadata if isinstance(mark, Names)), None)
        if (found := changed(value, at + name, what)) != value:
            new[name] = found
    return section.model_copy(update=new) if new else section


def _kind(name: str, what: str) -> _Kind | None:
    """What is to be looked up; None for URIs, absolute paths, colours and ``builtin``."""
    if not name or "://" in name or name.startswith(("/", "~")):
        return None
    if what == "pattern":
        return None if name.startswith("{parent") or _as_glob("", name) is None else "pattern"
    if what == "file":
        return None if name.startswith("#") else "file"
    if what == "model":
        try:
            form = form_of(name)
        except OSError:  # longer than any file's name
            return "model"
        return None if form == "builtin" else "hub" if form == "hub" else "model"
    return "input"


def _full(folder: str, name: str, kind: _Kind) -> str:
    """The absolute name of what lies in a folder, with what in the folder's own name would be read
    as part of a pattern escaped.
    """
    if kind == "pattern":
        folder = folder.replace("{", "{{").replace("}", "}}")
    elif kind == "input" and not os.path.exists(os.path.join(folder, name)):
        folder = glob.escape(folder)
    return os.path.normpath(os.path.join(folder, name))


def _is_there(folder: str, name: str, kind: _Kind) -> bool:
    """Whether a folder, "" being the current one, holds what a name stands for."""
    if kind not in ("input", "pattern"):
        return os.path.exists(os.path.join(folder, name))
    from raydepth.frames.sources import expand  # pyarrow, which --help does without

    try:
        if kind == "pattern":
            return any(glob.iglob(str(_as_glob(folder, name))))
        return bool(expand([_full(folder, name, kind) if folder else name]))
    except (JobError, OSError, ValueError):  # none there, or not to be listed, or no name at all
        return False


def _as_glob(folder: str, pattern: str) -> str | None:
    """A pattern in a folder with ``*`` for its fields; None where it is malformed."""
    try:
        pieces = list(string.Formatter().parse(pattern))
    except ValueError:
        return None
    names = "".join(glob.escape(text) + "*" * (field is not None) for text, field, _, _ in pieces)
    return os.path.join(glob.escape(folder), names)
