"""Registries: the methods that a job may name at a field, and how outside packages add to them.

A registry belongs to a room. Its entries carry all that the rest of the program asks of a method,
so that nothing outside the method's own module asks for it by name.
"""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar, get_args

from pydantic import BeforeValidator, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from raydepth.section import Section

PLUGINS = "raydepth.methods"
"""Entry-point group of outside packages: name -> a module that registers its methods on import."""


@dataclass(frozen=True)
class Entry:
    """A method of a registry."""

    settings: type[Section]
    """Its section of the job file; the registry's key in it is a Literal of the method's names."""


E = TypeVar("E", bound=Entry)


class Registry(Generic[E]):
    """The methods that a job may name at one field, by name."""

    def __init__(self, field: str, default: str) -> None:
        """Makes an empty registry.

        Args:
            field: path of the field in the job file, such as ``compose.method``.
            default: the method of a section that names none.
        """
        self.field, self.default = field, default
        self.key = field.rpartition(".")[2]
        self._entries: dict[str, E] = {}

    def register(self, entry: E) -> None:
        """Adds a method under each of the names that its settings allow for the registry's key."""
        for name in get_args(entry.settings.model_fields[self.key].annotation):
            self._entries[name] = entry

    def __getitem__(self, name: str) -> E:
        """The entry of a name; KeyError where nothing has it. Unknown names load the plugins."""
        if name not in self._entries:
            load_plugins()
        return self._entries[name]

    def get(self, name: object) -> E | None:
        """The entry of a name, or None."""
        return self._entries.get(name) if isinstance(name, str) and name in self else None

    def __contains__(self, name: str) -> bool:
        if name not in self._entries:
            load_plugins()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        """All names, those of plugins included."""
        load_plugins()
        return iter(self._entries)

    def of(self, settings: Section) -> E:
        """The entry of a checked section."""
        return self[getattr(settings, self.key)]

    def parse(self, value: Any) -> Section:
        """Checks a section by the settings of the method that it names.

        Args:
            value: the section as nested dictionaries; a checked section is given back as it is.

        Raises:
            ValidationError: the method is not known, or its settings refuse the section.
        """
        if isinstance(value, Section):
            return value
        if not isinstance(value, dict):
            raise ValueError(f"expected a section such as '{self.key}: {self.default}'")
        name = value.get(self.key, self.default)
        entry = self.get(name)
        if entry is None:
            allowed = ", ".join(repr(known) for known in self)
            near = difflib.get_close_matches(str(name).lower(), list(self), 1)
            said = f"allowed: {allowed}" + (f"; is {near[0]} meant?" if near else "")
            unknown = PydanticCustomError("method", "{said}", {"said": said})
            raise _failed([InitErrorDetails(type=unknown, loc=(self.key,), input=name)])
        try:
            return entry.settings.model_validate(value)
        except ValidationError as error:
            raise _failed(self._explained(error, str(name), entry)) from None

    def _explained(self, error: ValidationError, name: str, entry: E) -> Iterator[InitErrorDetails]:
        """The errors of a section; a field that only other methods know is said to be theirs."""
        for detail in error.errors(include_url=False):
            location = detail["loc"]
            if detail["type"] == "extra_forbidden" and len(location) == 1:
                key = str(location[0])
                reason = PydanticCustomError(
                    "unknown_key", "unknown key{hint}", {"hint": self._hint(key, name, entry)}
                )
                yield InitErrorDetails(type=reason, loc=location, input=detail["input"])
            elif detail["type"] == "value_error":
                text = detail["msg"].removeprefix("Value error, ")
                kept = PydanticCustomError("value", "{text}", {"text": text})
                yield InitErrorDetails(type=kept, loc=location, input=detail["input"])
            else:
                yield InitErrorDetails(
                    type=detail["type"],
                    loc=location,
                    input=detail["input"],
                    ctx=detail.get("ctx", {}),
                )

    def _hint(self, key: str, name: str, entry: E) -> str:
        if moved := entry.settings.moved.get(key):
            return f" of {name}: {moved}"
        theirs = [
            other
            for other, known in self._entries.items()
            if key in known.settings.model_fields or key in known.settings.renamed
        ]
        if theirs:
            return f" of {name}; {', '.join(theirs)} {'has' if len(theirs) == 1 else 'have'} it"
        near = difflib.get_close_matches(key, entry.settings.model_fields, 1)
        return f"; is {near[0]} meant?" if near else ""


def _failed(details: Iterable[InitErrorDetails]) -> ValidationError:
    return ValidationError.from_exception_data("section", list(details))


def chosen_from(registry: Registry[Any]) -> BeforeValidator:
    """For ``Annotated``: a section is checked by the settings of the method that it names."""
    return BeforeValidator(registry.parse)


@cache
def load_plugins() -> None:
    """Imports the modules that installed packages name in the group ``raydepth.methods``, once."""
    for plugin in entry_points(group=PLUGINS):
        plugin.load()
