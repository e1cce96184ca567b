"""``raydepth schema``: the job file as JSON Schema, by which editors complete and check it."""

from typing import Any

from pydantic.json_schema import models_json_schema

import raydepth
from raydepth.job.docs import all_sections, field_docs, registry_at, section_doc
from raydepth.job.load import Job
from raydepth.job.words import Spot, place_below, words
from raydepth.section import Section

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def job_schema() -> dict[str, Any]:
    """The schema, with the docstrings as descriptions and each method's own fields."""
    sections = list(all_sections(Job))
    refs, tree = models_json_schema([(section, "validation") for section in sections])
    definitions = tree["$defs"]
    named = {section: refs[section, "validation"] for section in sections}
    for section in sections:
        _complete(definitions[named[section]["$ref"].rpartition("/")[2]], section, named)
    return {
        "$schema": DRAFT,
        "title": f"A job of raydepth {raydepth.__version__}",
        **named[Job],
        "$defs": definitions,
    }


def _complete(
    definition: dict[str, Any], section: type[Section], named: dict[type[Section], dict[str, Any]]
) -> None:
    """Adds to a section's schema what its Python class says in other ways."""
    if doc := section_doc(section):
        definition["description"] = doc
    docs = field_docs(section)
    for name, field in definition["properties"].items():
        field.pop("title", None)
        place = place_below(Spot(section), name)
        if place is None:
            continue
        said = [docs.get(name, ""), f"Takes {words(place)}."]
        if (registry := registry_at(place)) is not None:
            methods = [registry[method].settings for method in registry]
            field.pop("$ref", None)
            field["oneOf"] = [named[settings] for settings in dict.fromkeys(methods)]
            said[1] = f"{registry.key}: {', '.join(registry)}."
        elif field.get("type") == "array" and "string" in str(field["items"].get("type", "")):
            kept = {key: field.pop(key) for key in list(field) if key not in ("default",)}
            field["anyOf"] = [kept, kept["items"]]  # one word stands for a list of it
        field["description"] = "\n\n".join(filter(None, said))
