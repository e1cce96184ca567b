"""The whole report from made-up rows: files, schema, honesty about what was not measured, and
hostile names.
"""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import pyarrow as pa
import pytest
import yaml

from raydepth.evaluate.fold import fold
from raydepth.evaluate.measures import DEPRECATED, MEASURES, THREE_RMSES
from raydepth.report.build import build_report
from raydepth.report.numbers import to_json
from tests.report.made_up import JOB, STAGES, encoded, make_report, row

HOSTILE = "<img src=x onerror=alert(1)>"
ROWS = (
    [row("dog", i) for i in range(11)]
    + [row("cup", i) for i in range(6)]
    + [row("cup", 6, status="error", attempts=2)]
)


class Page(HTMLParser):
    """Collects what a browser would load, run or show."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def page(folder: Path) -> Page:
    return Page((folder / "index.html").read_text(encoding="utf-8"))


def strict_json(folder: Path) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads((folder / "report.json").read_text(encoding="utf-8"), parse_constant=refuse)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """The tree and the folder of the report on ``ROWS``."""
    folder = tmp_path_factory.mktemp("run")
    summary = {
        "frames": {"total": 20, "done": 17, "failed": 1, "missing": 2},
        "frames_per_s": 2.0,
        "speed_of_light": 2.5,
    }
    return make_report(folder, ROWS, **summary), folder / "report"


def test_everything_that_the_page_names_exists_and_nothing_else_was_written(
    report: tuple[dict[str, Any], Path],
) -> None:
    tree, folder = report
    shown = page(folder)
    sources = {attrs["src"] for tag, attrs in shown.tags if tag == "img"}
    links = {attrs["href"] for tag, attrs in shown.tags if tag == "a"}
    for name in sources | links:
        assert (folder / name).is_file(), name
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert written == sources | links | {"index.html", "report.json"}
    assert {figure["file"] for figure in tree["figures"]} < sources
    for name in sources:
        assert cv2.imread(str(folder / name)) is not None


def test_the_page_is_self_contained_and_accessible(report: tuple[dict[str, Any], Path]) -> None:
    _, folder = report
    shown = page(folder)
    assert not [tag for tag, _ in shown.tags if tag in ("script", "link", "iframe", "object")]
    for tag, attrs in shown.tags:
        assert not any(name.startswith("on") for name in attrs)
        for name in ("src", "href"):
            assert "//" not in (attrs.get(name) or "")
        if tag == "img":
            assert attrs["alt"]
        if tag == "th":
            assert attrs["scope"] in ("row", "col")
    assert "url(" not in (folder / "index.html").read_text()
    ids = [attrs["id"] for _, attrs in shown.tags if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_json_has_the_documented_schema_and_only_valid_numbers(
    report: tuple[dict[str, Any], Path],
) -> None:
    tree, folder = report
    read = strict_json(folder)
    assert set(read) == {
        "schema_version",
        "job",
        "frames",
        "throughput",
        "seconds",
        "metrics",
        "videos",
        "worst",
        "errors",
        "failures",
        "unreadable",
        "gone",
        "notes",
        "verdict",
        "shots",
        "environment",
        "pictures",
        "figures",
    }
    assert read["schema_version"] == 1
    assert read["frames"] == {"total": 20, "done": 17, "failed": 1, "missing": 2}
    assert read["throughput"]["speed_of_light_share"] == 0.8
    assert list(read["seconds"]) == list(STAGES)
    assert sum(stage["share"] for stage in read["seconds"].values()) == pytest.approx(1)
    assert read["throughput"]["seconds_per_frame"] == pytest.approx(
        sum(s["mean"] for s in read["seconds"].values())
    )
    assert set(read["metrics"]) == MEASURES.keys() | DEPRECATED.keys()
    for old, name in DEPRECATED.items():
        both = read["metrics"][name] | {"deprecated": f"use {name}"}
        assert read["metrics"][old] == both and old not in tree["metrics"]
        assert all(
            video["metrics"].get(old) == video["metrics"].get(name) for video in read["videos"]
        )
        assert read["worst"].get(old) == read["worst"].get(name)
    for statistics in (*read["metrics"].values(), *read["seconds"].values()):
        assert {
            "count",
            "not_measured",
            "infinite",
            "mean",
            "pooled",
            "std",
            "min",
            "p5",
            "p50",
            "p95",
            "max",
        } < set(statistics)
    outside = read["metrics"]["rmse_outside"]
    values = [r["rmse_outside"] for r in ROWS if r["status"] == "ok"]
    assert outside["count"] == 17 and outside["mean"] == pytest.approx(sum(values) / 17)
    assert outside["pooled"] == pytest.approx((sum(v * v for v in values) / 17) ** 0.5)
    assert (outside["min"], outside["max"]) == (min(values), max(values))
    psnr = read["metrics"]["psnr_outside"]
    assert psnr["infinite"] == 17 and psnr["count"] == 0 and psnr["mean"] is None
    assert [video["path"] for video in read["videos"]] == ["clips/cup.mp4", "clips/dog.mp4"]
    assert read["failures"][0]["error_type"] == "CorruptPacket" and read["errors"] == {
        "CorruptPacket": 1
    }
    assert [w["value"] for w in read["worst"]["rmse_outside"]] == sorted(values)[:-4:-1]
    assert read["job"]["resolved"] == yaml.safe_load(JOB)
    assert tree["metrics"]["rmse_outside"]["count"] == 17


def test_not_measured_is_said_with_its_reason_and_never_zero(
    report: tuple[dict[str, Any], Path],
) -> None:
    _, folder = report
    read, text = strict_json(folder), page(folder).text
    assert read["metrics"]["rmse_truth"]["mean"] is None
    assert (
        read["metrics"]["rmse_truth"]["not_measured_because"]
        == "the job names no ground truth (depth.truth)"
    )
    assert "the job names no ground truth (depth.truth)" in text and "Not measured" in text


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"evaluate": {"reestimate_every": 0}}, "switched off (evaluate.reestimate_every: 0)"),
        (
            {"depth": {"model": "files:x/{stem}.png"}},
            "depth comes from files and cannot be estimated again on a new picture",
        ),
        (
            {"evaluate": {"reestimate_every": 500}},
            "no frame that was done is a multiple of evaluate.reestimate_every (500)",
        ),
    ],
)
def test_reasons_for_what_was_not_asked_again(tmp_path: Path, change: dict, reason: str) -> None:
    rows = [row("dog", i, rmse_target_depth=float("nan")) for i in range(1, 4)]
    tree = make_report(tmp_path, rows, job_yaml=yaml.safe_dump(yaml.safe_load(JOB) | change))
    for name in ("rmse_target_depth", "rmse_target_depth_floor"):
        assert tree["metrics"][name]["not_measured_because"] == reason


def test_target_depth_stands_beside_its_floor(tmp_path: Path) -> None:
    rows = [row("dog", i, rmse_target_depth_floor=0.0125) for i in range(6)]
    make_report(tmp_path, rows)
    text = (tmp_path / "report/index.html").read_text()
    assert re.search(r"floor: the frame without the edit</dt>\s*<dd>0\.0125</dd>", text)


def test_figures_that_can_rank_backwards_say_so() -> None:
    for name in ("rmse_all", "psnr_all", "ssim_all", "ssim_true_edit_inside"):
        assert "ranks" in MEASURES[name].meaning
    assert "may fall as frames get better" in MEASURES["psnr_outside"].meaning
    assert "whether it worked or not" in MEASURES["rmse_target_depth"].meaning


def test_paste_back_and_a_missing_codec_are_said(tmp_path: Path) -> None:
    job = yaml.safe_load(JOB) | {"compose": {"method": "paste", "paste_back": True}}
    rows = [row("dog", i, rmse_outside=0.0, rmse_round_trip_outside=float("nan")) for i in range(3)]
    tree = make_report(tmp_path, rows, job_yaml=yaml.safe_dump(job))
    assert "by construction" in tree["metrics"]["rmse_outside"]["remark"]
    assert "compose.method paste has no codec" in page(tmp_path / "report").text
    assert tree["worst"]["rmse_outside"] == []  # all equal: none is worse


def test_names_from_files_are_only_ever_text(tmp_path: Path) -> None:
    rows = [row("dog", i, path=f"/{HOSTILE}/{HOSTILE}.mp4") for i in range(3)]
    rows.append(
        row("dog", 3, path=f"{HOSTILE}.mp4", status="error")
        | {"error_message": f"<script>{HOSTILE}", "error_type": HOSTILE}
    )
    tree = make_report(
        tmp_path,
        rows,
        name=HOSTILE,
        command=HOSTILE,
        job_yaml=f"# {HOSTILE}\n{JOB}",
        machine={HOSTILE: HOSTILE},
    )
    text = (tmp_path / "report" / "index.html").read_text()
    assert HOSTILE not in text and "<script" not in text
    shown = page(tmp_path / "report")
    assert HOSTILE in shown.text
    assert all(attrs.get("src") != "x" for _, attrs in shown.tags)
    assert all(HOSTILE not in str(path) for path in tmp_path.rglob("*"))
    assert tree["videos"][0]["path"] == f"/{HOSTILE}/{HOSTILE}.mp4"


def test_sources_not_read_and_gone_are_named_apart_from_failed_frames(tmp_path: Path) -> None:
    unreadable = [
        {"path": "/in/<x>.mp4", "error_type": "EmptyFile", "error_message": "<x>.mp4 is empty"}
    ]
    gone = [{"path": "/in/old.mp4", "video": "b", "frames": 7}]
    tree = make_report(tmp_path, [row("a", 0)], unreadable=unreadable, gone=gone)
    assert (tree["unreadable"], tree["gone"]) == (unreadable, gone)
    assert tree["frames"]["failed"] == 0 and tree["errors"] == {} == dict(tree["failures"])
    page = (tmp_path / "report" / "index.html").read_text()
    assert "Finished, but some sources could not be read" in page
    assert "&lt;x&gt;.mp4 is empty" in page and "old.mp4" in page and "Failed frames" not in page


def test_one_frame(tmp_path: Path) -> None:
    tree = make_report(tmp_path, [row("dog", 0)])
    assert [picture["why"] for picture in tree["pictures"]] == [["only frame"]]
    assert {figure["kind"] for figure in tree["figures"]} == {"distribution", "curves", "seconds"}
    assert "1 frame of 1 video" in page(tmp_path / "report").text


def test_nothing_but_failures(tmp_path: Path) -> None:
    tree = make_report(tmp_path, [row("dog", i, status="error") for i in range(4)], pictures={})
    assert tree["frames"] == {"total": 4, "done": 0, "failed": 4, "missing": 0}
    assert tree["pictures"] == [] and tree["figures"] == []
    assert "No frame was done" in page(tmp_path / "report").text
    assert all(
        tree["metrics"][name]["not_measured_because"] == "no frame was done" for name in THREE_RMSES
    )


def test_no_rows_yet(tmp_path: Path) -> None:
    def write(name: str, data: bytes) -> None:
        (tmp_path / Path(name).name).write_bytes(data)

    tree = build_report(
        statistics=fold([]),
        per_frame_columns=pa.table({"frame_id": pa.array([], pa.string())}),
        read_pictures=lambda frame_ids: {},
        summary={"frames": {"total": 9, "done": 0, "failed": 0, "missing": 9}},
        write=write,
    )
    assert tree["videos"] == [] and tree["figures"] == []
    assert "No row of any video" in page(tmp_path).text


def test_shots_are_listed_where_a_video_has_several(tmp_path: Path) -> None:
    def shot(video: str, number: int, scale: float | None) -> dict[str, Any]:
        return {
            "video": video, "path": f"/clips/{video}.mp4", "shot": number, "frames": 10,
            "first_frame_index": 10 * number, "last_frame_index": 10 * number + 9,
            "start_s": 0.4 * number, "end_s": 0.4 * number + 0.36,
            "depth_lo": scale, "depth_hi": scale and scale + 1, "planes": scale and [0.625],
        }  # fmt: skip

    shots = [shot("dog", 0, 0.25), shot("dog", 1, None), shot("cat", 0, 0.5)]
    tree = make_report(tmp_path, [row("dog", 0)], shots=shots)
    assert tree["shots"] == strict_json(tmp_path / "report")["shots"] == shots
    text = "".join(page(tmp_path / "report").text.split())
    assert "dog.mp400.000.360100.2501.250.625dog.mp410.400.761010––" in text
    assert "cat.mp4" not in text
    make_report(tmp_path, [row("dog", 0)], shots=shots[2:])
    assert "Videos of several shots" not in page(tmp_path / "report").text


def test_pictures_that_were_not_kept(tmp_path: Path) -> None:
    make_report(tmp_path, [row("dog", 0)], pictures={})
    assert "No pictures were kept" in page(tmp_path / "report").text
    assert not (tmp_path / "report" / "pictures").exists()
    tree = make_report(
        tmp_path, [row("dog", 0)], pictures={"dog:0": {"edited": encoded(0)["edited"]}}
    )
    assert [list(picture["panels"]) for picture in tree["pictures"]] == [["edited"]]
    assert "not kept" in page(tmp_path / "report").text


def test_two_hundred_videos_stay_legible_and_say_what_is_left_out(tmp_path: Path) -> None:
    rows = [row(f"v{v:03d}", i) for v in range(201) for i in range(2)]
    tree = make_report(tmp_path, rows)
    text = page(tmp_path / "report").text
    assert "The middle frame of 8 of 201 videos" in text
    assert "The first 200 of 201 videos" in text and "6 of 201 videos" in text
    assert len(tree["videos"]) == 201 and len(tree["figures"]) < 15 and len(tree["pictures"]) <= 17


def test_repeated_rows_change_nothing(tmp_path: Path) -> None:
    rows = [row("dog", i) for i in range(4)] + [row("dog", 4, status="error")]
    once, twice = make_report(tmp_path, rows), make_report(tmp_path, rows[::-1] + rows)
    assert to_json(once) == to_json(twice)


def test_frames_are_chosen_as_the_page_says(report: tuple[dict[str, Any], Path]) -> None:
    tree, _ = report
    why = {picture["frame_id"]: picture["why"] for picture in tree["pictures"][:6]}
    assert why == {
        "cup:0": ["first frame"], "cup:3": ["middle frame"], "cup:5": ["last frame"],
        "dog:0": ["first frame"], "dog:5": ["middle frame"], "dog:10": ["last frame"],
    }  # fmt: skip
    worst = {w["frame_id"] for name in THREE_RMSES for w in tree["worst"][name]}
    assert {picture["frame_id"] for picture in tree["pictures"][6:]} == worst


def test_the_page_says_amber_in_words_with_places_advice_and_notes(tmp_path: Path) -> None:
    note = "full near layer: nothing behind it is visible"
    make_report(tmp_path, [row("dog", i, near_share=0.97, note=note) for i in range(8)])
    text = page(tmp_path / "report").text
    for words in (
        "Amber: this is likely not what was asked",
        "Every frame is done, but look at them",
        "Near layer covers 97 % of the frame",
        "dog.mp4 at 0.00 s, dog.mp4 at 0.04 s",
        "What to change: set layers.at",
        note,
    ):
        assert words in text, words
    make_report(tmp_path, [row("dog", i, near_share=0.4) for i in range(8)])
    green = page(tmp_path / "report").text
    assert "Green: every check" in green and "Amber" not in green
