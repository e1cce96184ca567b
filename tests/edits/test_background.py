"""Edit background: a picture, clip or colour behind the near layers, with matted edges."""

import cv2
import numpy as np
import pytest
from PIL import Image

from raydepth.compose.baselines import Paste
from raydepth.edits.background import NOTHING_SEEN, BackgroundBuilder
from raydepth.edits.registry import check_edit, fix_scene_scale, load_edit
from raydepth.edits.scenery import Scenery, SceneryError
from raydepth.edits.settings import Background
from raydepth.errors import JobError
from raydepth.job import parse_job
from raydepth.layers.matting import decontaminate, faded, matte_edges
from raydepth.layers.settings import Layers
from raydepth.layers.stack import visible
from tests.support.clips import write_clip
from tests.support.scenes import SCALE


def background(source: str | None = "#2040c0", **fields) -> Background:
    return Background(kind="background", source=source, **fields)


def plan_of(edit, batch, estimator=None):
    scene = fix_scene_scale(edit, batch["rgb"].shape[1:3], SCALE, estimator)
    clips = {"v": (SCALE, None)}
    return load_edit(edit, Layers(), clips, estimator, scenes={"v": scene})(batch)


def paste(plan, rgb):
    return Paste(keep_source=True)(plan, rgb, np.zeros(len(rgb), np.int64))


def test_the_near_layer_over_a_colour(scene, make_batch):
    rgb, depth = scene()
    batch = make_batch(rgb, depth)
    plan = plan_of(background(decontaminate=False), batch)
    edited = paste(plan, rgb)
    near = batch["near"] == 1
    assert np.array_equal(edited[near], rgb[near])
    assert (edited[~near] == (0x20, 0x40, 0xC0)).all()
    assert (plan.stack.flatten_depth()[~near] < 0.5).all()


@pytest.mark.parametrize("size", [(64, 96), (120, 40), (36, 84), (9, 64)])
def test_a_picture_covers_the_frame_in_its_own_aspect(scene, make_batch, tmp_path, size):
    Image.fromarray(np.full((50, 70, 3), (10, 200, 30), np.uint8)).save(tmp_path / "green.png")
    rgb, depth = scene(1, *size)
    plan = plan_of(background(str(tmp_path / "green.png")), make_batch(rgb, depth, [2.0]))
    assert (paste(plan, rgb) == (10, 200, 30)).all()
    assert plan.moved == {"near"}


def test_a_plain_colour_is_no_place_with_a_light(scene, make_batch):
    assert plan_of(background("#2040c0"), make_batch(*scene(), [0.5])).moved == frozenset()


def test_an_empty_near_layer_gives_the_new_scene_and_a_full_one_the_frame(scene, make_batch):
    rgb, depth = scene()
    empty = make_batch(rgb, depth, [5.0])
    assert (paste(plan_of(background(), empty), rgb) == (0x20, 0x40, 0xC0)).all()
    full = plan_of(background(), make_batch(rgb, depth, [-5.0]))
    assert not full.region.any() and full.notes == {0: NOTHING_SEEN, 1: NOTHING_SEEN}
    assert np.array_equal(paste(full, rgb), rgb)


def test_a_clip_is_shown_in_step_and_looped(tmp_path):
    clip = str(write_clip(tmp_path / "clip.mp4", frames=24))  # one second
    times = np.array([0.0, 0.5, 0.99, 1.0, 1.25, 7.0])
    assert Scenery(clip, "in_step").rows(times).tolist() == [0, 12, 23, 23, 23, 23]
    assert Scenery(clip, "loop").rows(times).tolist() == [0, 12, 23, 0, 6, 0]


def test_frames_of_a_clip_do_not_depend_on_what_was_asked_before(tmp_path):
    clip = str(write_clip(tmp_path / "clip.mp4", frames=40))
    first = Scenery(clip, "in_step").pictures(np.array([30, 3, 3, 29]), (48, 64))
    other = Scenery(clip, "in_step")
    for row in range(40):
        other.pictures(np.array([row]), (48, 64))
    assert np.array_equal(other.pictures(np.array([30, 3, 3, 29]), (48, 64)), first)
    assert first.shape == (4, 48, 64, 3) and not np.array_equal(first[0], first[1])
    assert np.array_equal(first[1], first[2])


