"""What the network sees equals what the checkpoint's own PIL processor makes of a picture."""

import numpy as np
import pytest
import torch
from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil
from transformers.models.glpn.image_processing_pil_glpn import GLPNImageProcessorPil
from transformers.models.zoedepth.image_processing_pil_zoedepth import ZoeDepthImageProcessorPil

from raydepth.depth.preprocess import Preprocessing, read_preprocessing
from tests.depth.tiny import PREPROCESSORS, frames

PROCESSORS = {
    "dpt": DPTImageProcessorPil,
    "depth_anything": DPTImageProcessorPil,
    "zoedepth": ZoeDepthImageProcessorPil,
    "glpn": GLPNImageProcessorPil,
}
# PIL rounds to whole grey levels after each of its two passes: one level and a half, over the std.
# ZoeDepth and GLPN at their own size do not go through PIL's resize.
TOLERANCE = {
    "dpt": 1.5 / 255 / 0.5,
    "depth_anything": 1.5 / 255 / 0.224,
    "zoedepth": 1e-5,
    "glpn": 1.5 / 255,
}


@pytest.mark.parametrize("size", [(96, 170), (171, 96), (50, 61), (70, 70)])
@pytest.mark.parametrize("name", PROCESSORS)
def test_equals_the_pil_processor(name, size):
    rgb = frames(2, *size)
    theirs = PROCESSORS[name](**PREPROCESSORS[name])(images=list(rgb), return_tensors="pt")[
        "pixel_values"
    ]
    ours = read_preprocessing(PREPROCESSORS[name], name).apply(torch.from_numpy(rgb))
    assert ours.shape == theirs.shape and ours.dtype == torch.float32
    assert (ours - theirs).abs().max() <= TOLERANCE[name]


def test_noise_shrunk_by_three_equals_pil_too():
    """Aliasing shows on noise: without the low-pass this is off by dozens of grey levels."""
    rgb = np.random.default_rng(0).integers(0, 256, (1, 210, 330, 3), dtype=np.uint8)
    theirs = DPTImageProcessorPil(**PREPROCESSORS["depth_anything"])(
        images=list(rgb), return_tensors="pt"
    )["pixel_values"]
    ours = read_preprocessing(PREPROCESSORS["depth_anything"], "depth_anything").apply(
        torch.from_numpy(rgb)
    )
    assert (ours - theirs).abs().max() <= TOLERANCE["depth_anything"]


def test_depth_pro_normalises_and_resizes_without_low_pass():
    """Its processor needs torchvision, which is not here; its two lines are these."""
    rgb = frames(1, 90, 160)
    pixels = torch.from_numpy(rgb).permute(0, 3, 1, 2) / 255
    theirs = torch.nn.functional.interpolate(
        (pixels - 0.5) / 0.5, (128, 128), mode="bilinear", antialias=False
    )
    ours = read_preprocessing(PREPROCESSORS["depth_pro"], "depth_pro").apply(torch.from_numpy(rgb))
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_published_sizes():
    anything = read_preprocessing({"size": {"height": 518, "width": 518}}, "depth_anything")
    assert anything.input_size(512, 910) == (518, 924)
    assert anything.input_size(1080, 1920) == (518, 924)
    assert read_preprocessing({}, "dpt").input_size(512, 910) == (384, 384)
    assert read_preprocessing({}, "glpn").input_size(512, 910) == (512, 896)
    assert read_preprocessing({}, "depth_pro").input_size(512, 910) == (1536, 1536)


def test_input_size_is_the_short_side_in_multiples():
    anything = read_preprocessing({}, "depth_anything").with_short_side(280, 14)
    assert anything.input_size(512, 910) == (280, 504)
    assert anything.input_size(910, 512) == (504, 280)
    assert read_preprocessing({}, "dpt").with_short_side(256, 16).input_size(512, 910) == (256, 256)
    assert (
        read_preprocessing({"ensure_multiple_of": 8}, "dpt").with_short_side(250, 14).multiple_of
        == 56
    )


@pytest.mark.parametrize(
    "preprocessing",
    [
        read_preprocessing(PREPROCESSORS["zoedepth"], "zoedepth"),
        read_preprocessing({**PREPROCESSORS["dpt"], "do_pad": True, "size_divisor": 24}, "dpt"),
        Preprocessing(size=(64, 96)),
    ],
    ids=["reflection", "divisor", "plain"],
)
def test_undo_puts_every_pixel_back_where_it_was(preprocessing):
    """A ramp that goes through as if the network were the identity comes back as the ramp."""
    y, x = np.mgrid[:80, :120]
    ramp = np.stack([x * 2, y * 3, x + y], -1)[None].astype(np.uint8)
    seen = preprocessing.apply(torch.from_numpy(ramp))
    back = preprocessing.undo(seen[:, 0], 80, 120)
    mean, std = preprocessing.mean[0], preprocessing.std[0]
    inner = (back * std + mean)[0, 8:-8, 8:-8] * 255
    assert back.shape == (1, 80, 120)
    assert (inner - torch.from_numpy(ramp[0, 8:-8, 8:-8, 0]).float()).abs().max() < 3


def test_a_padded_picture_keeps_its_aspect_in_a_smaller_map():
    """Networks answer at another scale than they see; padding is cut in proportion."""
    preprocessing = Preprocessing(size=(40, 40), pad_divisor=64)
    maps = torch.zeros(1, 32, 32)
    maps[:, 6:26, 6:26] = 1
    assert preprocessing.undo(maps, 40, 40).min() == 1
