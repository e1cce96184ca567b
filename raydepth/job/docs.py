"""What the settings' own docstrings say, read from their source: of sections and of fields."""

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

from pydantic import BaseModel

from raydepth.job.words import Spot, forms_at, is_section, place_below, stripped
from raydepth.registry import Registry
from raydepth.section import Section


@cache
def field_docs(section: type[Section]) -> dict[str, str]:
    """Field -> its docstring as plain text, for a section's own fields and those it inherits; a
    field without one is left out.
    """
    found: dict[str, str] = {}
    for kind in reversed(section.__mro__):
        if issubclass(kind, BaseModel) and kind not in (BaseModel, Section):
            found |= _own_docs(kind)
    return {name: text for name, text in found.items() if name in section.model_fields}


def section_doc(section: type[Section]) -> str:
    """A section's docstring as plain text; "" where it has none."""
    return plain(inspect.cleandoc(section.__dict__.get("__doc__") or ""))


def plain(text: str) -> str:
    """A docstring's text without its markup, a line a paragraph."""
    paragraphs = re.split(r"\n\s*\n", text.strip())
    joined = "\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    return joined.replace("``", "")


def registry_at(place: Spot) -> Registry | None:
    """The methods that a place takes a section of, or None where it takes no chosen method."""
    for mark in stripped(place).marks:
        registry = getattr(getattr(mark, "func", None), "__self__", None)
        if isinstance(registry, Registry):
            return registry
    return None


def sections_at(place: Spot) -> list[type[Section]]:
    """The sections that may stand at a place, or in a list or mapping there; of a registry all."""
    if (registry := registry_at(place)) is not None:
        return list(dict.fromkeys(registry[name].settings for name in registry))
    found: dict[type[Section], None] = {}
    for form in forms_at(place):
        if is_section(form.kind):
            found[form.kind] = None
        for part in (0, "name"):
            if not is_section(form.kind) and (inner := place_below(form, part)) is not None:
                found |= dict.fromkeys(sections_at(inner))
    return list(found)


def all_sections(root: type[Section]) -> Iterator[type[Section]]:
    """A section and all that may stand in it, each once."""
    seen, waiting = {root}, [root]
    while waiting:
        section = waiting.pop(0)
        yield section
        for name in section.model_fields:
            place = place_below(Spot(section), name)
            for inner in sections_at(place) if place else ():
                if inner not in seen:
                    seen.add(inner)
                    waiting.append(inner)


def _own_docs(kind: type) -> dict[str, str]:
    try:
        tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(kind)))
    except (OSError, SyntaxError):  # a plugin without its source
        return {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    found = {}
    for statement, following in pairwise(body):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
            and isinstance(following.value.value, str)
        ):
            found[statement.target.id] = plain(inspect.cleandoc(following.value.value))
    return found
