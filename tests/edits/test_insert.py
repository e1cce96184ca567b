"""Edit insert: what covers what, where it stands, how large it is, and that it does not slide."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raydepth.camera.track import Track, View, measure_track
from raydepth.compose.baselines import Paste
from raydepth.depth.calibrate import Calibration
from raydepth.edits.alignment import align_scale_and_shift, thumbnail
from raydepth.edits.clip import ClipEdit
from raydepth.edits.insert import HIDDEN, LOST, OUTSIDE, InsertBuilder
from raydepth.edits.place import height_px, place, render_object
from raydepth.edits.registry import fix_edit
from raydepth.edits.settings import Insert
from raydepth.errors import JobError
from raydepth.layers.settings import Layers
from raydepth.layers.stack import visible
from tests.support.scenes import SCALE

STILL = np.eye(2, 3)
METRES = Calibration("metric", "depth_m", 0.1, 1.1)
PLAIN = Layers(edge_filter=False, min_area=0)


@pytest.fixture
def plan_of(make_object, make_batch):
    """Plan and paste of an insertion, its depth fixed from the first frame."""

    def make(rgb, depth, layers=PLAIN, scale=SCALE, views=None, **fields):
        edit = Insert.model_validate(
            {"kind": "insert", "object": make_object(), "anchor": "picture", "height": 0.5} | fields
        )
        clip = fix_edit(edit, list(depth[:1]), rgb[0], scale, lambda: views)
        batch = make_batch(rgb, depth)
        plan = InsertBuilder(edit, layers, {"v": (scale, clip)})(batch)
        edited = Paste(keep_source=True)(plan, rgb, np.zeros(len(rgb), np.int64))
        return plan, edited

    return make


def orange(picture: np.ndarray) -> np.ndarray:
    return (picture[..., 0] > 200) & (picture[..., 2] < 60)


def test_nearer_things_cover_it_pixel_by_pixel(scene, plan_of):
    rgb, depth = scene()
    plan, edited = plan_of(rgb, depth, at=0.5, point=[0.62, 0.7])
    alpha = plan.stack.layers[1].alpha
    shown = plan.stack.weights()[1]
    assert np.array_equal(shown, visible(alpha, np.float32(0.5), depth))
    assert (shown[alpha > 0] == 0).any() and (shown[alpha > 0] == 1).any()
    post = depth[0] == np.float32(0.9)
    assert np.array_equal(edited[:, post], rgb[:, post])
    assert orange(edited)[shown == 1].all() and not orange(edited)[shown < 0.5].any()


def test_the_ground_that_it_stands_on_does_not_cover_its_foot(scene, plan_of):
    rgb, depth = scene()
    # The floor reaches 0.46 under the foot; the object's middle lies farther back.
    plan, _ = plan_of(rgb, depth, at=0.4, point=[0.55, 0.8])
    alpha, shown = plan.stack.layers[1].alpha, plan.stack.weights()[1]
    post = depth == np.float32(0.9)
    assert (depth[(alpha > 0) & ~post] > 0.42).any() and (post & (alpha > 0)).any()
    assert np.array_equal(shown > 0, (alpha > 0) & ~post)
    # A whole width farther back it stands behind what is seen there, and is covered.
    plan, _ = plan_of(rgb, depth, at=0.2, point=[0.3, 0.8])
    there = plan.stack.layers[1].alpha > 0
    assert (plan.stack.weights()[1][there & (depth > 0.25)] == 0).all()


def test_a_split_rim_changes_only_pixels_of_the_object_beside_what_covers_it(
    scene, make_object, make_batch
):
    rgb, depth = scene()
    edit = Insert(
        kind="insert", object=make_object(), anchor="picture", height=0.5, at=0.5, point=[0.62, 0.7]
    )
    clips = {"v": (SCALE, fix_edit(edit, list(depth[:1]), rgb[0], SCALE, list))}
    hard, split = (
        InsertBuilder(edit, PLAIN, clips, matte=x)(make_batch(rgb, depth)) for x in (False, True)
    )
    changed = (hard.stack.flatten() != split.stack.flatten()).any(axis=-1)
    post = (depth == np.float32(0.9)).astype(np.uint8)
    edge = np.stack([cv2.dilate(x, np.ones((5, 5))) > cv2.erode(x, np.ones((5, 5))) for x in post])
    assert changed.any() and not (changed & ~(edge & (hard.stack.layers[1].alpha > 0))).any()
    soft = split.stack.layers[0].alpha
    assert ((soft > 0.05) & (soft < 0.95)).any() and np.array_equal(hard.region, split.region)


def test_pixels_outside_its_region_are_the_frame(scene, plan_of):
    rgb, depth = scene()
    plan, edited = plan_of(rgb, depth, at=0.5, point=[0.4, 0.8], shadow=0.8)
    outside = plan.region == 0
    assert outside.any() and np.array_equal(edited[outside], rgb[outside])
    assert np.array_equal(plan.stack.flatten()[outside], rgb[outside])
    assert np.abs(plan.stack.weights().sum(axis=0) - 1).max() < 1e-6


@pytest.mark.parametrize(
    "fields, note",
    [
        ({"at": -0.5, "point": [0.4, 0.8]}, HIDDEN),
        ({"at": 0.5, "point": [3.0, 0.8]}, OUTSIDE),
        ({"at": 0.5, "box": [0.2, -2.0, 0.4, -1.0], "height": None}, OUTSIDE),
    ],
)
def test_an_object_that_cannot_be_seen_leaves_the_frame_and_says_why(scene, plan_of, fields, note):
    rgb, depth = scene()
    plan, edited = plan_of(rgb, depth, **fields)
    assert np.array_equal(edited, rgb) and not plan.region.any()
    assert plan.notes == {0: note, 1: note}


@pytest.mark.parametrize("at", [0.95, 7.0])
def test_an_object_before_everything_is_seen_whole(scene, plan_of, at):
    rgb, depth = scene()
    plan, edited = plan_of(rgb, depth, at=at, point=[0.62, 0.9])
    assert np.array_equal(plan.stack.weights()[1], plan.stack.layers[1].alpha)
    assert orange(edited)[plan.stack.weights()[1] == 1].all() and not plan.notes


@pytest.mark.parametrize("point", [[0.0, 0.9], [1.0, 0.9], [0.5, 1.2], [0.3, 0.1]])
def test_an_object_may_be_partly_outside_the_frame(scene, plan_of, point):
    rgb, depth = scene()
    plan, edited = plan_of(rgb, depth, at=2.0, point=point)
    assert 0 < orange(edited[0]).sum() < 34 * 16 and not plan.notes


@pytest.mark.parametrize("size", [(120, 40), (36, 84), (64, 64)])
def test_portrait_and_wide_frames(scene, plan_of, size):
    rgb, depth = scene(1, *size)
    _, edited = plan_of(rgb, depth, at=0.6, point=[0.4, 0.9], height=0.5)
    rows = np.flatnonzero(orange(edited[0]).any(axis=1))
    assert abs(rows[-1] + 1 - 0.9 * size[0]) <= 2 and abs(len(rows) - 0.5 * size[0]) <= 3


def test_a_shadow_lies_on_the_floor_and_not_on_what_stands_on_it(scene, plan_of):
    rgb, depth = scene()
    plain, _ = plan_of(rgb, depth, point=[0.52, 0.8])
    plan, _ = plan_of(rgb, depth, point=[0.52, 0.8], shadow=0.9)
    darker = (plan.stack.layers[2].rgb.astype(int) < rgb.astype(int) - 10).any(axis=-1)
    assert darker[0].sum() > 20
    assert not darker[depth == np.float32(0.9)].any()
    assert not (plan.stack.layers[2].rgb > rgb).any()
    assert (plan.region[darker] > 0).all()
    assert np.array_equal(plain.stack.layers[2].rgb, rgb)


def test_a_shadow_does_not_climb_what_comes_to_stand_there(scene, plan_of):
    """A thing of the floor's own depth: an estimator may fail to tell them apart, colours do."""
    rgb, depth = scene()
    rgb, depth = np.concatenate([rgb[:1], rgb[:1]]), np.concatenate([depth[:1], depth[:1]])
    height, width = depth.shape[1:]
    there = np.zeros((height, width), bool)
    there[int(0.7 * height) : int(0.95 * height), int(0.3 * width) : int(0.7 * width)] = True
    rgb[1][there] = (255, 255, 0)
    plan, _ = plan_of(rgb, depth, point=[0.52, 0.8], shadow=0.9)
    darker = (plan.stack.layers[2].rgb != rgb).any(axis=-1)
    assert darker[0].sum() > 20 and not darker[1][there].any()


