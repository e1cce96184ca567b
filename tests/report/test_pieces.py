"""Panels, numbers for reading, and figures at their edges."""

import math

import cv2
import numpy as np
import pytest

from raydepth.evaluate.fold import Statistics
from raydepth.report import figures
from raydepth.report.page import duration, number, share
from raydepth.report.pictures import LONG_SIDE, colour_depth, on_checkerboard, outline_hole, panels
from tests.report.made_up import H, W, encoded


def size_of(png: bytes) -> tuple[int, int]:
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert picture.std() > 1  # something is drawn
    return picture.shape[:2]


def test_near_is_bright_and_the_clip_has_one_scale() -> None:
    values = np.array([[0, 32768, 65535]], np.float32)
    light = colour_depth(values, 0.0, 1 / 65535).astype(int).sum(axis=2)[0]
    assert light[0] < light[1] < light[2]
    half = colour_depth(values, 0.5, 0.0)
    assert (half == colour_depth(values, 0.0, 1 / 65535)[0, 1]).all(axis=2).all()


@pytest.mark.parametrize("level", [0, 7, 65535])
def test_depth_of_unknown_scale_is_stretched_and_constant_maps_are_legal(level: int) -> None:
    assert colour_depth(np.full((4, 4), level, np.float32), None, None).shape == (4, 4, 3)
    stretched = colour_depth(np.array([[100, 200]], np.float32), None, None)
    assert (stretched == colour_depth(np.array([[0, 1]], np.float32), 0.0, 1.0)).all()


def test_checkerboard_shows_the_layer_where_it_is_opaque() -> None:
    picture = np.full((32, 32, 3), 50, np.uint8)
    alpha = np.zeros((32, 32), np.float32)
    alpha[:16] = 1
    shown = on_checkerboard(picture, alpha)
    assert (shown[:16] == 50).all() and set(np.unique(shown[16:])) == {210, 236}


def test_outline_runs_outside_the_hole_and_not_along_the_border() -> None:
    background = np.full((100, 120, 3), 90, np.uint8)
    alpha = np.zeros((100, 120), np.float32)
    alpha[:40, :50] = 1
    drawn = outline_hole(background, alpha, dilate=4)
    touched = (drawn != background).any(axis=2)
    assert touched.any() and not touched[:44, :54][:-3, :-3].any() and not touched[0, :40].any()
    assert (outline_hole(background, np.zeros_like(alpha), 4) == background).all()
    assert (outline_hole(background, np.ones_like(alpha), 4) == background).all()


