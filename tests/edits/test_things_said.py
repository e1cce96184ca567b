"""Edits that speak of things: what a job may say, and how a wrong name is answered."""

import pytest

from raydepth.edits.registry import EDITS
from raydepth.errors import JobError
from raydepth.job import parse_job
from raydepth.job.paths import locate_files

THINGS = [
    {"name": "woman", "point": [0.4, 0.5]},
    {"name": "dog", "point": [0.6, 0.7]},
    {"name": "dog", "point": [0.2, 0.7], "shot": 1},
]


def job(edit, things=THINGS, **layers):
    return parse_job({
        "schema_version": 1,
        "input": {"paths": ["a.mp4"]},
        "output": {"path": "b"},
        "layers": {"things": things} | layers,
        "edit": edit,
        "compose": {"method": "paste"},
    })  # fmt: skip


KEEP = {"kind": "background", "source": "#102030", "keep": ["woman", "dog"]}
INSERT = {"kind": "insert", "object": "chair.png", "point": [0.5, 0.9]}


@pytest.mark.parametrize(
    "edit, things, lifts",
    [
        ({"kind": "remove", "things": ["dog"]}, ["dog"], ["dog"]),
        ({"kind": "remove", "things": "dog"}, ["dog"], ["dog"]),
        ({"kind": "remove"}, [], []),
        (KEEP, ["woman", "dog"], ["woman", "dog"]),
        (INSERT | {"at": {"behind": "woman"}}, ["woman"], []),
        (INSERT | {"at": {"front": "dog"}}, ["dog"], []),
        (INSERT | {"at": {"behind": [0.5, 0.5]}}, [], []),
        ({"kind": "planes", "layers": {"dog": "remove", "near": "keep"}}, ["dog"], []),
        ({"kind": "planes", "layers": {"far": {"grade": {"exposure": -1.0}}}}, [], []),
        ({"kind": "planes", "layers": ["remove", "keep"]}, [], []),
    ],
)  # fmt: skip
def test_the_things_that_an_edit_speaks_of(edit, things, lifts):
    asked = job(edit).edit
    assert EDITS.of(asked).things(asked) == things and EDITS.of(asked).lifts(asked) == lifts
    assert job(edit).tree()["edit"] == parse_job(job(edit).tree()).tree()["edit"]


@pytest.mark.parametrize(
    "edit",
    [
        {"kind": "remove", "things": ["dgo"]},
        {"kind": "background", "source": "#102030", "keep": ["dgo"]},
        INSERT | {"at": {"behind": "dgo"}},
        {"kind": "planes", "layers": {"dgo": "remove"}},
    ],
)
def test_an_unknown_name_is_answered_with_the_names_there_are(edit):
    with pytest.raises(JobError, match=r"'dgo'; layers\.things has woman, dog; is dog meant\?"):
        job(edit)
    with pytest.raises(JobError, match=r"layers\.things names none; say what it is"):
        job(edit, [])
    assert job(edit, "things.csv").layers.things == "things.csv"  # read when the run begins


@pytest.mark.parametrize(
    "edit, layers, message",
    [
        ({"kind": "planes", "layers": {"near2": "remove"}}, {}, "which give the layers near, far"),
        ({"kind": "planes", "layers": {"near": "keep"}}, {"at": [0.7, 0.3]}, "near1, near2, far"),
        ({"kind": "planes", "layers": {"dog": "keep", "far": "remove"}}, {}, "nothing lies behind"),
        ({"kind": "planes", "layers": {"dog": "drop"}}, {}, "edit.layers.dog: got 'drop'; allowed"),
        (
            {"kind": "planes", "layers": {"dog": {"grade": {"exposure": 99}}}},
            {},
            "edit.layers.dog.grade.exposure: got 99",
        ),
        ({"kind": "planes", "layers": {}}, {}, "edit.layers: got {}"),
        (INSERT | {"at": {"behind": [1.5, 0.5]}}, {}, r"edit.at.behind.0: got 1.5"),
        (
            INSERT | {"at": {"behind": "the dog"}},
            {},
            "edit.at.behind: got 'the dog'; allowed: a point [0.5, 0.7]",
        ),
    ],
)
def test_what_no_edit_can_do_is_refused_in_words(edit, layers, message):
    with pytest.raises(JobError) as error:
        job(edit, **layers)
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["near", "near3", "Far", "object"])
def test_a_thing_cannot_have_another_layers_name(name):
    with pytest.raises(JobError, match="is the name of another layer"):
        job({"kind": "recompose"}, [{"name": name, "point": [0.5, 0.5]}])


def test_pictures_of_named_layers_are_looked_up_beside_the_job_file(tmp_path):
    (tmp_path / "wall.jpg").touch()
    asked = job({"kind": "planes", "layers": {"dog": {"replace": "wall.jpg"}}})
    found = locate_files(asked, tmp_path / "job.yaml")
    wall = str(tmp_path / "wall.jpg")
    assert found.edit.layers["dog"].replace == wall
    assert list(EDITS.of(found.edit).files(found.edit)) == [("edit.layers.dog.replace", wall)]
