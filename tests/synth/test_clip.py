"""The clip writer: what is on disk is what was rendered."""

import json

import av
import numpy as np
import pytest
import torch
from PIL import Image

from raydepth.synth import write_clip
from raydepth.synth.draw import random_scene
from raydepth.synth.render import render


def test_clip_depth_layers_and_camera(tmp_path):
    paths = write_clip(tmp_path / "a", frames=3, size=(48, 64), seed=5, fps=24.0, layers=True)
    with av.open(str(paths.video)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert float(container.streams.video[0].average_rate) == 24.0
    depths = [np.asarray(Image.open(p)) for p in sorted(paths.depth.iterdir())]
    assert len(frames) == len(depths) == 3
    assert depths[0].dtype == np.uint16

    scene = random_scene(5, aspect=64 / 48)
    picture = render(scene, [scene.camera_at(2 / 24 / 5)], (48, 64))
    assert np.abs(depths[2] / 1000 - picture.depth[0].numpy()).max() <= 0.00051
    assert np.abs(frames[2] / 255 - picture.rgb[0].numpy()).mean() < 0.03
    assert not np.array_equal(depths[0], depths[2])

    folders = sorted(p for p in paths.layers.iterdir() if p.name != "plate")
    layers = [np.asarray(Image.open(p / "000002.png")) for p in folders]
    assert (sum((layer[..., 3] == 255).astype(int) for layer in layers) == 1).all()
    plate = np.asarray(Image.open(paths.layers / "plate" / "000002.png"))
    assert plate.shape == (48, 64, 3)
    camera = json.loads(paths.camera.read_text())
    assert camera["fx"] == pytest.approx(scene.camera.focal * 48)
    assert len(camera["frames"]) == 3


def test_same_arguments_same_bytes(tmp_path):
    one, two = (write_clip(tmp_path / name, frames=2, size=(32, 48), seed=9) for name in "ab")
    assert one.layers is None
    assert (one.depth / "000001.png").read_bytes() == (two.depth / "000001.png").read_bytes()
    assert one.video.read_bytes() == two.video.read_bytes()


@pytest.mark.parametrize(("frames", "size"), [(0, (32, 32)), (2, (33, 32)), (2, (32, 8))])
def test_impossible_clips_are_refused(tmp_path, frames, size):
    with pytest.raises(ValueError, match="must be"):
        write_clip(tmp_path, frames=frames, size=size, seed=0)


def test_pictures_do_not_depend_on_global_randomness():
    scene = random_scene(21, style="wide")
    torch.manual_seed(1)
    first = render(scene, [scene.camera], (24, 24)).rgb
    torch.manual_seed(2)
    assert torch.equal(first, render(scene, [scene.camera], (24, 24)).rgb)
