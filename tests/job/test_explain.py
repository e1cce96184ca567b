"""``raydepth explain`` and ``raydepth schema``: what they say is what the job takes."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from raydepth.errors import JobError
from raydepth.job import Job
from raydepth.job.docs import all_sections, field_docs, section_doc
from raydepth.job.explain import explain
from raydepth.job.load import parse_job
from raydepth.job.schema import job_schema
from raydepth.registry import Registry

ROOT = Path(__file__).resolve().parents[2]
JOBS = sorted((ROOT / "jobs").glob("*.yaml"))


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("layers.feather", ["a number from 0 to 1", "normalised inverse depth", "default  0.0"]),
        ("input.paths", ["it must be given", "clips/*.mp4", "glob patterns"]),
        ("layers.things", ["a list of things", "default  []", "at_s", "required"]),
        ("layers.things.0.point", ["fractions of width and height", "default  null"]),
        ("layers.at", ["auto", "{metres: 2.5}", "needs a metric model", "default  auto"]),
        ("layers.fill", ["method: telea | navier-stokes (default)", "method: plate", "radius"]),
        ("edit.insert.height", ["fraction of the frame", "(insert)"]),
        ("compose.steps", ["a whole number", "full schedule", "featglac-kv"]),
        ("run.max_hours", ["hours", "exit 75"]),
        ("run", ["workers", "Actors that hold the models."]),
        ("depth.steady", ["camera that stands still"]),
    ],
)
def test_a_field_is_explained(field: str, said: list[str]):
    text = explain(field)
    assert [word for word in said if word not in text] == []
    assert max(map(len, text.splitlines())) <= 100


def test_without_a_field_all_sections_are_listed():
    text = explain()
    assert all(name in text for name in Job.model_fields)


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("layers.thing", "is layers.things meant"),
        ("layer.at", "is layers meant"),
        ("feather", "is layers.feather meant"),
        ("edit.insert.hight", "is edit.insert.height meant"),
        ("run.batch.size", "is input.size or output.size meant"),
        ("run.qqqq", "run has workers"),
        ("...", "no such field"),
    ],
)
def test_an_unknown_field_is_refused_with_a_near_one(field: str, said: str):
    with pytest.raises(JobError, match="no such field") as error:
        explain(field)
    assert said in str(error.value)


def test_docstrings_are_found():
    assert all(section_doc(section) for section in all_sections(Job))
    said = sum(len(field_docs(section)) for section in all_sections(Job))
    fields = sum(len(section.model_fields) for section in all_sections(Job))
    assert said > 0.75 * fields


@pytest.fixture(scope="module")
def check() -> jsonschema.Draft202012Validator:
    schema = json.loads(json.dumps(job_schema()))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("file", JOBS, ids=lambda file: file.name)
def test_the_shipped_jobs_pass_the_schema(file: Path, check: jsonschema.Draft202012Validator):
    assert [error.message for error in check.iter_errors(yaml.safe_load(file.read_text()))] == []


FORMS = [
    {},
    {"input": {"paths": "clips/*.mp4"}},
    {"layers": {"at": [0.5, {"quantile": 0.3}], "fill": {"method": "onnx", "model": "a.onnx"}}},
    {"layers": {"things": [{"name": "dog", "point": [0.4, 0.6]}]}},
    {"layers": {"things": "clicks.csv"}},
    {"edit": {"kind": "insert", "object": "a.png", "point": [0.5, 0.5]}},
    {"edit": {"kind": "planes", "layers": ["remove", {"grade": {"exposure": -1}}]}},
]
WRONG = [
    {"input": {"paths": []}},
    {"input": {"paths": ["a.mp4"], "sizes": 3}},
    {"layers": {"feather": 2}},
    {"layers": {"fill": {"method": "onnx"}}},
    {"layers": {"fill": {"method": "magic"}}},
    {"layers": {"at": "near"}},
    {"edit": {"kind": "insert", "objects": "a.png"}},
    {"run": {"batch": "many"}},
    {"what": 1},
]


def tree_with(changes: dict) -> dict:
    sections = {"schema_version": 1, "input": {"paths": ["a.mp4"]}, "output": {"path": "out"}}
    return sections | {"compose": {"method": "paste"}} | changes


@pytest.mark.parametrize("changes", FORMS, ids=str)
def test_the_schema_takes_what_a_job_takes(changes: dict, check: jsonschema.Draft202012Validator):
    parse_job(tree_with(changes))
    assert [error.message for error in check.iter_errors(tree_with(changes))] == []


@pytest.mark.parametrize("changes", WRONG, ids=str)
def test_the_schema_refuses_what_a_job_refuses(
    changes: dict, check: jsonschema.Draft202012Validator
):
    with pytest.raises(JobError):
        parse_job(tree_with(changes))
    assert not check.is_valid(tree_with(changes))


def test_every_method_of_every_registry_is_in_the_schema():
    from raydepth.compose.registry import COMPOSITORS
    from raydepth.edits.registry import EDITS
    from raydepth.layers.fill.registry import FILLERS
    from raydepth.layers.things.registry import SEGMENTERS

    definitions = job_schema()["$defs"]
    registries: tuple[Registry, ...] = (COMPOSITORS, EDITS, FILLERS, SEGMENTERS)
    for registry in registries:
        for name in registry:
            key = definitions[registry[name].settings.__name__]["properties"][registry.key]
            assert name in (key.get("enum") or [key["const"]])
    assert "in depth around the click" in definitions["DepthSegmenter"]["description"]
    assert definitions["Layers"]["properties"]["feather"]["description"].startswith("Width of")
