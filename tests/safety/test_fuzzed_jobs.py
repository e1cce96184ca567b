"""Any job file and any override is read or refused in words: nothing else is ever raised."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from raydepth.compose.registry import COMPOSITORS
from raydepth.edits.registry import EDITS
from raydepth.errors import JobError
from raydepth.job import Job, load_job, parse_job
from raydepth.layers.fill.registry import FILLERS
from raydepth.output import record
from tests.safety.fuzzing import check_refusal, quick

pytestmark = pytest.mark.timeout(60)

MINIMAL = {"schema_version": 1, "input": {"paths": ["a.mp4"]}, "output": {"path": "out"}}


def fields(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Dotted names of all fields of a job, sections too."""
    names = []
    for name, info in model.model_fields.items():
        names.append(prefix + name)
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            names += fields(info.annotation, f"{prefix}{name}.")
    return names


REGISTRIES = (COMPOSITORS, EDITS, FILLERS)
FIELDS = sorted(
    {
        *fields(Job),
        *(
            field
            for registry in REGISTRIES
            for name in registry
            for field in fields(registry[name].settings, registry.field.removesuffix(registry.key))
        ),
    }
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.binary(max_size=4)
    | st.dates()
    | st.sampled_from(
        [
            "auto",
            "builtin",
            "files:{stem}.png",
            "telea",
            "remove",
            "up",
            "png",
            0,
            1,
            0.5,
            1e300,
            -0.0,
            2**63,
        ]
    )
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["kind", "method", "point", "box", "metres", "quantile", "batch", "weight"]
            )
            | st.text(max_size=5)
            | st.integers(),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)
methods = st.fixed_dictionaries(
    {}, optional={registry.field: st.sampled_from(list(registry)) for registry in REGISTRIES}
)
changes = st.builds(
    lambda chosen, others: chosen | others,
    methods,
    st.dictionaries(st.sampled_from(FIELDS), values, max_size=4),
)


def changed(tree: dict, changes: dict[str, Any]) -> dict:
    tree = json.loads(json.dumps(tree))
    for field, value in changes.items():
        node = tree
        *parents, last = field.split(".")
        for parent in parents:
            if not isinstance(node.get(parent), dict):
                node[parent] = {}
            node = node[parent]
        node[last] = value
    return tree


@quick
@given(changes)
def test_a_tree_is_a_job_or_a_refusal_and_a_job_survives_its_file(
    tmp_path: Path, changes: dict
) -> None:
    try:
        job = parse_job(changed(MINIMAL, changes))
    except JobError as error:
        check_refusal(error)
        return
    text = record.job_yaml(job.tree())
    (tmp_path / "job.yaml").write_bytes(text.encode("utf-8"))
    assert load_job(tmp_path / "job.yaml") == parse_job(job.model_dump(mode="json")) == job
    assert record.job_yaml(load_job(tmp_path / "job.yaml").tree()) == text


@quick
@given(st.text(max_size=200) | st.binary(max_size=200) | values)
@example("a: &a [*a]")
@example("? {a: b}\n: c")
@example("!!set {a, a}")
@example("<<: [1]")
@example("!!float x")
@example("!!timestamp x")
@example("0b")
@example("1:99:9999")
@example("\ud800")
def test_any_text_is_a_job_or_a_refusal(tmp_path: Path, content: Any) -> None:
    if not isinstance(content, str | bytes):
        content = yaml.safe_dump(content)
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    (tmp_path / "job.yaml").write_bytes(data)
    with pytest.raises(JobError) as refused:
        load_job(tmp_path / "job.yaml")
    check_refusal(refused.value)


@quick
@given(
    base=st.just(yaml.safe_dump(MINIMAL)),
    cuts=st.lists(
        st.tuples(st.floats(0, 1), st.text(alphabet=":-[]{}&*!|>'\"#\n\t ,?%@`ab0.", max_size=3)),
        min_size=1,
        max_size=3,
    ),
)
def test_a_job_file_with_typing_errors(
    tmp_path: Path, base: str, cuts: list[tuple[float, str]]
) -> None:
    for place, text in cuts:
        at = int(place * len(base))
        base = base[:at] + text + base[at + len(text) % 2 :]
    (tmp_path / "job.yaml").write_text(base)
    try:
        assert isinstance(load_job(tmp_path / "job.yaml"), Job)
    except JobError as error:
        check_refusal(error)


@quick
@given(
    st.lists(
        st.one_of(
            st.text(max_size=30),
            st.builds(
                "{}={}".format,
                st.sampled_from(FIELDS),
                values.map(lambda value: yaml.safe_dump(value, default_flow_style=True)),
            ),
            st.builds(
                "{}={}".format, st.sampled_from(FIELDS) | st.text(max_size=9), st.text(max_size=20)
            ),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_any_override_is_taken_or_refused(tmp_path: Path, overrides: list[str]) -> None:
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(MINIMAL))
    try:
        job = load_job(tmp_path / "job.yaml", overrides)
    except JobError as error:
        check_refusal(error)
    else:
        assert parse_job(job.model_dump(mode="json")) == job
