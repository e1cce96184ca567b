"""The whole job, and how it is read from a file: parsed, overridden, checked, and refused in words."""

from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError, model_validator

from raydepth.compose.settings import Compose
from raydepth.depth.settings import Depth
from raydepth.edits.settings import Background, Edit, Insert, Planes, Recompose
from raydepth.errors import JobError
from raydepth.evaluate.settings import Evaluate
from raydepth.files import strict_yaml
from raydepth.files.text import printable
from raydepth.frames.settings import Input
from raydepth.job.paths import locate_files
from raydepth.job.run import Run
from raydepth.layers.settings import Layers
from raydepth.output.settings import Output
from raydepth.section import Section


class Job(Section):
    """A whole job file."""

    schema_version: Literal[1]
    input: Input
    depth: Depth = Depth()
    layers: Layers = Layers()
    edit: Edit = Recompose()
    compose: Compose = Compose()
    evaluate: Evaluate = Evaluate()
    output: Output
    run: Run = Run()

    @model_validator(mode="after")
    def _edit_fits_the_other_sections(self) -> "Job":
        edit, compose = self.edit, self.compose
        if compose.ip_adapter and not isinstance(edit, Insert):
            raise ValueError(f"compose.ip_adapter goes with edit.kind insert, not with {edit.kind}")
        if isinstance(edit, Planes) and len(edit.layers) != len(self.layers.planes) + 1:
            raise ValueError(
                f"edit.layers has {len(edit.layers)} entries, but layers.at has "
                f"{len(self.layers.planes)} planes, which "
                f"give {len(self.layers.planes) + 1} layers; give one entry for each, nearest first"
            )
        if isinstance(edit, Background) and edit.prompt is not None:
            able = compose.method == "featglac-kv" and compose.model != "builtin"
            if (
                not able
                or compose.inject.weight > 0
                or not compose.blend
                or compose.prompt != edit.prompt
            ):
                raise ValueError(
                    "edit.prompt needs a compositor that makes pictures up: compose.method "
                    "featglac-kv with a model that "
                    "has a text encoder, compose.prompt the same prompt, compose.inject.weight 0 "
                    "(or the old background "
                    "is made again) and compose.blend true; or give edit.source"
                )
        return self

    def tree(self) -> dict[str, Any]:
        """The resolved job as nested dictionaries: every field with its value, defaults included."""
        return self.model_dump(mode="json")

    def writing_to(self, path: str) -> "Job":
        """The same job with another ``output.path``."""
        return self.model_copy(update={"output": self.output.model_copy(update={"path": path})})

    def with_object(self, path: str) -> "Job":
        """The same job with an inserted object that is cut out; for edit ``insert``."""
        return self.model_copy(
            update={"edit": self.edit.model_copy(update={"object": path, "segment": None})}
        )


def load_job(
    path: str | Path, overrides: list[str] | None = None, *, files_here: bool = True
) -> Job:
    """Reads a job file, applies ``--set a.b=value`` overrides (values are YAML), and finds the
    files that it names, see ``raydepth.job.paths``; not so where they are on another machine.

    Raises:
        JobError: the file is missing or unreadable, is not YAML, or a field is unknown, of the
            wrong type or impossible; the message has one line per field, each with the field's
            path, the value that came and what is allowed.
    """
    try:
        with open(path, "rb") as file:
            tree = strict_yaml.load(file.read(strict_yaml.MAX_BYTES + 1))
    except OSError as error:
        raise JobError(f"job file {path}: {error.strerror}") from error
    except ValueError as error:
        raise JobError(f"job file {path} is {error}") from error
    if not isinstance(tree, dict):
        raise JobError(
            f"job file {path} must hold sections such as 'input:' and 'output:', got "
            f"{type(tree).__name__}"
        )
    for override in overrides or []:
        _apply(tree, override)
    job = parse_job(tree)
    return locate_files(job, path, overrides or []) if files_here else job


def parse_job(tree: dict[str, Any]) -> Job:
    """Checks a job given as nested dictionaries; raises JobError as load_job does."""
    try:
        return Job.model_validate(tree)
    except ValidationError as error:
        raise JobError("\n".join(_describe(detail) for detail in error.errors())) from error


def _apply(tree: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise JobError(f"--set {override!r}: expected a.b=value, for example --set run.batch=4")
    *parents, last = key.split(".")
    for depth, parent in enumerate(parents):
        child = tree.setdefault(parent, {})
        if not isinstance(child, dict):
            raise JobError(
                f"--set {override!r}: {'.'.join(parents[: depth + 1])} is a value, not a section"
            )
        tree = child
    try:
        tree[last] = strict_yaml.load(value)
    except ValueError as error:
        raise JobError(f"--set {override!r}: the value is {error}") from error


_TAGS = {
    "one",
    "several",
    "auto",
    "value",
    "word",
    "recompose",
    "insert",
    "background",
    "remove",
    "planes",
}


def _describe(detail: Any) -> str:
    """One line on one refused field; pydantic's names for a union's branches are left out of the
    path.
    """
    location = [printable(str(part))[:80] for part in detail["loc"]]
    following = [*location, ""][1:]  # both are empty where the job as a whole is refused
    path = [
        part
        for part, then in zip(location, following, strict=True)
        if part not in _TAGS and part != then
    ]
    field = ".".join(path) or "job"
    value = detail["input"]
    if detail["type"] == "extra_forbidden":
        return f"{field}: unknown key"
    if detail["type"] == "missing":
        return f"{field}: required, but missing"
    shown = repr(value) if len(repr(value)) <= 80 else repr(value)[:77] + "..."
    message = printable(
        detail["msg"].removeprefix("Value error, ").replace("Input should be", "allowed:")
    )[:400]
    return f"{field}: got {shown}; {message}"