def test_aligned_scenes_cover_each_other_by_the_one_rule(scene, make_batch):
    rgb, depth = scene(1)
    new = np.linspace(0, 1, rgb.shape[2], dtype=np.float32)[None, None].repeat(rgb.shape[1], 1)

    class Estimator:
        name, kind = "ramp", "disparity_rel"

        def __call__(self, batch):
            return np.repeat(new, len(batch["rgb"]), 0)

    batch = make_batch(rgb, depth, [0.3])
    plan = plan_of(background(depth="aligned", decontaminate=False), batch, Estimator())
    near, far = plan.stack.layers
    assert np.array_equal(near.alpha, visible(batch["near"], depth, far.inv_depth))
    assert (near.alpha[batch["near"] > 0] == 0).any() and (near.alpha > 0).any()
    # 2 % and 98 % of the ramp are 0 and 1
    assert far.inv_depth.min() == pytest.approx(-0.02, abs=0.01)
    assert far.inv_depth.max() == pytest.approx(1.02, abs=0.01)


def test_an_aligned_scenes_scale_is_the_clips_not_that_of_who_came_first(scene, make_batch):
    """One builder, two clips of different shapes in both orders: each has the scale that the scene
    has in its own frame.
    """

    class Estimator:
        name, kind = "by shape", "disparity_rel"

        def __call__(self, batch):
            count, height, width = batch["rgb"].shape[:3]
            ramp = np.linspace(0, width / height, width, dtype=np.float32)
            return np.broadcast_to(ramp, (count, height, width))

    edit, estimator = background(depth="aligned"), Estimator()
    batches = {"high": make_batch(*scene(2, 96, 60)), "wide": make_batch(*scene(2, 60, 120))}
    scenes = {}
    for video, batch in batches.items():
        batch["video"] = np.array([video] * 2, object)
        scenes[video] = fix_scene_scale(edit, batch["rgb"].shape[1:3], SCALE, estimator)
    assert [round(scale.hi, 2) for scale in scenes.values()] == [0.61, 1.97]
    clips = {video: (SCALE, None) for video in batches}
    found = []
    for order in (list(batches), list(batches)[::-1]):
        build = load_edit(edit, Layers(), clips, estimator, scenes=scenes)
        plans = {video: build(batches[video]) for video in order}
        found.append({video: plans[video].stack.layers[1].inv_depth for video in batches})
    for video in batches:
        assert np.array_equal(found[0][video], found[1][video])
        assert found[0][video].max() == pytest.approx(1.02, abs=0.01)


def test_a_scene_that_gives_no_depth_costs_frames_in_words(scene, make_batch):
    class Blind:
        name, kind = "blind", "disparity_rel"

        def __call__(self, batch):
            return np.full(batch["rgb"].shape[:3], np.nan, np.float32)

    with pytest.raises(SceneryError, match="none of the sampled pictures of #2040c0 gave depth"):
        plan_of(background(depth="aligned"), make_batch(*scene()), Blind())


@pytest.mark.parametrize("soft", [False, True])
def test_the_old_background_is_taken_out_of_edge_pixels(soft):
    """A disc drawn with smooth edges over green, put before blue: the green that a plain cut keeps
    is gone.
    """
    height = width = 96
    y, x = np.mgrid[: 8 * height, : 8 * width] / 8
    fine = (np.hypot(y - 48.3, x - 47.6) < 30).astype(np.float32)
    share = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
    disc, green, blue = (
        np.float32([220, 90, 60]),
        np.float32([20, 210, 40]),
        np.float32([30, 40, 200]),
    )
    frame = np.rint(share[..., None] * disc + (1 - share[..., None]) * green).astype(np.uint8)
    true = share[..., None] * disc + (1 - share[..., None]) * blue
    cut = share if soft else (share > 0.2).astype(np.float32)

    def over(rgb, alpha):
        return alpha[..., None] * rgb + (1 - alpha[..., None]) * blue

    rgb, alpha = decontaminate(frame, cut)
    plain, clean = (
        np.abs(picture - true).max(axis=-1) for picture in (over(frame, cut), over(rgb, alpha))
    )
    edge = (share > 0) & (share < 1) & (cut > 0)
    assert plain[edge].mean() > 25 and clean[edge].mean() < 4
    assert np.array_equal(rgb[share == 1], frame[share == 1])
    assert (alpha <= cut).all() and np.array_equal(alpha[share == 1], cut[share == 1])


