"""The verdict: what makes a run amber, what is only counted, and that neither order, repetition nor
cutting of the rows matters.
"""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raydepth.evaluate.rules import RULES
from raydepth.evaluate.verdict import Verdict, judge, lines

INSERT = {"edit": {"kind": "insert", "object": "chair.png", "point": [0.5, 0.8]}}
REMOVE: dict[str, Any] = {"edit": {"kind": "remove"}, "layers": {"at": "auto"}}
DOG: dict[str, Any] = {"edit": {"kind": "remove", "things": ["dog"]}}
BACKGROUND = {"edit": {"kind": "background", "source": "#2040c0"}}
GOOD = {
    "region_share": 0.2,
    "near_share": 0.3,
    "hole_share": None,
    "object_inside": None,
    "object_seen": None,
    "things_lost": None,
    "things_absent": None,
    "things_hidden": None,
    "depth_waver": 0.01,
    "edit_flicker": 1.0,
    "note": "",
    "thing_names": None,
    "thing_state": None,
}
FLOATS = [name for name in GOOD if not name.startswith("thing_") and name != "note"]
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("frame_id", "video", "path", "status", "note")),
        *((name, pa.int64()) for name in ("frame_index", "shot")),
        *((name, pa.float64()) for name in ("time_s", *FLOATS)),
        *((name, pa.list_(pa.string())) for name in ("thing_names", "thing_state")),
    ]
)


def row(index: int, video: str = "dog", shot: int = 0, **over: Any) -> dict[str, Any]:
    """A good frame, but for what is said."""
    return {
        "frame_id": f"{video}:{index}",
        "video": video,
        "path": f"clips/{video}.mp4",
        "frame_index": index,
        "time_s": index / 25,
        "status": "ok",
        "shot": shot,
        **GOOD,
        **over,
    }


def table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def verdict(rows: list[dict[str, Any]], job: dict[str, Any], **more: Any) -> Verdict:
    return judge([table(rows)], job, **more)


def test_good_frames_are_green() -> None:
    found = verdict([row(i) for i in range(20)], REMOVE)
    assert found == Verdict("green")
    assert lines(found.tree()) == ["green: every check of the done frames passed"]


LOST = {
    "things_lost": 1.0,
    "thing_names": ["cup", "dog"],
    "thing_state": ["seen", "lost"],
    "region_share": 0.0,
}


@pytest.mark.parametrize(
    ("rule", "job", "bad", "words", "advice"),
    [
        (
            "object_hidden", INSERT, {"object_seen": 0.01, "object_inside": 1.0},
            "wholly hidden", "edit.at",
        ),
        (
            "object_outside", INSERT, {"object_seen": 0.0, "object_inside": 0.0},
            "outside the frame", "edit.point",
        ),
        ("near_everywhere", REMOVE, {"near_share": 0.97}, "covers 97 %", "layers.at (it is auto)"),
        ("near_nowhere", REMOVE, {"near_share": 0.0}, "nothing is in the near", "layers.things"),
        ("things_lost", DOG, LOST, "the track of dog is lost", "at_s"),
        (
            "things_absent", DOG,
            {"things_absent": 1.0, "thing_names": ["dog"], "thing_state": ["absent"]},
            "dog was not said or found", "click it in that shot",
        ),
        (
            "things_hidden", DOG,
            {
                "things_hidden": 1.0, "region_share": 0.0,
                "thing_names": ["dog"], "thing_state": ["hidden"],
            },
            "dog is out of the picture", "where it comes back",
        ),
        ("hole_over_half", REMOVE, {"hole_share": 0.61}, "61 % of the frame", "plate"),
        ("depth_wavers", REMOVE, {"depth_waver": 0.09}, "wavers by 0.09", "depth.stabilise"),
        (
            "depth_wavers", REMOVE | {"depth": {"model": "files:d/{frame_index}.npy"}},
            {"depth_waver": 0.09}, "wavers by 0.09", "the depth files change scale",
        ),
        ("edit_flickers", REMOVE, {"edit_flicker": 2.0}, "flickers 2.0 x", "depth.guided"),
        (
            "no_plate", REMOVE, {"note": "no plate, hole filled by telea: it moves"},
            "no other frame", "notes say why",
        ),
        (
            "camera_lost", INSERT,
            {"note": "the camera's motion could not be measured here: the object stays"},
            "may slide", "edit.anchor",
        ),
        (
            "unedited", REMOVE, {"region_share": 0.0, "note": "empty near layer"},
            "changed nothing (empty near layer)", "notes",
        ),
    ],
)  # fmt: skip
def test_each_fault_is_amber_with_its_reason_count_place_and_advice(
    rule: str, job: dict[str, Any], bad: dict[str, Any], words: str, advice: str
) -> None:
    rows = [row(i) for i in range(10)] + [row(i, **bad) for i in range(10, 40)]
    found = verdict(rows, job)
    (reason,) = found.reasons
    assert (found.colour, reason.rule, reason.frames) == ("amber", rule, 30)
    assert words in reason.what and advice in reason.advice
    assert [place["frame_index"] for place in reason.first] == [10, 11, 12]
    (said,) = [line for line in lines(found.tree()) if line.startswith("amber: ")]
    assert words in said and "in 30 frames" in said and "first dog.mp4 at 0.40 s" in said


def test_a_thing_may_leave_the_picture_for_less_than_half_of_the_shot() -> None:
    gone = {"things_hidden": 1.0, "region_share": 0.0}
    rows = [row(i, things_hidden=0.0) for i in range(12)]
    rows += [row(i, **gone) for i in range(12, 20)]
    assert verdict(rows, DOG).colour == "green"


