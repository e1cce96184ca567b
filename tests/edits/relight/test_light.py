"""Matching a moved layer's light: exact where the light is all that differs, one for a clip,
nothing where nothing moved.
"""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raydepth.edits.clip import ClipEdit
from raydepth.edits.plan import EditPlan
from raydepth.edits.registry import measure_light
from raydepth.edits.relight.light import NEUTRAL, ClipLight, match_light
from raydepth.edits.settings import Background, Insert, Light, Recompose
from raydepth.files.pictures import to_linear, to_srgb
from raydepth.frames.decode import batches
from raydepth.frames.probe import probe
from raydepth.frames.segments import plan_segments
from raydepth.layers.settings import Layers
from raydepth.layers.stack import Layer, LayerStack
from raydepth.output.folder import OutputFolder
from raydepth.output.record import read_calibrations, write_calibrations
from raydepth.run.editor import edit_batch
from tests.support.clips import write_clip
from tests.support.runs import calibrate_here, small_job, steps_here

NEAR = np.zeros((1, 24, 32), np.float32)
NEAR[:, 8:18, 10:20] = 1
LAYERS = Layers(edge_filter=False, min_area=0)
BOTH = Light(colour=1, brightness=1)
STANDING = ClipEdit(0.5, ((0.0,),), None)


@pytest.fixture
def source() -> np.ndarray:
    return np.random.default_rng(0).integers(40, 160, (1, 24, 32, 3), dtype=np.uint8)


def plan_of(source: np.ndarray, far: np.ndarray, moved: str = "near") -> EditPlan:
    depth = np.zeros_like(NEAR)
    layers = [
        Layer("near", source.copy(), NEAR, depth),
        Layer("far", far, np.ones_like(NEAR), depth),
    ]
    return EditPlan(LayerStack(layers), 1 - NEAR, moved=frozenset({moved}))


def under(picture: np.ndarray, gain: tuple[float, float, float]) -> np.ndarray:
    return to_srgb(to_linear(picture) * np.array(gain, np.float32))


def light_of(
    tmp_path: Path, source: np.ndarray, other: np.ndarray, depth: np.ndarray = NEAR
) -> ClipLight | None:
    Image.fromarray(other).save(tmp_path / "other.png")
    edit = Background(kind="background", source=str(tmp_path / "other.png"))
    return measure_light(edit, LAYERS, list(source), list(depth), [0.5], None)


def test_the_same_place_under_another_light_gives_that_light(tmp_path, source):
    gain = (1.5, 1.0, 0.7)
    source[NEAR > 0] = source[0, :10, 10:20].reshape(
        -1, 3
    )  # so that the place is alike with and without what is near
    other = under(source, gain)
    lit = match_light(plan_of(source, other), [light_of(tmp_path, source, other[0])], BOTH)
    off = lit.stack.flatten().astype(int) - other
    assert np.abs(off).max() <= 8 and np.abs(off[NEAR > 0].mean()) < 2


def test_colour_alone_keeps_the_geometric_mean_of_the_channels_and_brightness_alone_their_ratios(
    source,
):
    plan, light = plan_of(source, source), ClipLight((0.4, 0.2, -0.1))

    def gains(**parts: float) -> np.ndarray:
        lit = match_light(plan, [light], Light(**parts)).stack.layers[0].rgb
        return np.median(to_linear(lit) / to_linear(source), axis=(0, 1, 2))

    assert np.log(gains(colour=1)).mean() == pytest.approx(0, abs=0.02)
    assert np.ptp(gains(brightness=1)) < 0.03
    assert np.log(gains(colour=1, brightness=1)) == pytest.approx(light.ratio, abs=0.02)
    half = gains(colour=0.5, brightness=0.5)
    assert half == pytest.approx(np.sqrt(gains(colour=1, brightness=1)), abs=0.03)


