"""``raydepth explain``: what a field of the job takes, from its type and its docstring."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from raydepth.errors import JobError
from raydepth.job.docs import all_sections, field_docs, registry_at, section_doc, sections_at
from raydepth.job.load import Job
from raydepth.job.words import Spot, as_yaml, nearest, place_below, words
from raydepth.section import Section, Unit

_WIDE = 96


@dataclass(frozen=True)
class Place:
    """A field as one section has it."""

    owner: type[Section] | None
    """The section; None: the whole job."""
    name: str
    spot: Spot
    required: bool = False

    @property
    def doc(self) -> str:
        return field_docs(self.owner).get(self.name, "") if self.owner else section_doc(Job)


def explain(path: str | None = None) -> str:
    """What may stand at a dotted path, for a reader.

    A path may go through a list (``layers.things.point``), and name a method where fields of
    several would be meant (``edit.insert.at``).

    Args:
        path: of a field or section; None: the whole job.

    Raises:
        JobError: no such field; the message names one that is near.
    """
    if not path:
        return "\n".join([*_paragraph(section_doc(Job), ""), "", *_fields([Job]), "", _MORE])
    places = find(path)
    blocks = [_block(path, group) for group in _alike(places)]
    return "\n\n".join(blocks)


_MORE = "raydepth explain SECTION.FIELD says more; raydepth schema gives all of it to an editor."


def find(path: str) -> list[Place]:
    """All that a path may mean, by section; raises as ``explain``."""
    here = [Place(None, "", Spot(Job))]
    walked: list[str] = []
    for part in path.split("."):
        following = [place for parent in here for place in _step(parent, part)]
        if not following:
            raise JobError(_unknown(path, part, walked, here))
        here = following
        walked.append(part)
    return here


def _step(parent: Place, part: str) -> Iterator[Place]:
    if part.isdigit():
        yield parent
        return
    registry = registry_at(parent.spot)
    if registry is not None and part in registry:
        yield Place(parent.owner, parent.name, Spot(registry[part].settings))
        return
    for section in sections_at(parent.spot):
        found = place_below(Spot(section), section.renamed.get(part, part))
        if found is not None:
            name = section.renamed.get(part, part)
            yield Place(section, name, found, section.model_fields[name].is_required())


def _unknown(path: str, part: str, walked: list[str], here: list[Place]) -> str:
    known = [
        name
        for place in here
        for section in sections_at(place.spot)
        for name in section.model_fields
    ]
    where = ".".join(walked)
    if near := nearest(part, known):
        return f"explain {path}: no such field; is {'.'.join([*walked, near])} meant?"
    elsewhere = [
        f"{_path_of(section)}.{part}" if _path_of(section) else part
        for section in all_sections(Job)
        if part in section.model_fields
    ]
    if elsewhere:
        named = " or ".join(dict.fromkeys(elsewhere[:3]))
        return f"explain {path}: no such field; is {named} meant?"
    said = ", ".join(dict.fromkeys(known)) or "nothing"
    return f"explain {path}: no such field; {where or 'the job'} has {said}"


def _path_of(wanted: type[Section]) -> str:
    """The dotted path of a section in the job; "" where it is the job or not found."""
    waiting: list[tuple[str, type[Section]]] = [("", Job)]
    seen: set[type[Section]] = {Job}
    while waiting:
        path, section = waiting.pop(0)
        if section is wanted:
            return path
        for name in section.model_fields:
            place = place_below(Spot(section), name)
            for inner in sections_at(place) if place else ():
                if inner not in seen:
                    seen.add(inner)
                    waiting.append((f"{path}.{name}".lstrip("."), inner))
    return ""


def _alike(places: list[Place]) -> list[list[Place]]:
    """Places that would be explained in the same words, together."""
    groups: dict[str, list[Place]] = {}
    for place in places:
        said = repr((place.doc, words(place.spot), place.spot.default, place.required))
        groups.setdefault(said, []).append(place)
    return list(groups.values())


def _block(path: str, group: list[Place]) -> str:
    place = group[0]
    registry, sections = registry_at(place.spot), sections_at(place.spot)
    whole = len(sections) == 1 and registry is None and place.spot.kind is sections[0]
    lines = [path + _of_whom(group)]
    if not whole:
        if registry is None:
            lines += _row("takes", words(place.spot))
        if unit := place.spot.mark(Unit):
            lines += _row("unit", unit.words)
        lines += _row("default", "none, it must be given" if place.required else _default(place))
    doc = place.doc or (section_doc(sections[0]) if whole else "")
    lines += ["", *_paragraph(doc)] if doc else []
    if registry is not None:
        for settings in sections:
            names = [name for name in registry if registry[name].settings is settings]
            mark = " (default)" if registry.default in names else ""
            lines += ["", f"  {registry.key}: {' | '.join(names)}{mark}"]
            lines += _paragraph(section_doc(settings), "    ")
            lines += _fields([settings], skip=registry.key, indent="    ")
    elif len(sections) == 1:
        lines += ["", *_fields(sections)]
    else:
        for form in sections:
            lines += ["", f"  {words(Spot(form))}", *_paragraph(section_doc(form), "    ")]
            lines += _fields([form], indent="    ") if len(form.model_fields) > 1 else []
    return "\n".join(lines)


def _of_whom(group: list[Place]) -> str:
    """Which methods have the field, where not all of a registry's do."""
    names = [name for place in group for name in _methods_of(place.owner)]
    return f"   ({', '.join(dict.fromkeys(names))})" if names else ""


def _methods_of(owner: type[Section] | None) -> Iterator[str]:
    for section in all_sections(Job):
        for name in section.model_fields:
            place = place_below(Spot(section), name)
            registry = registry_at(place) if place else None
            if registry is not None:
                yield from (one for one in registry if registry[one].settings is owner)


def _fields(sections: list[type[Section]], *, skip: str = "", indent: str = "  ") -> list[str]:
    lines = []
    for section in sections:
        for name, info in section.model_fields.items():
            place = place_below(Spot(section), name)
            if name == skip or place is None:
                continue
            here = Place(section, name, place, info.is_required())
            inner = sections_at(place)
            doc = here.doc or (section_doc(inner[0]) if len(inner) == 1 else "")
            default = "required" if here.required else _default(here)
            shown = default if len(default) <= 22 else "..."
            first = doc.split("\n")[0] or words(place)
            lines += textwrap.wrap(
                f"{name:18} {shown:22} {first}",
                _WIDE,
                initial_indent=indent,
                subsequent_indent=indent + " " * 42,
            )
    return lines


def _default(place: Place) -> str:
    value: Any = place.spot.default
    if isinstance(value, Section):
        registry = registry_at(place.spot)
        if registry is not None:
            return f"{registry.key}: {registry.default}"
        return "..."
    if isinstance(value, list):
        value = [v.model_dump(mode="json") if isinstance(v, Section) else v for v in value]
    return as_yaml(value)


def _row(name: str, text: str) -> list[str]:
    return textwrap.wrap(
        f"{name:9}{text}", _WIDE, initial_indent="  ", subsequent_indent="           "
    )


def _paragraph(text: str, indent: str = "  ") -> list[str]:
    return [
        line
        for paragraph in text.split("\n")
        for line in textwrap.wrap(paragraph, _WIDE, initial_indent=indent, subsequent_indent=indent)
    ]
