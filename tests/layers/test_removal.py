"""What goes with a thing that is removed, and holes that are too large to be invented."""

import numpy as np

from raydepth.edits.plan import inpainted_mask
from raydepth.edits.remove import build
from raydepth.layers.fill.bounded import BoundedFiller
from raydepth.layers.fill.plate import Plate, PlateFiller
from raydepth.layers.fill.protocol import Filler
from raydepth.layers.fill.settings import OpenCVFill
from raydepth.layers.settings import Layers
from raydepth.layers.stage import LayerStage
from raydepth.layers.things.layering import Layering
from tests.depth.tiny import batch


class Red(Filler):
    name = "the network"

    def __call__(self, rgb, hole):
        return np.where(hole[..., None], np.uint8([255, 0, 0]), rgb)


def on_ground(share):
    """A batch of one frame: ground, a thing on it and its shadow; and the bare ground."""
    ground = np.full((96, 128, 3), 180, np.uint8)
    alpha = np.zeros((96, 128), np.float32)
    alpha[20:60, 40 : 40 + share] = 1
    frame = ground.copy()
    frame[55:66, 38:72] = 120
    frame[alpha > 0] = (90, 60, 30)
    columns = batch(frame[None], inv_depth=np.full((1, 96, 128), 0.5, np.float32))
    columns |= {
        "thing_names": np.array([["dog"]], object),
        "thing_alpha": alpha[None, None],
        "thing_inv_depth": np.full((1, 1), 0.6, np.float32),
        "thing_state": np.array([["seen"]], object),
        "thing_iou": np.full((1, 1), np.nan),
    }
    return columns, ground


def layered(columns, filler, **asked):
    lifted = Layering(("dog",), ("dog",), removes=("dog",), **asked)
    return LayerStage(Layers(fill=OpenCVFill(dilate=2)), {"v": (0.4,)}, filler, lifted)(columns)


def test_the_shadow_goes_with_the_thing():
    columns, ground = on_ground(30)
    plate = Plate(ground, np.ones(ground.shape[:2], bool), True)
    filler = PlateFiller(lambda shot: plate, Red())
    alone, whole = (layered(columns, filler, shadow=shadow) for shadow in (False, True))
    assert not alone["hole"][0, 64, 45] and whole["hole"][0, 60:66, 40:70].all()
    assert np.array_equal(whole["background"][0][whole["hole"][0]], ground[whole["hole"][0]])
    assert np.array_equal(whole["alphas"], alone["alphas"]), "layers stay the things'"
    grown = layered(columns, filler, grow_down=0.2)
    assert grown["hole"][0, 66, 50] and not alone["hole"][0, 66, 50]


def test_a_network_does_not_invent_most_of_a_frame():
    columns, _ = on_ground(30)
    small = layered(columns, BoundedFiller(Red(), 0.5))
    assert (small["background"][0][small["hole"][0]] == (255, 0, 0)).all() and not small["note"][0]
    assert build(small).region.any() and not small["hole_refused"][0]
    large = layered(columns, BoundedFiller(Red(), 0.05))
    assert "hole over 5% of the frame" in large["note"][0] and large["hole_refused"][0]
    assert not build(large).region.any() and inpainted_mask(large).any()