@pytest.mark.parametrize(
    ("job", "bad"),
    [
        (INSERT, {"near_share": 0.0}),  # an object is put in, whatever is near
        (DOG, {"near_share": 0.0}),  # the dog is far away
        (DOG, {"depth_waver": 0.2}),  # a mask cuts it out, not depth
        (BACKGROUND, {"edit_flicker": 9.0}),  # another clip moves as it does
        (INSERT, {"region_share": 0.0, "note": "the object is in shot 1 (edit.shot)"}),
    ],
)
def test_what_is_no_fault_of_this_edit_is_green(job: dict[str, Any], bad: dict[str, Any]) -> None:
    assert verdict([row(i, **bad) for i in range(20)], job) == Verdict(
        "green", notes=verdict([row(i, **bad) for i in range(20)], job).notes
    )


def test_an_odd_frame_is_counted_and_no_more() -> None:
    rows = [row(i, near_share=0.97 if i in (7, 90) else 0.3) for i in range(5000)]
    found = verdict(rows, REMOVE)
    assert found.colour == "green" and not found.reasons
    assert [(reason.rule, reason.frames) for reason in found.odd] == [("near_everywhere", 2)]


def test_one_bad_shot_of_a_large_collection_is_amber() -> None:
    rows = [row(i, f"clip{n}") for n in range(40) for i in range(50)]
    rows += [row(i, "clip7", shot=1, near_share=0.95) for i in range(50, 58)]
    found = verdict(rows, REMOVE)
    assert found.colour == "amber" and found.reasons[0].frames == 8
    assert found.reasons[0].first[0]["path"] == "clips/clip7.mp4"


def test_a_frame_is_left_for_one_reason_only() -> None:
    found = verdict([row(i, **LOST) for i in range(20)], DOG)
    assert [reason.rule for reason in found.reasons] == ["things_lost"]


def test_failed_frames_are_red_and_judged_by_what_is_done() -> None:
    rows = [row(i, near_share=0.95) for i in range(9)] + [row(9, status="error", near_share=None)]
    found = verdict(rows, REMOVE, broken=True)
    assert found.colour == "red" and found.reasons[0].frames == 9
    assert verdict([row(0, status="error")], REMOVE).colour == "red"
    assert judge([], REMOVE).colour == "red"


def test_notes_are_counted_without_their_numbers() -> None:
    rows = [row(i, note=f"{i}.5% of the hole is shown by too few") for i in range(4)]
    rows[3]["note"] += "; depth repeated in float32"
    notes = verdict(rows, REMOVE).notes
    assert [(note.text, note.frames) for note in notes] == [
        ("0.5% of the hole is shown by too few", 4),
        ("depth repeated in float32", 1),
    ]
    assert [place["frame_index"] for place in notes[1].first] == [3]


def test_a_shard_of_another_version_has_no_checks_and_no_amber() -> None:
    plain = table([row(i) for i in range(9)]).select(
        ["frame_id", "video", "path", "frame_index", "time_s", "status"]
    )
    assert judge([plain], {"edit": {"kind": "from-a-plugin"}}) == Verdict("green")


def test_the_terminal_says_six_reasons_and_how_many_more_there_are() -> None:
    bad = {"near_share": 0.95, "hole_share": 0.9, "depth_waver": 0.2, "edit_flicker": 3.0}
    bad |= {"object_seen": 0.0, "object_inside": 1.0, "things_lost": 1.0, "things_absent": 1.0}
    said = lines(verdict([row(i, **bad) for i in range(9)], REMOVE).tree())
    assert len([line for line in said if line.startswith("amber: ")]) == 7
    assert said[6] == "amber: 1 more reasons are in the report"


values = st.one_of(st.none(), st.floats(0, 1), st.sampled_from([0.0, 0.95, 3.0]))
frames = st.lists(
    st.builds(
        row,
        index=st.integers(0, 30),
        video=st.sampled_from(["a", "b"]),
        status=st.sampled_from(["ok", "ok", "ok", "error"]),
        note=st.sampled_from(["", "empty near layer", "no plate, hole filled by telea: 3"]),
        **{name: values for name in FLOATS},
    ),
    unique_by=lambda made: made["frame_id"],
    max_size=40,
)


@given(frames, st.sampled_from([INSERT, REMOVE, DOG, BACKGROUND]), st.randoms(), st.integers(1, 9))
def test_order_repetition_and_cutting_of_the_rows_do_not_matter(
    rows: list[dict[str, Any]], job: dict[str, Any], rng: Any, cut: int
) -> None:
    found = verdict(rows, job)
    mixed = [*rows, *rows[:3]]
    rng.shuffle(mixed)
    tables = [table(mixed[i : i + cut]) for i in range(0, len(mixed), cut)]
    assert judge(tables, job) == found


@given(frames, frames, st.sampled_from([INSERT, REMOVE, DOG, BACKGROUND]))
def test_another_video_takes_no_reason_away(
    rows: list[dict[str, Any]], more: list[dict[str, Any]], job: dict[str, Any]
) -> None:
    other = [made | {"video": "c", "frame_id": f"c:{made['frame_index']}"} for made in more]
    other = list({made["frame_id"]: made for made in other}.values())
    alone = {reason.rule for reason in verdict(rows, job).reasons} - {"unedited"}
    assert alone <= {reason.rule for reason in verdict([*rows, *other], job).reasons}


def test_every_rule_has_a_name_of_its_own() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