def test_depth_without_a_word_is_the_floor_under_the_foot(scene, plan_of):
    rgb, depth = scene()
    plan, _ = plan_of(rgb, depth, point=[0.3, 0.8])
    there = plan.stack.layers[1].alpha > 0
    assert np.unique(plan.stack.layers[1].inv_depth[there]) == pytest.approx(0.46, abs=0.02)


def test_behind_and_in_front_of_a_thing(scene, plan_of):
    rgb, depth = scene()
    for form, covered in (("behind", True), ("front", False)):
        plan, _ = plan_of(rgb, depth, at={form: [0.65, 0.6]}, point=[0.65, 0.7])
        post = (depth == np.float32(0.9)) & (plan.stack.layers[1].alpha > 0)
        assert ((plan.stack.weights()[1][post] == 0) == covered).all()


def test_height_in_metres_follows_the_pinhole_camera(scene, make_object):
    edit = Insert(kind="insert", object="x", point=[0.5, 0.5], height_m=0.9, fov_deg=90)
    inv_depth = float(METRES.normalise_inverse(1 / 2.0))
    assert height_px(edit, METRES, inv_depth, (300, 400)) == pytest.approx(
        200 * 0.9 / 2.0, rel=1e-5
    )
    assert height_px(edit, METRES, inv_depth, (400, 300)) == pytest.approx(
        200 * 0.9 / 2.0, rel=1e-5
    )
    rgb, depth = scene()
    with pytest.raises(JobError, match="height_m needs a metric depth model"):
        fix_edit(edit, [depth[0]], rgb[0], SCALE, list)
    with pytest.raises(JobError, match=r"edit\.at: metres"):
        fix_edit(
            Insert.model_validate(
                {"kind": "insert", "object": "x", "point": [0.5, 0.5], "at": {"metres": 2.0}}
            ),
            [depth[0]], rgb[0], SCALE, list,
        )  # fmt: skip


