"""What a field of the job takes, in words: read from the types that check it."""

import difflib
import types
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from raydepth.registry import Registry
from raydepth.section import Form, Section, Unit


@dataclass(frozen=True)
class Spot:
    """A place in a job: the type of what may stand there, and the marks on it."""

    kind: Any
    marks: tuple[Any, ...] = ()
    default: Any = None
    """Null where it has none, or is null."""

    def mark(self, of: type) -> Any:
        """The outermost mark of a type, or None."""
        return next((mark for mark in self.marks if isinstance(mark, of)), None)


def spot(root: type[Section], location: Sequence[object], tree: Any) -> Spot:
    """The place that an error names.

    Args:
        root: the whole job's type.
        location: of the error; pydantic's names for the branches of a union may be in it.
        tree: the job as nested dictionaries; it says which methods the sections are of.
    """
    here = Spot(root)
    for part in location:
        below = next(
            (found for form in forms_at(here, tree) if (found := place_below(form, part))), None
        )
        if below is not None:
            here = below
            tree = _value(tree, part)
    return here


def words(place: Spot) -> str:
    """What may stand at a place, with an example."""
    said, example = _words(place), place.default
    if example is None:
        example = _first_example(place)
    if (
        example is None
        or place.mark(Form)
        or _literals(place)
        or isinstance(example, bool | Section)
    ):
        return said
    return f"{said}, for example {as_yaml(example)}"


def hint(place: Spot, value: Any) -> str:
    """What is probably meant by a value that may not stand at a place, or ""."""
    unit = place.mark(Unit)
    if isinstance(value, str):
        if near := nearest(value, [name for name in _literals(place) if isinstance(name, str)]):
            return f"; is {near} meant?"
        if _is_number(value) and any(form.kind in (int, float) for form in forms_at(place)):
            return "; it is text: write it without quotes, an exponent with point and sign (1.0e-3)"
    elif isinstance(value, dict):
        keys = {
            key
            for form in forms_at(place)
            if is_section(form.kind)
            for key in form.kind.model_fields
        }
        return next(
            (f"; is {near} meant?" for key in value if (near := nearest(str(key), keys))), ""
        )
    elif isinstance(value, float) and value.is_integer() and not unit:
        return f"; write {int(value)}" if place.kind is int else ""
    elif unit and isinstance(value, int | float) and not isinstance(value, bool):
        if unit.words.startswith("fraction") and abs(value) > 1:
            return "; pixels are not taken: divide by the picture's width or height"
        if unit.words.startswith("pixels") and 0 < value < 1:
            return "; it counts pixels, fractions are not taken"
    return ""


def meant(root: type[Section], location: Sequence[object], tree: Any) -> str:
    """What is probably meant by an unknown key, which ends a location; "" where nothing is near."""
    *parents, key = location
    # A union's branch may be named like a field of its section, so one step up is looked at too.
    known: dict[str, None] = {}
    for above in (parents, parents[:-1]):
        for form in forms_at(spot(root, above, tree), _at(tree, above)):
            if is_section(form.kind):
                known |= dict.fromkeys([*form.kind.model_fields, *form.kind.renamed])
        if known:
            break
    elsewhere = [path for path in _paths(Spot(root), tree) if path.split(".")[-1] == key]
    if not elsewhere and (near := nearest(str(key), list(known))):
        return f"; is {near} meant?"
    return f"; is {' or '.join(elsewhere[:3])} meant?" if elsewhere else ""


def nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name.lower(), list(known), 1)
    return near[0] if near else ""


def stripped(place: Spot) -> Spot:
    """A place whose type is no Annotated; what is nested in it is outermost last."""
    while get_origin(place.kind) is Annotated:
        kind, *marks = get_args(place.kind)
        inner: list[Any] = []
        for mark in marks:
            inner += [mark, *mark.metadata] if isinstance(mark, FieldInfo) else [mark]
        place = replace(place, kind=kind, marks=(*place.marks, *inner))
    return place


def forms_at(place: Spot, tree: Any = None) -> list[Spot]:
    """The types that may stand at a place: the members of a union, a chosen method's section."""
    place = stripped(place)
    for mark in place.marks:
        registry = getattr(getattr(mark, "func", None), "__self__", None)
        if isinstance(mark, BeforeValidator) and isinstance(registry, Registry):
            name = tree.get(registry.key, registry.default) if isinstance(tree, dict) else None
            entry = registry.get(name) or registry[registry.default]
            return [replace(place, kind=entry.settings)]
    if get_origin(place.kind) in (Union, types.UnionType):
        members = [replace(place, kind=kind) for kind in get_args(place.kind)]
        return [form for member in members for form in forms_at(member)]
    return [place]


