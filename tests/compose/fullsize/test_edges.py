"""Edges of things at source size: as the source has them, and nothing else changed."""

import cv2
import numpy as np
import pytest

from raydepth.batch import Batch
from raydepth.compose.fullsize.edges import ThingEdges
from raydepth.compose.fullsize.paste import enlarge_stack
from raydepth.compose.fullsize.results import frame_layers, frame_pictures
from raydepth.compose.fullsize.upsample import Guided, bands
from raydepth.layers.matting import foreground
from raydepth.layers.stack import Layer, LayerStack, stack_columns
from raydepth.layers.things.matte import matte

HIGH, WIDE = 1080, 720
SMALL = (160, 240)
"""Width and height at working size: a pixel of it is 4.5 of the frame's."""
BLUE = np.array([40, 90, 200], np.uint8)


def grain(colour: tuple[int, int, int], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    parts = [
        cv2.resize(rng.normal(0, 6, (HIGH // k, WIDE // k, 3)).astype(np.float32), (WIDE, HIGH))
        for k in (4, 20, 80)
    ]
    return np.float32(colour) + sum(parts)


def from_edge(shape: str) -> np.ndarray:
    """Pixels from the thing's edge, positive inside, float32 [HIGH,WIDE]."""
    y, x = np.mgrid[:HIGH, :WIDE].astype(np.float32) + 0.5
    if shape == "disc":
        return 250 - np.hypot(x - 360, y - 540)
    return 0.974 * (x - 340) + 0.227 * (y - 540)


class Scene:
    """A thing whose matte is known, at both sizes."""

    def __init__(self, shape: str) -> None:
        self.away = from_edge(shape)
        self.ring = np.abs(self.away) < 12
        self.truth = np.clip(self.away + 0.5, 0, 1)
        self.front = grain((190, 90, 60), 0)
        mixed = self.composed(self.front, grain((70, 110, 80), 1))
        self.full = np.rint(mixed.clip(0, 255)).astype(np.uint8)
        self.low = cv2.resize(self.full, SMALL, interpolation=cv2.INTER_AREA)
        mask = cv2.resize(self.truth, SMALL, interpolation=cv2.INTER_AREA) > 0.5
        self.alpha = matte(self.low, mask.astype(np.float32))

    def composed(self, front: np.ndarray, back: np.ndarray) -> np.ndarray:
        return self.truth[..., None] * front + (1 - self.truth[..., None]) * back

    def error(self, alpha: np.ndarray) -> float:
        return float(np.abs(alpha - self.truth)[self.ring].mean())

    def deviation(self, alpha: np.ndarray) -> float:
        """Standard deviation of the edge's place, in pixels across it."""
        places = []
        for row in range(380, 700, 3):
            at = int(np.argmin(np.abs(self.away[row])))
            span = slice(max(at - 30, 0), at + 30)
            across = abs(float(self.away[row, at + 1] - self.away[row, at]))
            places.append((alpha[row, span] - self.truth[row, span]).sum() * across)
        return float(np.std(places))

    def layer(self, name: str, rgb: np.ndarray, alpha: np.ndarray) -> Layer:
        return Layer(name, rgb[None], alpha[None], np.zeros_like(alpha)[None])

    def kept(self) -> LayerStack:
        """The thing before a plain colour."""
        plain = np.broadcast_to(BLUE, self.low.shape).copy()
        near = self.layer("near", foreground(self.low, self.alpha), self.alpha)
        return LayerStack([near, self.layer("far", plain, np.ones_like(self.alpha))])

    def batch(self, stack: LayerStack) -> Batch:
        """What a compose stage leaves of one frame."""
        edited, region = stack.flatten(), np.ones((1, *self.alpha.shape), np.float32)
        return stack_columns(stack) | {
            "rgb": self.low[None],
            "near": self.alpha[None],
            "edited": edited,
            "region": region,
            "thing_names": np.array([["thing"]], object),
            "thing_alpha": self.alpha[None, None],
        }


@pytest.fixture(scope="module", params=["disc", "slanted edge"])
def scene(request) -> Scene:
    return Scene(request.param)


def test_a_kept_things_edge_is_the_sources(scene):
    batch = scene.batch(scene.kept())
    without = {name: column for name, column in batch.items() if not name.startswith("thing_")}
    wanted = scene.composed(scene.front, BLUE.astype(np.float32))
    errors = []
    for columns in (without, batch):
        made = frame_pictures(columns, 0, ["edited"], scene.full, keep_source=True)["edited"]
        errors.append(np.abs(made - wanted)[scene.ring].mean())
    assert errors[1] < 0.5 * errors[0]
    assert errors[1] < 2, "levels of 255"


def test_exported_alphas_and_the_near_picture_have_it_too(scene):
    batch = scene.batch(scene.kept())
    exported = frame_layers(batch, 0, scene.full).layers
    near = frame_pictures(batch, 0, ["near"], scene.full, keep_source=True)["near"]
    enlarged = enlarge_stack(scene.full, scene.low, scene.kept()).layers[0].alpha[0]
    for alpha in (exported[0].alpha[0], near):
        assert scene.error(alpha) < 0.01 < scene.error(enlarged)
        assert scene.deviation(alpha) < 0.2 < scene.deviation(enlarged)
        assert alpha[scene.away > 40].min() > 0.99 and alpha[scene.away < -40].max() < 0.01
    assert (exported[1].alpha == 1).all()
    inside = scene.away > 30
    np.testing.assert_allclose(
        exported[0].rgb[0][inside].astype(int), scene.full[inside].astype(int), atol=1
    )


@pytest.mark.parametrize("covers", [True, False])
def test_what_covers_an_object_has_the_things_edge(scene, covers: bool):
    """The thing and something of the scene that crosses it, or the scene behind the thing."""
    beside = np.zeros_like(scene.alpha)
    beside[:, 3:20] = 1
    a = scene.alpha
    low = a + (1 - a) * beside if covers else 1 - a
    made = Guided(scene.low, scene.full).mask(low)
    edges = ThingEdges(scene.full, scene.low, a[None])
    alpha = np.concatenate([edges.mask(low, made)(band) for band in bands(HIGH)])
    right = np.s_[:, 200:]  # beside what else covers
    off = np.abs(alpha - (scene.truth if covers else 1 - scene.truth))
    assert off[right][scene.ring[right]].mean() < 0.01


@pytest.mark.parametrize("kind", ["opaque", "ramp", "blurred", "crossing"])
def test_a_layer_with_another_edge_is_left_as_it_is(scene, kind: str):
    ramp = np.tile(np.linspace(0, 1, SMALL[0], dtype=np.float32), (SMALL[1], 1))
    low = {
        "opaque": np.ones_like(ramp),
        "ramp": ramp,
        "blurred": cv2.GaussianBlur(scene.alpha, (0, 0), 6),
        "crossing": np.float32(np.arange(SMALL[1])[:, None] > 120) + 0 * ramp,
    }[kind]
    plain = Guided(scene.low, scene.full).mask(low)
    made = ThingEdges(scene.full, scene.low, scene.alpha[None]).mask(low, plain)
    for band in bands(HIGH):
        np.testing.assert_allclose(made(band), plain(band), atol=0.02)


def test_columns_that_are_wanted_alone_are_the_same(scene):
    low, span = scene.alpha, slice(101, 500)
    edges = ThingEdges(scene.full, scene.low, low[None])
    whole = edges.mask(low, Guided(scene.low, scene.full).mask(low))
    part = edges.mask(low, Guided(scene.low, scene.full, span).mask(low), span.start)
    for band in bands(HIGH, 100):
        np.testing.assert_allclose(part(band), whole(band)[:, span], atol=1e-5)


def test_at_working_size_and_where_a_thing_is_not_nothing_changes(scene):
    low = scene.alpha
    made = Guided(scene.low, scene.full).mask(low)
    nowhere = ThingEdges(scene.full, scene.low, np.zeros((1, *low.shape), np.float32))
    assert nowhere.mask(low, made) is made
    same = Guided(scene.low, scene.low).mask(low)
    assert ThingEdges(scene.low, scene.low, low[None]).mask(low, same) is same


def test_a_source_that_is_smaller_than_the_work_is_as_without_things(scene):
    batch = scene.batch(scene.kept())
    without = {name: column for name, column in batch.items() if not name.startswith("thing_")}
    small = cv2.resize(scene.full, (SMALL[0] - 40, SMALL[1] - 60), interpolation=cv2.INTER_AREA)
    made, plain = (
        frame_pictures(columns, 0, ["edited"], small, keep_source=True)["edited"]
        for columns in (batch, without)
    )
    np.testing.assert_array_equal(made, plain)