def test_a_picture_without_alpha_is_refused(make_object):
    with pytest.raises(JobError, match="alpha"):
        InsertBuilder(
            Insert(kind="insert", object=make_object(mode="RGB"), point=[0.5, 0.5]), Layers(), {}
        )
    with pytest.raises(JobError, match=r"edit\.object"):
        InsertBuilder(Insert(kind="insert", object="/none.png", point=[0.5, 0.5]), Layers(), {})


@settings(max_examples=40, deadline=None)
@given(
    x=st.floats(-5, 70), y=st.floats(-5, 60), height=st.floats(0.6, 80),
    turn=st.floats(-1, 1), grow=st.floats(0.5, 2),
)  # fmt: skip
def test_a_drawn_object_keeps_its_colour_and_its_area(x, y, height, turn, grow):
    edit = Insert(kind="insert", object="x", point=[x / 64, y / 48])
    motion = grow * np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0]])
    picture = np.ones((30, 20, 4), np.float32) * (200, 100, 50, 1)
    at = place(edit, 20 / 30, height, motion, (48, 64))
    drawn = render_object(picture.astype(np.float32), at, (48, 64))
    alpha = drawn[..., 3]
    assert alpha.min() >= 0 and alpha.max() <= 1 + 1e-5
    assert np.abs(drawn[..., :3] - alpha[..., None] * np.float32([200, 100, 50])).max() < 0.05
    assert alpha.sum() <= (at.height + 2) * (at.width + 2)