def place_below(form: Spot, part: object) -> Spot | None:
    """The place of a field or an item; None where a part of a location names neither."""
    if is_section(form.kind) and part in form.kind.model_fields:
        info = form.kind.model_fields[part]
        default = None if info.is_required() else info.get_default(call_default_factory=True)
        return Spot(info.annotation, (info, *info.metadata), default)
    if get_origin(form.kind) is list and isinstance(part, int):
        units = tuple(mark for mark in form.marks if isinstance(mark, Unit))
        return Spot(get_args(form.kind)[0], units)
    if get_origin(form.kind) is dict and isinstance(part, str):
        return Spot(get_args(form.kind)[1])
    return None


def is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _at(tree: Any, location: Sequence[object]) -> Any:
    for part in location:
        tree = _value(tree, part)
    return tree


def _value(tree: Any, part: object) -> Any:
    if isinstance(tree, dict):
        return tree.get(part, tree)
    return tree[part] if isinstance(tree, list) and isinstance(part, int) else tree


def _paths(place: Spot, tree: Any, prefix: str = "") -> Iterator[str]:
    """The dotted names of all fields of a section and of those in it."""
    for form in forms_at(place, tree):
        for name in form.kind.model_fields if is_section(form.kind) else ():
            yield prefix + name
            inner = tree.get(name) if isinstance(tree, dict) else None
            if below := place_below(form, name):
                yield from _paths(below, inner, f"{prefix}{name}.")


def _literals(place: Spot) -> list[Any]:
    return [
        value
        for form in forms_at(place)
        if get_origin(form.kind) is Literal
        for value in get_args(form.kind)
    ]


def _words(place: Spot) -> str:
    *others, last = dict.fromkeys(_alternatives(place))
    return f"{', '.join(others)} or {last}" if others else last


def _alternatives(place: Spot) -> list[str]:
    """What may stand at a place, in words, one by one."""
    place = stripped(place)
    if form := place.mark(Form):
        return [form.words]
    if get_origin(place.kind) in (Union, types.UnionType):
        members = [replace(place, kind=kind) for kind in get_args(place.kind)]
        return [words for member in members for words in _alternatives(member)]
    if get_origin(place.kind) is Literal:
        return [repr(value) for value in get_args(place.kind)]
    return [_one(form) for form in forms_at(place)]


def _one(form: Spot) -> str:
    """What a type that is no union takes, in words."""
    unit = form.mark(Unit)
    of = f" ({unit.words})" if unit else ""
    if form.kind is type(None):
        return "null"
    if form.kind is bool:
        return "true or false"
    if form.kind in (int, float):
        return ("a whole number" if form.kind is int else "a number") + _range(form) + of
    if get_origin(form.kind) is list:
        item = Spot(get_args(form.kind)[0], tuple(mark for mark in form.marks if mark is unit))
        return f"a list of {_count(form)}{_words(item)}"
    if is_section(form.kind):
        required = [name for name, info in form.kind.model_fields.items() if info.is_required()]
        shown = required or list(form.kind.model_fields)[:1]
        return as_yaml({name: _example(form, name) for name in shown})
    return f"text{of}"


def _example(form: Spot, name: str) -> Any:
    place = place_below(form, name)
    if place is None:
        return None
    if (example := _first_example(place)) is not None:
        return example
    if values := _literals(place):
        return values[0]
    if is_section(place.kind):
        first = next(iter(place.kind.model_fields))
        return {first: _example(Spot(place.kind), first)}
    return place.default


def _first_example(place: Spot) -> Any:
    marks = (mark for form in [place, *forms_at(place)] for mark in form.marks)
    return next((m.examples[0] for m in marks if isinstance(m, FieldInfo) and m.examples), None)


def _range(form: Spot) -> str:
    low, above, high, below = (_limit(form, name) for name in ("ge", "gt", "le", "lt"))
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}"
    ends = {"{:g} or more": low, "above {:g}": above, "up to {:g}": high, "below {:g}": below}
    said = " and ".join(said.format(end) for said, end in ends.items() if end is not None)
    return f" of {said}" if low is not None else f" {said}" if said else ""


def _count(form: Spot) -> str:
    least, most = _limit(form, "min_length"), _limit(form, "max_length")
    if least and most:
        return f"{least}, each " if least == most else f"{least} to {most}, each "
    return ""


def _limit(form: Spot, name: str) -> Any:
    """What a mark of pydantic's sets as a limit, or None."""
    limits = (getattr(mark, name, None) for mark in form.marks)
    return next((limit for limit in limits if limit is not None), None)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def as_yaml(value: Any) -> str:
    """A value as it is written in a job file, on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6)
    return text.removesuffix("\n").removesuffix("\n...")