def test_the_outline_lies_at_the_hole_s_edge_on_pictures_of_any_size() -> None:
    """The hole of 8 pixels at working size is 64 wide on a picture eight times as large; so is its
    outline.
    """
    made = {}
    for scale in (1, 8):
        near = np.zeros((120 * scale, 160 * scale), np.uint8)
        near[40 * scale : 80 * scale, 60 * scale : 100 * scale] = 255
        grey = np.full((*near.shape, 3), 120, np.uint8)
        stored = {
            kind: cv2.imencode(".png", picture)[1].tobytes()
            for kind, picture in (("near", near), ("background", grey))
        }
        made[scale] = panels(stored, depth_offset=None, depth_scale=None, dilate=8, work_side=120)
    drawn = {
        scale: cv2.imdecode(np.frombuffer(each["background"], np.uint8), 1)
        for scale, each in made.items()
    }
    for scale, picture in drawn.items():
        panel = picture.shape[0] / 120
        columns = (
            np.flatnonzero(np.abs(picture[picture.shape[0] // 2].astype(int) - 120).max(-1) > 30)
            / panel
        )
        left, right = columns[columns < 80], columns[columns > 80]
        assert left.max() < 60 - 7 and right.min() > 100 + 7, "inside its hole nothing is drawn"
        assert left.max() > 60 - 10 and right.min() < 100 + 10, scale
        assert 1 <= np.ptp(left) <= 4, "as wide a line"


def test_panels_come_from_what_is_stored() -> None:
    stored = encoded(0)
    every = panels(stored, depth_offset=0.0, depth_scale=1 / 65535, dilate=2)
    assert list(every) == ["rgb", "depth", "near", "background", "edited"]
    assert all(size_of(data) == (H, W) for data in every.values())
    assert list(
        panels({"near": stored["near"]}, depth_offset=None, depth_scale=None, dilate=2)
    ) == ["near"]
    broken = stored | {"edited": b"not a picture"}
    assert "edited" not in panels(broken, depth_offset=0.0, depth_scale=1.0, dilate=0)


def test_large_pictures_are_scaled_down() -> None:
    large = cv2.imencode(
        ".png", np.random.default_rng(0).integers(0, 255, (30, 2000, 3), dtype=np.uint8)
    )[1].tobytes()
    made = panels({"rgb": large}, depth_offset=None, depth_scale=None, dilate=0)
    assert size_of(made["rgb"]) == (round(30 * LONG_SIDE / 2000), LONG_SIDE)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "∞"),
        (0.0, "0"),
        (3, "3"),
        (12345, "12\u202f345"),
        (0.12345, "0.123"),
        (1.005, "1.00"),
        (123.4, "123"),
        (5.996, "6.00"),
        (0.00012, "0.000120"),
        (0.00001234, "1.23·10⁻⁵"),
        (-2.5, "-2.50"),
    ],
)
def test_numbers_for_reading(value: float | None, text: str) -> None:
    assert number(value) == text


def test_shares_and_durations() -> None:
    assert share(0.924) == "92.4 %" and share(None) == "–"
    assert [duration(s) for s in (None, 3.2, 75, 3599.0, 4371)] == [
        "–",
        "3.20 s",
        "1 min 15 s",
        "59 min 59 s",
        "1 h 13 min",
    ]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "values", [[2.0], [0.0, 0.0, 0.0], [1.0, 1e6], list(np.linspace(0.1, 9, 400))]
)
def test_distribution_at_its_edges(values: list[float]) -> None:
    data = np.array(values)
    height, width = size_of(figures.distribution("rmse_outside", data, Statistics.of(data), 1.0))
    assert width == pytest.approx(7.2 * 160, abs=2) and height > 500


@pytest.mark.filterwarnings("error")
def test_spread_keeps_the_worst_videos_and_takes_any_label() -> None:
    few = {
        "$a^b$ 視頻.mp4"[:6]: Statistics.of(np.array([1.0])),
        "x" * 300: Statistics.of(np.array([2.0, 3.0])),
    }
    many = {f"v{i}": Statistics.of(np.array([float(i + 1)])) for i in range(200)}
    assert (
        size_of(figures.spread("rmse_truth", few))[0]
        < size_of(figures.spread("rmse_truth", many))[0]
        < 1400
    )


@pytest.mark.filterwarnings("error")
def test_curves_with_one_frame_with_zeros_and_with_failures() -> None:
    nan = np.full(3, np.nan)
    time_s = np.array([0.0, 0.5, 1.0])
    size_of(figures.curves(time_s[:1], {"rmse_outside": np.zeros(1)}, np.zeros(0), nan[:1]))
    columns = {
        "rmse_outside": np.array([1.0, np.nan, 2.0]),
        "rmse_target_depth": np.array([np.nan, 0.1, np.nan]),
    }
    size_of(figures.curves(time_s, columns, np.array([0.5, 9.0]), np.array([1.0, np.nan, 1.0])))


@pytest.mark.filterwarnings("error")
def test_seconds_of_one_stage_and_of_stages_that_take_no_time() -> None:
    size_of(figures.seconds_per_stage({"depth": Statistics.of(np.array([0.1]))}))
    size_of(
        figures.seconds_per_stage(
            {"depth": Statistics.of(np.zeros(3)), "fill": Statistics.of(np.zeros(3))}
        )
    )
