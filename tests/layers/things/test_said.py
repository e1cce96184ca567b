"""Clicks in a CSV file: what they say, for which source, and what is wrong with them, by line."""

from pathlib import Path

import pytest

from raydepth.errors import JobError
from raydepth.layers.things.said import said, thing_names
from raydepth.layers.things.settings import Thing


def write(folder: Path, text: str) -> str:
    file = folder / "clicks.csv"
    file.write_text(text, encoding="utf-8")
    return str(file)


def test_rows_of_one_time_are_one_thing(tmp_path: Path):
    file = write(
        tmp_path,
        "\ufeffname,source,at_s,x,y,label\n"
        "dog,a.mp4,0,0.5,0.6,\n\n"
        "dog,a.mp4,0,0.7,0.1,0\n"
        "dog,a.mp4,2.5,0.1,0.2,1\n"
        '"cup",b.mp4,0,0.3,0.4,1\n',
    )
    first, second, third = said(file)
    assert first.thing == Thing(
        name="dog", at_s=0.0, points=[[0.5, 0.6], [0.7, 0.1]], labels=[1, 0]
    )
    assert second.thing.at_s == 2.5 and second.thing.points == [[0.1, 0.2]]
    assert third.thing.name == "cup" and third.source == "b.mp4"
    assert thing_names(file) == ("dog", "cup")
    assert first.place.endswith("clicks.csv line 2")


def test_a_box_may_stand_with_points(tmp_path: Path):
    file = write(
        tmp_path,
        "source,name,at_s,x,y,x1,y1,label\na.mp4,dog,1,0.1,0.2,0.5,0.6,\na.mp4,dog,1,0.3,0.3,,,0\n",
    )
    (only,) = said(file)
    assert only.thing.box == [0.1, 0.2, 0.5, 0.6]
    assert only.thing.points == [[0.3, 0.3]] and only.thing.labels == [0]


@pytest.mark.parametrize(
    ("source", "path", "meant"),
    [
        ("a.mp4", "/clips/a.mp4", True),
        ("a.mp4", "/clips/ba.mp4", False),
        ("clips/a.mp4", "/data/clips/a.mp4", True),
        ("clips/a.mp4", "/data/other/a.mp4", False),
        ("/data/clips/a.mp4", "/data/clips/a.mp4", True),
        ("a.mp4", "s3://bucket/clips/a.mp4?endpoint_override=x", True),
        ("s3://bucket/clips/a.mp4", "s3://bucket/clips/a.mp4?endpoint_override=x", True),
        ("s3://bucket/b.mp4", "s3://bucket/clips/a.mp4", False),
    ],
)
def test_which_source_is_meant(tmp_path: Path, source: str, path: str, meant: bool):
    (one,) = said(write(tmp_path, f"source,name,at_s,x,y\n{source},dog,0,0.5,0.5\n"))
    assert one.of(path) == meant


HEAD = "source,name,at_s,x,y,x1,y1,label\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; its first line must name the columns"),
        (HEAD, "has no rows"),
        ("source,name,at_s,x\n", "line 1: no column y; expected the columns"),
        ("source,name,at_s,x,y,z\n", "line 1: unknown column 'z'"),
        ("source,name,at_s,x,y,x\n", "line 1: column x twice"),
        (HEAD + "a.mp4,dog,0,0.5\n", "line 2: 4 cells for 8 columns"),
        (HEAD + "\na.mp4,dog,0,1.5,0.5,,,\n", "line 3, column x: expected a fraction.*'1.5'"),
        (HEAD + "a.mp4,dog,soon,0.5,0.5,,,\n", "line 2, column at_s: expected seconds.*'soon'"),
        (HEAD + "a.mp4,dog,-1,0.5,0.5,,,\n", "line 2, column at_s"),
        (HEAD + "a.mp4,dog,0,nan,0.5,,,\n", "line 2, column x"),
        (HEAD + ",dog,0,0.5,0.5,,,\n", "line 2, column source: is empty"),
        (HEAD + "a.mp4,dog,0,0.5,0.5,0.7,,\n", "line 2: a box needs x1 and y1"),
        (HEAD + "a.mp4,dog,0,0.5,0.5,0.4,0.9,\n", "line 2: a box needs x < x1"),
        (HEAD + "a.mp4,dog,0,0.5,0.5,,,2\n", "line 2, column label: expected 1"),
        (HEAD + "a.mp4,dog,0,0.5,0.5,,,0\n", "line 2: .*no point is on the thing"),
        (HEAD + "a.mp4,the dog,0,0.5,0.5,,,\n", "line 2, column name"),
        (HEAD + "a.mp4,near2,0,0.5,0.5,,,\n", "line 2: near2 is the name of another layer"),
        (HEAD + 'a.mp4,"dog,0,0.5,0.5,,,\n', "line 2"),
    ],
)
def test_what_is_wrong_is_said_by_line_and_column(tmp_path: Path, text: str, message: str):
    with pytest.raises(JobError, match=f"layers.things: .*clicks.csv .*{message}"):
        said(write(tmp_path, text))


def test_a_file_that_is_gone(tmp_path: Path):
    with pytest.raises(JobError, match=r"layers.things: .*gone\.csv: No such file"):
        said(str(tmp_path / "gone.csv"))


def test_a_changed_file_is_read_again(tmp_path: Path):
    file = write(tmp_path, "source,name,at_s,x,y\na.mp4,dog,0,0.5,0.5\n")
    assert thing_names(file) == ("dog",)
    write(tmp_path, "source,name,at_s,x,y\na.mp4,kitten,0,0.5,0.5\n")
    assert thing_names(file) == ("kitten",)