def test_nothing_changes_without_a_moved_layer_a_light_or_a_part_to_take(tmp_path, source):
    light = ClipLight((0.4, 0.2, -0.1))
    plan = replace(plan_of(source, source), moved=frozenset())
    assert match_light(plan, [light], BOTH) is plan
    plan = plan_of(source, source)
    assert match_light(plan, [light], Light()) is plan
    assert np.array_equal(match_light(plan, [None], BOTH).stack.flatten(), source)
    assert measure_light(Recompose(), LAYERS, list(source), list(NEAR), [0.5], None) is None
    edit = Background(kind="background", source="#204060")
    assert measure_light(edit, LAYERS, list(source), list(NEAR), [0.5], None) is None
    # What fills the frame leaves nothing to see of its own place.
    assert light_of(tmp_path, source, source[0], np.ones_like(NEAR)) is None


def test_the_region_grows_over_the_layer_and_the_plan_given_is_left_alone(source):
    plan = plan_of(source, source)
    before = plan.region.copy(), plan.stack.layers[0].rgb.copy()
    lit = match_light(plan, [ClipLight((0.4, 0.2, -0.1))], Light(colour=0.5))
    assert (lit.region[NEAR > 0] == 1).all()
    assert np.array_equal(plan.region, before[0]) and np.array_equal(
        plan.stack.layers[0].rgb, before[1]
    )


def test_an_object_takes_the_light_of_what_is_not_nearer_and_the_side_that_it_comes_from(
    make_object,
):
    grey = round(255 * (1.055 * NEUTRAL ** (1 / 2.4) - 0.055))
    frame = np.full((24, 32, 3), (grey, grey, grey // 2), np.uint8)
    frame[NEAR[0] > 0] = (0, 0, 255)  # of another colour, but nearer than the object
    edit = Insert(kind="insert", object=make_object(), point=[0.5, 0.9])
    light = measure_light(edit, LAYERS, [frame], list(NEAR), [0.5], STANDING)
    assert light.ratio[0] == pytest.approx(light.ratio[1], abs=0.01) and light.ratio[
        0
    ] == pytest.approx(0, abs=0.02)
    assert light.ratio[2] < -0.5
    assert light.shading == pytest.approx((0, 0), abs=0.05)  # a flat wall and a plain object
    assert ClipLight.from_tree(asdict(light)) == light
    with pytest.raises(ValueError, match="light"):
        ClipLight.from_tree({"ratio": [0, 0], "shading": [0, 0]})


def test_shading_brightens_the_side_that_faces_the_light(source):
    normals = np.zeros((*NEAR.shape, 2), np.float32)
    normals[..., 0] = np.linspace(-1, 1, 32)
    plan = replace(plan_of(source, source), normals={"near": normals})
    lit = (
        match_light(plan, [ClipLight((0.0, 0.0, 0.0), (0.5, 0.0))], Light(shading=1))
        .stack.layers[0]
        .rgb
    )
    gain = np.log(to_linear(lit).mean(-1) / to_linear(source).mean(-1))[0]
    assert np.allclose(gain, 0.5 * normals[0, ..., 0], atol=0.04)
    dark = (
        match_light(plan, [ClipLight((-9.0, -9.0, -9.0))], Light(brightness=1)).stack.layers[0].rgb
    )
    assert np.array_equal(dark, under(source, (0.5, 0.5, 0.5)))  # no channel more than halves


def test_a_clips_light_is_measured_where_it_is_asked_for_kept_and_used(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", frames=4)
    red = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8) * np.array([1, 0.4, 0.4])
    Image.fromarray(red.astype(np.uint8)).save(tmp_path / "red.png")
    edited = {}
    for name, light in (("plain", None), ("matched", {"colour": 1})):
        job = small_job(
            clip,
            tmp_path / name,
            edit={"kind": "background", "source": str(tmp_path / "red.png")},
            compose__light=light,
        )
        segments = plan_segments(probe(str(clip)), size=64)
        video, folder = segments[0].video, OutputFolder.at(job.output.path)
        write_calibrations(folder, {video: calibrate_here(job, segments)})
        clips = read_calibrations(folder)
        assert (clips[video].light is None) == (light is None)
        (batch,) = batches(segments[0], 4)
        edited[name] = edit_batch(steps_here(job, video, clips[video]), batch)
    near = (edited["plain"]["edited"] != edited["matched"]["edited"]).any(-1)
    redder = [result["edited"][near].mean(0) for result in (edited["matched"], edited["plain"])]
    assert redder[0][0] > redder[1][0] + 3 and redder[0][2] < redder[1][2] - 3
