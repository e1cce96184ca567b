"""Outputs are called after their sources: safely on every system, no two alike, and for good."""

import json
import zlib
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from raydepth.errors import JobError
from raydepth.output.clip_names import MAX_BYTES, is_name, name_clips, safe_name, source_name
from raydepth.output.folder import NAMES, OutputFolder
from raydepth.output.names import Listed
from tests.support.folders import VIDEOS, Run, do_run, segment

A, B, C = VIDEOS


def clip(video: str, path: str, kind: str = "video"):
    return segment(video).__class__(**vars(segment(video)) | {"path": path, "kind": kind})


def named(*paths: str, listed: dict[str, str] | None = None) -> list[str]:
    """What clips of these sources are called; the first is A's, and so on."""
    clips = [clip(video, path) for video, path in zip(VIDEOS, paths, strict=False)]
    names = name_clips(clips, listed or {})
    assert names == name_clips(clips[::-1], listed or {})
    return [names[each.video] for each in clips]


@pytest.mark.parametrize(
    ("path", "kind", "name"),
    [
        ("/clips/dog.mp4", "video", "dog"),
        ("s3://bucket/in/dog.v2.MOV?region=eu", "video", "dog.v2"),
        ("/frames/walk.0001", "images", "walk.0001"),
        ("/frames/walk/", "images", "walk"),
        ("/a/..hidden.mp4", "video", "hidden"),
        ("/a/-rf.mp4", "video", "rf"),
        ("/a/a:b?\u202ec\n.mp4", "video", "a_b__c_"),
        ("/a/con.mp4", "video", "_con"),
        ("/a/LPT1.x.mp4", "video", "_LPT1.x"),
        ("/a/Cafe\u0301.mp4", "video", "Caf\u00e9"),
        ("/a/end. .mp4", "video", "end"),
        ("/a/. -.mp4", "video", ""),
        (f"/a/dog-{C}.mp4", "video", ""),
        ("/a/\udcff\u72ac.mp4", "video", "_\u72ac"),
    ],
)
def test_a_source_gives_a_name_that_every_system_takes(path: str, kind: str, name: str) -> None:
    assert source_name(clip(A, path, kind)) == name


@given(st.text(max_size=200))
@example("con." + "x" * 200)
@example("\ud800" * 50 + "e\u0301")
@example("." * 130 + "a")
def test_whatever_a_source_is_called(text: str) -> None:
    name = safe_name(text)
    assert len(name.encode()) <= MAX_BYTES and safe_name(name) == name
    assert not set(name) & set('<>:"/\\|?*\0\n') and name == name.strip(". ")
    for video, given_name in name_clips([clip(A, f"/a/{name or 'x'}.mp4")], {}).items():
        assert video == A and is_name(given_name)


def test_only_names_that_would_clash_get_the_id() -> None:
    assert named("/a/dog.mp4", "/a/cat.mp4") == ["dog", "cat"]
    assert named("/a/dog.mp4", "/b/dog.mov", "/b/cat.mp4") == [f"dog-{A}", f"dog-{B}", "cat"]
    assert named("/a/Dog.mp4", "/a/dog.mp4") == [f"Dog-{A}", f"dog-{B}"]
    assert named("/a/Caf\u00e9.mp4", "/a/cafe\u0301.mp4") == [f"Caf\u00e9-{A}", f"caf\u00e9-{B}"]
    assert named("/a/-.mp4", "/a/---.mp4") == [A, B]
    assert named(f"/a/dog-{B}.mp4", "/a/dog.mp4", "/b/dog.mp4") == [A, f"dog-{B}", f"dog-{C}"]


def test_a_name_once_given_stays() -> None:
    assert named("/a/dog.mp4", "/b/dog.mp4", listed={A: "dog"}) == ["dog", f"dog-{B}"]
    assert named("/a/dog.mp4", listed={B: "Dog"}) == [f"dog-{A}"]  # of a source that is gone
    assert named("/a/renamed.mp4", listed={A: "dog"}) == ["dog"]


@given(
    st.lists(st.sampled_from(["dog", "Dog", f"dog-{A}", f"Dog-{B}", A, "..."]), min_size=3),
    st.lists(st.sets(st.sampled_from(range(3)), min_size=1), min_size=1, max_size=4),
)
def test_no_two_clips_ever_have_one_name(stems: list[str], rounds: list[set[int]]) -> None:
    listed: dict[str, str] = {}
    for chosen in rounds:
        clips = [clip(VIDEOS[i], f"/{i}/{stems[i]}.mp4") for i in sorted(chosen)]
        names = name_clips(clips, listed)
        assert all(names[video] == listed.get(video, names[video]) for video in names)
        listed |= names
        assert len({name.lower() for name in listed.values()}) == len(listed)


def test_folders_that_are_older_than_names_keep_their_ids(tmp_path: Path) -> None:
    do_run(str(tmp_path), Run((A,)))
    folder = OutputFolder.at(str(tmp_path))
    tree = json.loads(zlib.decompress(folder.read(NAMES)))
    assert tree.pop("clips") == {A: "dog"}
    folder.write(NAMES, zlib.compress(json.dumps(tree).encode()))
    do_run(str(tmp_path), Run((A, B), video=True))
    assert Listed.read(folder).clips == {A: A, B: "dog"}
    assert sorted(folder.files("videos")) == [f"videos/{A}.mp4", "videos/dog.mp4"]
    do_run(str(tmp_path), Run((A, B), video=True, overwrite=True))
    assert sorted(folder.files("videos")) == [f"videos/dog-{name}.mp4" for name in (A, B)]


@pytest.mark.parametrize("clips", [{A: "../x"}, {A: ""}, {A: 5}, {"x": "dog"}, {A: ".x"}, ["x"], 5])
def test_a_list_with_names_that_raydepth_does_not_give_is_refused(
    tmp_path: Path, clips: object
) -> None:
    do_run(str(tmp_path), Run((A,)))
    tree = {"version": 1, "names": [], "jobs": [], "clips": clips}
    OutputFolder.at(str(tmp_path)).write(NAMES, zlib.compress(json.dumps(tree).encode()))
    with pytest.raises(JobError, match=f"{NAMES} is damaged"):
        do_run(str(tmp_path), Run((A,)))