def test_an_edge_is_matted_on_both_sides_and_gives_the_frame_back():
    """A disc's hard mask lacks and has half of its mixed pixels: with shares instead, the true
    picture before blue.
    """
    y, x = np.mgrid[: 8 * 96, : 8 * 96] / 8
    fine = (np.hypot(y - 48.3, x - 47.6) < 30).astype(np.float32)
    share = cv2.resize(fine, (96, 96), interpolation=cv2.INTER_AREA)[..., None]
    disc, green, blue = (
        np.float32([220, 90, 60]),
        np.float32([20, 210, 40]),
        np.float32([30, 40, 200]),
    )
    frame = np.rint(share * disc + (1 - share) * green).astype(np.uint8)
    cut = (share[..., 0] > 0.5).astype(np.float32)
    rgb, alpha, behind = matte_edges(frame, cut)
    assert np.abs(alpha - share[..., 0]).max() < 0.06
    alpha = alpha[..., None]
    assert np.abs(alpha * rgb + (1 - alpha) * blue - (share * disc + (1 - share) * blue)).max() < 12
    assert np.abs(alpha * rgb + (1 - alpha) * behind - frame).max() <= 1
    # Where both sides look alike the edge's course says how much of it each pixel is.
    flat = np.full((96, 96, 3), 99, np.uint8)
    assert np.abs(matte_edges(flat, cut)[1] - share[..., 0])[cut > 0].mean() < 0.02
    for uniform in (
        np.zeros((96, 96), np.float32),
        np.ones((96, 96), np.float32),
        cut * np.float32(0.5),
    ):
        assert all(map(np.array_equal, matte_edges(frame, uniform), (frame, uniform, frame)))


def test_an_edge_that_looks_like_what_is_behind_it_is_left_alone():
    rgb = np.random.default_rng(0).integers(100, 104, (40, 40, 3), np.uint8)
    cut = np.zeros((40, 40), np.float32)
    cut[10:30, 10:30] = 1
    same, alpha = decontaminate(rgb, cut)
    assert np.array_equal(same, rgb) and np.array_equal(alpha, cut)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_no_edge_no_change(alpha):
    rgb = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    same, cut = decontaminate(rgb, np.full((20, 30), alpha, np.float32))
    assert np.array_equal(same, rgb) and (cut == alpha).all()


def test_wrong_sources_are_refused_before_anything_starts(tmp_path):
    for source in ("/none.png", "/none.mp4", str(tmp_path)):
        with pytest.raises(JobError, match=r"edit\.source"):
            check_edit(background(source), Layers())

    class Files:
        reads_pixels = False

    with pytest.raises(JobError, match="aligned"):
        load_edit(background(depth="aligned"), Layers(), {}, Files())


def test_a_prompt_needs_a_compositor_that_can_make_it_up():
    tree = {"schema_version": 1, "input": {"paths": ["a"]}, "output": {"path": "b"}}
    edit = {"kind": "background", "prompt": "a beach"}
    for compose in ({}, {"method": "paste"}, {"method": "featglac-kv", "model": "builtin"}):
        with pytest.raises(JobError, match="prompt"):
            parse_job(tree | {"edit": edit, "compose": compose})
    able = {"model": "owner/model", "prompt": "a beach", "inject": {"weight": 0.0}, "strength": 1.0}
    assert parse_job(tree | {"edit": edit, "compose": able}).edit.prompt == "a beach"
    assert BackgroundBuilder(background(None, prompt="a beach"), {}, None).scenery is None


def test_a_softened_edge_lies_inside_the_layer_and_leaves_the_rest(scene, make_batch):
    rgb, depth = scene()
    batch = make_batch(rgb, depth)
    hard, soft = (
        plan_of(background(decontaminate=False, soften=soften), batch) for soften in (0, 1.5)
    )
    before, after = hard.stack.layers[0].alpha, soft.stack.layers[0].alpha
    assert (after <= before).all() and ((after > 0.1) & (after < 0.9)).any()
    deep = cv2.erode(before[0], np.ones((15, 15))) == 1
    assert deep.any() and (after[0][deep] == 1).all()
    edge = faded(np.tile(np.float32([0] * 10 + [1] * 10), (20, 1)), 1.5)
    assert (
        (np.diff(edge[10]) >= 0).all()
        and edge[10, 10] < 0.35
        and edge[10, 16] > 0.99
        and (edge[:, :10] == 0).all()
    )
    assert np.array_equal(faded(np.ones((9, 9), np.float32), 1.5), np.ones((9, 9)))
