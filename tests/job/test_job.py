"""The job file refuses what it does not know, names the field, and takes overrides as YAML."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raydepth.errors import JobError, JobNote
from raydepth.job import Job, load_job, parse_job

MINIMAL = {"schema_version": 1, "input": {"paths": ["a.mp4"]}, "output": {"path": "out"}}


FIELDS = (
    *(f"{name}" for name in Job.model_fields),
    *(
        f"{name}.{field}"
        for name, section in Job.model_fields.items()
        for field in getattr(section.annotation, "model_fields", ())
    ),
)


def with_field(field: str, value: object) -> dict:
    tree: dict = {
        key: dict(section) if isinstance(section, dict) else section
        for key, section in MINIMAL.items()
    }
    *parents, last = field.split(".")
    node = tree
    for parent in parents:
        node = node.setdefault(parent, {})
    node[last] = value
    return tree


def test_defaults_survive_a_round_trip():
    job = parse_job(MINIMAL)
    assert parse_job(job.model_dump(mode="json")) == job


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("input.sise", 256, ["input.sise: unknown key; is size meant?"]),
        (
            "input.stride",
            0,
            ["input.stride: got 0; allowed: a whole number of 1 or more, for example 1"],
        ),
        (
            "input.stride",
            "2",
            ["input.stride: got '2'; allowed: a whole number", "write it without quotes"],
        ),
        (
            "input.paths",
            [],
            ["input.paths: got []; allowed: a list of text, for example [clips/*.mp4]"],
        ),
        (
            "layers.at",
            "otsu",
            ["layers.at: got 'otsu'; allowed: auto, a normalised inverse depth", "{quantile: 0.6}"],
        ),
        ("layers.at", 300, ["layers.at: got 300", "0 farthest, 1 nearest", "a list of 1 to 8"]),
        ("layers.at", {"metre": 2.0}, ["layers.at: got {'metre': 2.0}", "is metres meant?"]),
        ("layers.at", {"metres": -1}, ["layers.at.metres: got -1; allowed: a number above 0 (met"]),
        (
            "layers.at",
            [0.5, {"point": [0.5, 300]}],
            [
                "layers.at.1.point.1: got 300; allowed: a number from 0 to 1 (fractions of width",
                "pixels are not taken",
            ],
        ),
        ("edit", {"kind": "insert", "object": "a", "point": [0.5, 1], "at": "far"}, ["{behind: ["]),
        ("layers.within", [0.1, 0.1], ["a list of 4, each a number from 0 to 1 (fractions"]),
        ("input.size", 0.5, ["from 32 to 8192 (pixels) or null", "fractions are not taken"]),
        ("compose.edge_band", 40, ["fraction of the picture's short side", "pixels are not taken"]),
        ("compose.strength", "1e-1", ["a number above 0 and up to 1", "1.0e-3"]),
        ("run.batch", 8.0, ["allowed: a whole number from 1 to 256, for example 8; write 8"]),
        ("run.btch", 8, ["run.btch: unknown key; is batch meant?"]),
        ("input.batch", 8, ["input.batch: unknown key; is run.batch meant?"]),
        ("compose.batch", 8, ["compose.batch: unknown key; is run.batch meant?"]),
        ("inputs", {}, ["inputs: unknown key; is input meant?"]),
        ("layers.at", {"metres": 2.0, "x": 1}, ["layers.at.metres.x: unknown key"]),
        ("compose.inject.windw", [0, 1], ["compose.inject.windw: unknown key; is window meant?"]),
        ("output.keep", "edit", ["output.keep.0: got 'edit'", "is edited meant?"]),
        ("edit", {"kind": "background", "source": "#20"}, ["'#20'", "six hexadecimal digits"]),
        (
            "edit",
            {"kind": "planes", "layers": ["kep", "keep"]},
            [
                "edit.layers.0: got 'kep'; allowed: keep, remove, {replace: wall.jpg} or {grade: ",
                "is keep meant?",
            ],
        ),
        ("layers.fill", {"method": "onnx"}, ["layers.fill", "layers.fill.model"]),
        (
            "layers.fill",
            {"method": "plate", "model": "builtin"},
            ["layers.fill.model", ".onnx", "builtin"],
        ),
        ("layers.within", [0.5, 0.1, 0.5, 0.9], ["layers", "x0 < x1", "0.5"]),
        ("edit.kind", "teleport", ["edit.kind: got 'teleport'", "recompose", "remove"]),
        ("compose.method", "pste", ["compose.method: got 'pste'", "is paste meant?"]),
        (
            "compose.method",
            "magic",
            ["compose.method", "'magic'", "featglac-kv", "paste", "poisson"],
        ),
        ("compose.inject.window", [0.8, 0.2], ["compose.inject", "first <= last"]),
        (
            "run.dtype",
            "float8",
            [
                "run.dtype: got 'float8'; allowed: 'auto', 'float32'",
                "'bfloat16'; is float32 meant?",
            ],
        ),
        ("run", 3, ["run: got 3; allowed: {workers: 1}"]),
        ("schema_version", 2, ["schema_version", "got 2", "1"]),
    ],
)
def test_a_wrong_field_is_named_with_value_and_what_is_allowed(field, value, words):
    with pytest.raises(JobError) as error:
        parse_job(with_field(field, value))
    for word in words:
        assert word in str(error.value)


def test_every_wrong_field_has_its_line():
    with pytest.raises(JobError) as error:
        parse_job({"schema_version": 1, "inputs": {}, "run": {"batch": 0}})
    lines = str(error.value).splitlines()
    assert {line.split(":")[0] for line in lines} == {"input", "output", "inputs", "run.batch"}


@pytest.mark.parametrize("missing", ["input", "output", "schema_version"])
def test_what_is_missing_is_shown(missing: str):
    with pytest.raises(JobError) as error:
        parse_job({key: value for key, value in MINIMAL.items() if key != missing})
    example = {
        "input": "{paths: [clips/*.mp4]}",
        "output": "{path: runs/out}",
        "schema_version": "1",
    }[missing]
    assert str(error.value) == f"{missing}: required, but missing; allowed: {example}"


def test_no_message_is_in_the_words_of_the_library_that_checks(capsys):
    """Every field of every section, given what no field takes."""
    for field in FIELDS:
        for value in (object(), ["x", object()], {"nothing": 1}, -1e300):
            with pytest.raises(JobError) as error:
                parse_job(with_field(field, value))
            for line in str(error.value).splitlines():
                assert "Input should" not in line and "valid " not in line, line
                assert re.search("allowed: |unknown key|expected|required, but missing|give ", line)


def test_one_word_stands_for_a_list_of_one(tmp_path: Path):
    file = tmp_path / "job.yaml"
    file.write_text(
        "schema_version: 1\ninput: {paths: a.mp4}\noutput: {path: out, keep: edited}\n"
        "compose: {inject: {blocks: mid}}\n"
    )
    job = load_job(file)
    assert (job.input.paths, job.output.keep) == (["a.mp4"], ["edited"])
    assert job.compose.inject.blocks == ["mid"]
    assert load_job(file, ["input.paths=b c.mp4"]).input.paths == ["b c.mp4"]
    assert job == load_job(file, ["input.paths=[a.mp4]", "output.keep=[edited]"])


def test_overrides_are_yaml_and_make_sections(tmp_path: Path):
    file = tmp_path / "job.yaml"
    file.write_text("schema_version: 1\ninput: {paths: [a.mp4]}\noutput: {path: out}\n")
    job = load_job(
        file, ["input.paths=[b.mp4, c d.mp4]", "layers.at={quantile: 0.6}", "run.max_hours=0.5"]
    )
    assert job.input.paths == ["b.mp4", "c d.mp4"]
    assert job.layers.planes[0].quantile == 0.6
    assert job.run.max_hours == 0.5


@pytest.mark.parametrize("override", ["input", "=3", "input.paths.x=3", "run.batch=[1"])
def test_a_malformed_override_is_refused(tmp_path: Path, override: str):
    file = tmp_path / "job.yaml"
    file.write_text("schema_version: 1\ninput: {paths: [a.mp4]}\noutput: {path: out}\n")
    with pytest.raises(JobError, match="--set"):
        load_job(file, [override])


@pytest.mark.parametrize(
    "text", ["", "- a\n- b\n", "a: [1", "just words", "!!python/object/apply:os.system ['true']"]
)
def test_what_is_not_a_job_file_is_refused(tmp_path: Path, text: str):
    file = tmp_path / "job.yaml"
    file.write_text(text)
    with pytest.raises(JobError):
        load_job(file)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path):
    with pytest.raises(JobError, match="No such file"):
        load_job(tmp_path / "none.yaml")
    with pytest.raises(JobError):
        load_job(tmp_path)


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda children: (
            st.lists(children, max_size=3)
            | st.dictionaries(st.text(max_size=8), children, max_size=3)
        ),
        max_leaves=8,
    ),
    st.sampled_from(
        [
            "input",
            "input.paths",
            "layers.at",
            "layers.fill",
            "edit",
            "compose.inject",
            "run.workers",
            "output",
        ]
    ),
)
def test_any_value_anywhere_parses_or_is_a_job_error(value, field):
    try:
        parse_job(with_field(field, value))
    except JobError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("compose", "expected"),
    [
        ({}, (5, 0.2, 0.008)),
        ({"strength": 0.5, "edge_band": 1.0}, (5, 0.5, 1.0)),
        ({"model": "stable-diffusion-v1-5/stable-diffusion-v1-5"}, (10, 0.6, 1.0)),
    ],
)
def test_what_the_study_found_is_for_the_model_that_it_studied(compose: dict, expected: tuple):
    found = parse_job(with_field("compose", compose)).compose
    assert (found.steps, found.strength, found.edge_band) == expected
    again = parse_job(with_field("compose", found.model_dump(mode="json"))).compose
    assert again == found


@pytest.mark.parametrize("method", ["featglac-kv", "featglac-grad", "paste", "poisson"])
def test_light_and_rims_are_matched_for_featglac_kv_alone_unless_it_is_asked_for(method: str):
    found, asked = (
        parse_job(with_field("compose", {"method": method} | more)).compose
        for more in ({}, {"alpha_matting": True, "light": {"shading": 0.5}})
    )
    matched = float(method == "featglac-kv")
    assert (found.matched_light.colour, found.matched_light.shading, found.matte_edges) == (
        matched,
    ) * 3
    assert found.matched_light.brightness == asked.matched_light.colour == 0
    assert asked.matte_edges and asked.matched_light.shading == 0.5


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("compose", {"method": "paste", "steps": 5}, ["compose.steps", "paste", "featglac-kv"]),
        (
            "compose",
            {"method": "featglac-grad", "steps": 5},
            ["compose.steps", "set compose.grad.steps"],
        ),
        ("compose", {"method": "featglac-kv", "stepz": 5}, ["compose.stepz", "is steps meant?"]),
        ("layers.fill", {"method": "telea", "prompt": "sky"}, ["layers.fill.prompt", "diffusion"]),
        ("edit", {"kind": "remove", "object": "a.png"}, ["edit.object", "insert"]),
        ("compose", {"redraw": 0.5, "edge_band": 0.5}, ["compose", "redraw", "edge_band"]),
    ],
)
def test_a_field_that_the_chosen_method_does_not_know_is_refused_by_name(field, value, words):
    with pytest.raises(JobError) as error:
        parse_job(with_field(field, value))
    for word in words:
        assert word in str(error.value)


def test_a_method_switched_by_set_drops_what_it_does_not_know_and_says_so(tmp_path: Path):
    file = tmp_path / "job.yaml"
    file.write_text(
        "schema_version: 1\ninput: {paths: [a.mp4]}\noutput: {path: out}\n"
        "compose: {method: featglac-kv, steps: 7, crop: region}\n"
        "layers: {fill: {method: diffusion, prompt: sky, dilate: 3}}\n"
    )
    with pytest.warns(JobNote) as notes:
        job = load_job(file, ["compose.method=paste", "layers.fill.method=telea"])
    assert [str(note.message).rpartition(": ")[2] for note in notes] == ["steps", "prompt"]
    assert job.compose.crop == "region" and job.layers.fill.dilate == 3
    with pytest.raises(JobError, match=r"compose\.steps"):
        load_job(file, ["compose.method=paste", "compose.steps=7"])


@pytest.mark.parametrize(
    ("field", "value", "new"),
    [
        ("compose.redraw", 0.5, "compose.edge_band"),
        ("compose.rim", True, "compose.alpha_matting"),
        ("depth.steady", True, "depth.stabilise"),
        ("evaluate.again_every", 3, "evaluate.reestimate_every"),
    ],
)
def test_fields_of_version_1_work_under_their_old_names_with_a_note(field, value, new):
    with pytest.warns(JobNote, match=new.rpartition(".")[2]):
        job = parse_job(with_field(field, value))
    section, name = new.split(".")
    assert getattr(getattr(job, section), name) == value
