"""The whole job, and how it is read from a file: parsed, overridden and checked."""

import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import SerializeAsAny, ValidationError, model_validator

from raydepth.compose.featglac.settings import FeatGLaCKV
from raydepth.compose.registry import COMPOSITORS
from raydepth.compose.settings import Compose
from raydepth.depth.settings import Depth
from raydepth.diffusion.settings import Diffusion
from raydepth.edits.registry import EDITS, check_names
from raydepth.edits.settings import Recompose
from raydepth.errors import JobError, JobNote
from raydepth.evaluate.settings import Evaluate
from raydepth.files import strict_yaml
from raydepth.files.text import printable
from raydepth.frames.settings import Input
from raydepth.job import words
from raydepth.job.paths import locate_files
from raydepth.job.run import Run
from raydepth.layers.fill.registry import FILLERS
from raydepth.layers.settings import Layers
from raydepth.layers.things.registry import SEGMENTERS
from raydepth.output.settings import Output
from raydepth.registry import Registry, chosen_from
from raydepth.section import Section

_BY_DEFAULT = FeatGLaCKV.model_validate({"method": "featglac-kv"})


class Job(Section):
    """A whole job file."""

    schema_version: Literal[1]
    """Of this form of the job file."""
    input: Input
    depth: Depth = Depth()
    layers: Layers = Layers()
    edit: Annotated[SerializeAsAny[Section], chosen_from(EDITS)] = Recompose()
    """What is asked for, as a stack of layers."""
    compose: Annotated[SerializeAsAny[Compose], chosen_from(COMPOSITORS)] = _BY_DEFAULT
    """How the layers become one picture."""
    evaluate: Evaluate = Evaluate()
    output: Output
    run: Run = Run()

    @model_validator(mode="after")
    def _edit_fits_the_other_sections(self) -> "Job":
        edit, compose, entry = self.edit, self.compose, EDITS.of(self.edit)
        check_names(entry.things(edit), self.layers)
        entry.fits(edit, self.layers)
        if getattr(compose, "ip_adapter", None) and entry.image_prompt(edit) is None:
            kind = getattr(edit, EDITS.key)
            raise ValueError(f"compose.ip_adapter goes with edit.kind insert, not with {kind}")
        prompt = entry.prompt(edit)
        if prompt is not None and not COMPOSITORS.of(compose).paints(compose, prompt):
            raise ValueError(
                "edit.prompt needs a compositor that makes pictures up: compose.method featglac-kv "
                "with a model that has a text encoder, compose.prompt the same prompt, "
                "compose.inject.weight 0 (or the old background is made again) and compose.blend "
                "true; or give edit.source"
            )
        return self

    @property
    def diffusion(self) -> Diffusion | None:
        """What the compositor's section says of its diffusion model; None: it has none."""
        return self.compose if isinstance(self.compose, Diffusion) else None

    def tree(self) -> dict[str, Any]:
        """The resolved job as nested dictionaries, with the defaults filled in."""
        return self.model_dump(mode="json")

    def writing_to(self, path: str) -> "Job":
        """The same job with another ``output.path``."""
        return self.model_copy(update={"output": self.output.model_copy(update={"path": path})})

    def with_object(self, path: str) -> "Job":
        """The same job with an inserted object that is cut out.

        For edits whose entry has a ``segmentation``: their fields are ``object`` and ``segment``.
        """
        return self.model_copy(
            update={"edit": self.edit.model_copy(update={"object": path, "segment": None})}
        )


def load_job(
    path: str | Path, overrides: list[str] | None = None, *, files_here: bool = True
) -> Job:
    """Reads a job file and applies ``--set a.b=value`` overrides (values are YAML).

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
    changes = [_parse_override(override) for override in overrides or []]
    for field, value in changes:
        _drop_what_is_not_known(tree, field, value)
    for field, value in changes:
        _apply(tree, field, value)
    job = parse_job(tree)
    return locate_files(job, path, overrides or []) if files_here else job


def parse_job(tree: dict[str, Any]) -> Job:
    """Checks a job given as nested dictionaries; raises JobError as load_job does."""
    try:
        return Job.model_validate(tree)
    except ValidationError as error:
        raise JobError("\n".join(_describe(detail, tree) for detail in error.errors())) from error


def _parse_override(override: str) -> tuple[list[str], Any]:
    """Path and value of ``a.b=value``."""
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise JobError(f"--set {override!r}: expected a.b=value, for example --set run.batch=4")
    try:
        return key.split("."), strict_yaml.load(value)
    except ValueError as error:
        raise JobError(f"--set {override!r}: the value is {error}") from error


def _apply(tree: dict[str, Any], path: list[str], value: Any) -> None:
    *parents, last = path
    for depth, parent in enumerate(parents):
        child = tree.setdefault(parent, {})
        if not isinstance(child, dict):
            section = ".".join(parents[: depth + 1])
            raise JobError(f"--set {'.'.join(path)}: {section} is a value, not a section")
        tree = child
    tree[last] = value


_CHOICES: dict[str, Registry[Any]] = {
    registry.field: registry for registry in (COMPOSITORS, EDITS, FILLERS, SEGMENTERS)
}


def _drop_what_is_not_known(tree: dict[str, Any], path: list[str], value: Any) -> None:
    """Where an override switches a method, takes out what the file says that it does not know."""
    registry = _CHOICES.get(".".join(path))
    entry = registry.get(value) if registry else None
    section: Any = tree
    for part in path[:-1]:
        section = section.get(part) if isinstance(section, dict) else None
    if registry is None or entry is None or not isinstance(section, dict):
        return
    known = {*entry.settings.model_fields, *entry.settings.renamed}
    dropped = [key for key in section if key not in known]
    for key in dropped:
        del section[key]
    if dropped:
        warnings.warn(
            f"--set {registry.field}={value}: left out of the job file's {'.'.join(path[:-1])} "
            f"what {value} does not know: {', '.join(map(str, dropped))}",
            JobNote,
            stacklevel=3,
        )


_TAGS = {"one", "several", "named", "auto", "value", "word"}
_IN_WORDS = {"value_error", "value", "method"}
"""Types of errors whose messages are raydepth's own."""


def _describe(detail: Any, tree: dict[str, Any]) -> str:
    """One line on one refused field; pydantic's names for a union's branches are left out of the
    path.
    """
    location = detail["loc"]
    printed = [printable(str(part))[:80] for part in location]
    following = [*printed, ""][1:]  # both are empty where the job as a whole is refused
    path = [
        part
        for part, then in zip(printed, following, strict=True)
        if part not in _TAGS and part != then
    ]
    field = ".".join(path) or "job"
    value = detail["input"]
    if detail["type"] == "extra_forbidden":
        return f"{field}: unknown key{words.meant(Job, location, tree)}"
    if detail["type"] == "unknown_key":
        said = printable(detail["msg"])
        return f"{field}: {said}{words.meant(Job, location, tree) * (said == 'unknown key')}"
    place = words.spot(Job, location, tree)
    if detail["type"] == "missing":
        return f"{field}: required, but missing; allowed: {words.words(place)}"
    shown = repr(value) if len(repr(value)) <= 80 else repr(value)[:77] + "..."
    if detail["type"] in _IN_WORDS:
        message = detail["msg"].removeprefix("Value error, ")
    else:
        allowed = words.words(place)
        if detail["type"] == "finite_number":
            allowed = allowed.replace("a number", "a finite number")
        message = f"allowed: {allowed}{words.hint(place, value)}"
    return f"{field}: got {shown}; {printable(message)[:400]}"