def test_an_object_in_the_scene_goes_with_the_camera_to_a_pixel(data, plan_of):
    """A pan over a real frame, hand-held and growing a little: the foot stays on its scene point to
    within one pixel.
    """
    from raydepth.frames.decode import decode
    from raydepth.frames.probe import probe
    from raydepth.frames.segments import plan_segments

    frame = next(
        decode(plan_segments(probe(str(data / "videos" / "dog.mp4")), size=360)[0].take([0]))
    ).rgb
    height, width, count = 180, 320, 16
    rng, frames, true = np.random.default_rng(0), [], []
    for i in range(count):
        grow = 1 + 0.004 * i
        shift = np.array([-40 - 7.3 * i, -60 - 3.1 * i]) + rng.normal(0, 0.8, 2)
        true.append(np.array([[grow, 0, shift[0]], [0, grow, shift[1]]]))
        frames.append(cv2.warpAffine(frame, true[-1], (width, height), flags=cv2.INTER_CUBIC))
    rgb = np.stack(frames)
    noisy = np.clip(rgb + rng.normal(0, 3, rgb.shape), 0, 255).astype(np.uint8)
    views = [
        View(10 * i, cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), width / height)
        for i, picture in enumerate(noisy)
    ]
    plan, _ = plan_of(
        rgb,
        np.full(rgb.shape[:3], 0.2, np.float32),
        at=0.5,
        point=[0.6, 0.7],
        anchor="scene",
        views=views,
    )
    seen = 0
    start = np.linalg.inv(np.vstack([true[0], [0, 0, 1]])) @ (0.6 * width, 0.7 * height, 1)
    for i in range(count):
        x, y = true[i] @ start
        alpha = plan.stack.layers[1].alpha[i]
        if alpha[:, [0, -1]].any() or alpha[[0, -1]].any():
            continue  # partly outside: its middle is not the middle of what is seen
        seen += 1
        middle = (np.argwhere(alpha > 0) + 0.5, alpha[alpha > 0])
        row, column = np.average(middle[0], axis=0, weights=middle[1])
        foot = row + 0.25 * height * (1 + 0.004 * i)
        assert abs(foot - y) < 0.5 and abs(column - x) < 0.5
    assert seen > 8
    assert not plan.notes


def test_frames_are_edited_independently(scene, plan_of):
    rgb, depth = scene(3)
    whole, _ = plan_of(rgb, depth, at=0.5, point=[0.5, 0.8], shadow=0.5)
    alone, _ = plan_of(rgb[2:], depth[2:], at=0.5, point=[0.5, 0.8], shadow=0.5)
    part = whole.take(np.array([2]))
    assert np.array_equal(part.region, alone.region)
    for one, other in zip(part.stack.layers, alone.stack.layers, strict=True):
        assert all(
            np.array_equal(getattr(one, k), getattr(other, k))
            for k in ("rgb", "alpha", "inv_depth")
        )


def test_a_lost_track_is_told(scene, plan_of):
    rgb, depth = scene(2)
    grey = cv2.cvtColor(rgb[0], cv2.COLOR_RGB2GRAY)
    views = [View(0, grey, 96 / 72), View(10, None, 96 / 72)]
    plan, edited = plan_of(rgb, depth, at=0.5, point=[0.4, 0.8], anchor="scene", views=views)
    assert plan.notes == {1: LOST}
    assert np.array_equal(edited[0], edited[1])


def test_drift_of_the_estimator_moves_the_object_with_the_scene(scene):
    _, depth = scene()
    kept = ClipEdit(0.5, thumbnail(depth[0]), None)
    assert kept.in_frame(depth[0], STILL)[0] == 0.5
    drifted = (0.8 * depth[0] - 0.15).astype(np.float32)
    assert kept.in_frame(drifted, STILL)[0] == pytest.approx(0.25, abs=0.01)
    moved = drifted.copy()
    moved[40:60, 10:40] = 0.95  # something came in
    assert kept.in_frame(moved, STILL)[0] == pytest.approx(0.25, abs=0.02)
    noise = np.random.default_rng(0).random(depth[0].shape).astype(np.float32)
    assert align_scale_and_shift(kept.first, noise, STILL) == (1.0, 0.0)


def test_what_is_fixed_survives_the_record():
    import json
    from dataclasses import asdict

    track = measure_track([View(0, None, 1.5), View(3, None, 1.5)], (0.5, 0.5))
    assert track == Track((0, 3), ((1.0, 0.0, 0.0, 0.0),) * 2, (0, 3))
    fixed = ClipEdit(1 / 3, thumbnail(np.random.default_rng(0).random((50, 70), np.float32)), track)
    assert ClipEdit.from_tree(json.loads(json.dumps(asdict(fixed)))) == fixed
