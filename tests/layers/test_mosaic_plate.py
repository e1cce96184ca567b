"""The plate of a camera that moves: registered, evened, filled once, back in every frame."""

import cv2
import numpy as np
import pytest

from raydepth.camera.mosaic import lay_out
from raydepth.layers.fill.hole import fill_hole
from raydepth.layers.fill.mosaic import fill_parts
from raydepth.layers.fill.opencv import OpenCVFiller
from raydepth.layers.fill.plate import Plate, PlateFiller, make_plate
from raydepth.output.folder import OutputFolder
from raydepth.output.plates import read_plate, write_plate

TELEA = OpenCVFiller(cv2.INPAINT_TELEA, 5.0)
HEIGHT, WIDTH = 120, 160
FRAMES = 9


def yard() -> np.ndarray:
    """What the camera pans over, uint8 [180,480,3]: spots of all sizes."""
    rng = np.random.default_rng(3)
    layers = [
        cv2.resize(rng.integers(0, 256, (9 * k, 24 * k, 3), np.uint8), (480, 180)).astype(float)
        for k in (1, 3, 8)
    ]
    return np.rint(sum(layers) / 3).clip(16, 239).astype(np.uint8)


def way(index: int) -> np.ndarray:
    """Homography float64 [3,3] from frame ``index`` to the yard: a pan of 1.5 frames, that
    turns."""
    angle = np.deg2rad(0.6 * (index - FRAMES // 2))
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0]])
    return np.vstack([turn, [1e-5 * index, 0, 1]]) + np.array(
        [[0, 0, 20 + 30.0 * index], [0, 0, 30], [0, 0, 0]]
    )


@pytest.fixture(scope="module")
def pan():
    """Views without the thing, frames with it in other exposures, and holes."""
    behind, views, frames, holes = yard(), [], [], []
    for index in range(FRAMES):
        view = cv2.warpPerspective(
            behind, way(index), (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        )
        exposed = np.rint(view * (1 + 0.02 * (index - 4))).clip(0, 255).astype(np.uint8)
        hole = np.zeros((HEIGHT, WIDTH), bool)
        hole[40:90, 20 + 9 * index : 56 + 9 * index] = True
        views.append(exposed)
        frames.append(np.where(hole[..., None], np.uint8([250, 20, 20]), exposed))
        holes.append(hole)
    return views, frames, holes


def test_frames_find_their_place_along_the_pan(pan):
    views, _, holes = pan
    laid = lay_out(views, [~hole for hole in holes], holes)
    assert all(motion is not None for motion in laid.onto)
    middle = np.linalg.inv(way(FRAMES // 2))
    points = np.float64([[[10, 10], [150, 10], [150, 110], [10, 110]]])
    shift = cv2.perspectiveTransform(points, laid.onto[FRAMES // 2]) - points
    for index, motion in enumerate(laid.onto):
        wanted = cv2.perspectiveTransform(points, middle @ way(index)) + shift
        away = np.linalg.norm(cv2.perspectiveTransform(points, motion) - wanted, axis=-1)
        assert away.max() < 1.0, index


def test_holes_of_a_pan_show_what_other_frames_show(pan):
    views, frames, holes = pan
    plate = make_plate(frames, holes, TELEA)
    assert isinstance(plate, Plate) and not plate.still and plate.size == (HEIGHT, WIDTH)
    assert plate.rgb.shape[1] > 2 * WIDTH
    filler = PlateFiller(lambda video: plate, TELEA).for_clip("v")
    for index, (view, frame, hole) in enumerate(zip(views, frames, holes, strict=True)):
        background, _ = fill_hole(filler, frame, hole.astype(np.float32), 0)
        shown = hole & filler.shown
        assert shown.sum() > 0.7 * hole.sum()
        off = np.abs(background[shown].astype(int) - view[shown]).mean()
        telea = np.abs(TELEA(frame, hole)[shown].astype(int) - view[shown]).mean()
        assert off < 4 < telea / 3, (index, off, telea)
        assert np.array_equal(background[~hole], frame[~hole])
        assert filler.shared_background(frame, hole) is None


def test_a_mosaic_comes_back_from_the_folder_as_it_was(pan, tmp_path):
    _, frames, holes = pan
    plate = make_plate(frames, holes, TELEA)
    folder = OutputFolder.at(str(tmp_path / "out"))
    folder.prepare()
    again = read_plate(folder, "v", write_plate(folder, "v", plate))
    for name in ("rgb", "seen", "known"):
        assert np.array_equal(getattr(again, name), getattr(plate, name)), name
    assert (again.size, again.still, again.remark) == (plate.size, plate.still, plate.remark)
    fillers = [PlateFiller(lambda video: plate, TELEA, kept) for kept in (plate, again)]
    one, other = (filler(frames[0], holes[0]) for filler in fillers)
    assert np.array_equal(one, other)


def test_what_no_frame_shows_is_filled_once_and_holds_still(pan):
    """The thing goes along with the camera's target: a spot of the yard is never seen."""
    views, _, _ = pan
    frames, holes = [], []
    for index, view in enumerate(views):
        spot = np.zeros((180, 480), np.uint8)
        spot[75:120, 210:250] = 255
        hole = (
            cv2.warpPerspective(
                spot, way(index), (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            )
            > 0
        )
        frames.append(np.where(hole[..., None], np.uint8([250, 20, 20]), view))
        holes.append(hole)
    calls = []

    class Counted(OpenCVFiller):
        def __call__(self, rgb, hole):
            calls.append(hole.mean())
            return super().__call__(rgb, hole)

    plate = make_plate(frames, holes, Counted(cv2.INPAINT_TELEA, 5.0))
    assert len(calls) == 1 and calls[0] < 0.3, "one piece, with its surroundings"
    filler = PlateFiller(lambda video: plate, TELEA).for_clip("v")
    pictures = [filler(frames[index], holes[index]) for index in (3, 4, 5)]
    assert "of the hole is shown by too few sampled frames: filled by telea" in filler.note
    flat = [
        cv2.warpPerspective(picture / (1 + 0.02 * (index - 4)), way(index), (480, 180))[
            80:115, 215:245
        ]
        for index, picture in zip((3, 4, 5), pictures, strict=True)
    ]
    assert max(np.abs(flat[1] - other).mean() for other in (flat[0], flat[2])) < 3


def test_only_what_is_missing_is_filled_with_known_pixels_around_it():
    picture, known = np.full((300, 300, 3), 90, np.uint8), np.zeros((300, 300), bool)
    known[100:250, 100:250] = True
    missing = np.zeros_like(known)
    missing[150:170, 150:170], known[150:170, 150:170] = True, False
    picture[~known] = 0
    filled = fill_parts(picture, known, missing, TELEA)
    assert np.abs(filled[missing].astype(int) - 90).max() <= 3
    assert np.array_equal(filled[~missing], picture[~missing])
