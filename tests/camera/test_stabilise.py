"""Steady depth: estimates that waver are held by the clip's samples, what moves keeps its own, a
moving camera changes nothing.
"""

import numpy as np
import pytest

from raydepth.camera.stabilise import ReferenceFrames, gather
from raydepth.depth.stage import refined
from raydepth.errors import JobError
from raydepth.frames.decode import batches
from raydepth.frames.probe import probe
from raydepth.frames.segments import plan_segments
from raydepth.output.folder import OutputFolder
from raydepth.output.record import read_calibrations, write_calibrations
from raydepth.output.references import (
    cache_references,
    read_references,
    reference_names,
    write_references,
)
from raydepth.run.editor import edit_batch
from tests.support.clips import write_clip
from tests.support.runs import calibrate_here, small_job, steps_here

HEIGHT, WIDTH = 96, 160


def room():
    """A still scene: blocks of colours, and its true inverse depth, a floor that comes nearer."""
    rng = np.random.default_rng(0)
    rgb = np.kron(rng.integers(30, 170, (HEIGHT // 8, WIDTH // 8, 3)), np.ones((8, 8, 1))).astype(
        np.uint8
    )
    return rgb, np.tile(np.linspace(0.1, 0.7, HEIGHT, dtype=np.float32)[:, None], (1, WIDTH))


def seen(k, box=True):
    """Frame k: a white box walks through the room, and the estimate has another scale and a dent
    elsewhere each time.
    """
    rng = np.random.default_rng(100 + k)
    rgb, truth = (array.copy() for array in room())
    if box:
        rgb[40:80, 10 + 12 * k : 34 + 12 * k] = 250
        truth[40:80, 10 + 12 * k : 34 + 12 * k] = 0.9
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    dent = np.exp(
        -(((x - rng.uniform(0, WIDTH)) / 25) ** 2) - ((y - rng.uniform(0, HEIGHT)) / 25) ** 2
    )
    wavering = rng.uniform(0.8, 1.25) * truth + rng.uniform(-0.1, 0.1) + 0.15 * dent
    noisy = (rgb + rng.integers(-2, 3, rgb.shape)).clip(0, 255).astype(np.uint8)
    return noisy, wavering.astype(np.float32), truth


@pytest.fixture(scope="module")
def samples():
    return gather(*zip(*(seen(k)[:2] for k in range(8)), strict=True))


def test_a_still_scene_gets_one_depth(samples):
    plain = np.stack([depth for _, depth, _ in [seen(k, box=False) for k in range(20, 26)]])
    held = np.stack(
        [
            samples.stabilise(rgb, depth)
            for rgb, depth in (seen(k, box=False)[:2] for k in range(20, 26))
        ]
    )
    assert held.dtype == np.float32
    assert held.std(axis=0).mean() < 0.1 * plain.std(axis=0).mean()
    # One affine map takes it to the truth; the samples' own dents are averaged.
    truth = room()[1]
    scale, offset = np.polyfit(held[0].ravel(), truth.ravel(), 1)
    assert np.abs(scale * held[0] + offset - truth).mean() < 0.02


def test_what_moves_keeps_its_place_before_the_scene(samples):
    for k in (8, 9):  # where no sample has the box
        rgb, depth, truth = seen(k)
        box = truth == np.float32(0.9)
        held = samples.stabilise(rgb, depth)
        other = room()[1]
        scale, offset = np.polyfit(held[~box], other[~box], 1)
        assert np.median(scale * held[box] + offset) == pytest.approx(0.9, abs=0.08)


def test_a_frame_depends_on_itself_and_the_samples_alone(samples):
    rgb, depth, _ = seen(30)
    alone = samples.stabilise(rgb, depth)
    for k in range(3):
        samples.stabilise(*seen(40 + k)[:2])
    assert np.array_equal(alone, samples.stabilise(rgb.copy(), depth.copy()))
    assert np.array_equal(refined(rgb, depth, None, False), depth)


def test_a_moving_camera_has_no_samples():
    rng = np.random.default_rng(3)
    wall = (
        rng.integers(0, 255, (HEIGHT // 4, WIDTH // 2, 3))
        .astype(np.uint8)
        .repeat(4, 0)
        .repeat(4, 1)
    )
    frames = [wall[:, 6 * k : 6 * k + WIDTH] for k in range(8)]
    assert gather(frames, [np.zeros((HEIGHT, WIDTH), np.float32)] * 8) is None


def test_samples_of_larger_frames_are_small_and_the_depth_keeps_its_size():
    frames = [np.repeat(np.repeat(seen(k)[0], 4, 0), 4, 1) for k in range(3)]
    depths = [np.repeat(np.repeat(seen(k)[1], 4, 0), 4, 1) for k in range(3)]
    samples = gather(frames, depths)
    assert samples.rgb.shape[1] == 256
    assert samples.stabilise(frames[0], depths[0]).shape == depths[0].shape


def test_through_a_clip_the_same_in_any_batch_and_after_a_resume(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", frames=12)
    job = small_job(
        clip, tmp_path / "out", depth__steady=True, depth__guided=True, depth__calibration_frames=4
    )
    segments = plan_segments(probe(str(clip)), size=64)
    video, folder = segments[0].video, OutputFolder.at(job.output.path)
    fixed = calibrate_here(job, segments)
    assert fixed.samples == 4
    write_calibrations(folder, {video: fixed})
    assert read_calibrations(folder) == {video: fixed}
    depths = {}
    for size in (1, 5, 12):
        steps = steps_here(job, video, read_calibrations(folder)[video])[:1]
        done = [edit_batch(steps, batch) for batch in batches(segments[0], size)]
        depths[size] = np.concatenate([batch["inv_depth"] for batch in done])
    # The network's own last bits depend on its batch; nothing else may.
    np.testing.assert_allclose(depths[5], depths[12], atol=1e-4)
    np.testing.assert_allclose(depths[1], depths[12], atol=1e-4)
    plain = steps_here(small_job(clip, tmp_path / "plain"), video, fixed)[:1]
    raw = np.concatenate(
        [edit_batch(plain, batch)["inv_depth"] for batch in batches(segments[0], 12)]
    )
    assert not np.allclose(raw, depths[12], atol=1e-2)


def test_samples_survive_the_folder_and_damage_is_told(tmp_path, samples):
    folder = OutputFolder.at(str(tmp_path))
    write_references(folder, "ab", samples)
    again = read_references(folder, "ab", len(samples.rgb))
    assert np.array_equal(again.rgb, samples.rgb)
    assert np.abs(again.inv_depth - samples.inv_depth).max() < 5e-5
    assert cache_references(folder, {"ab": 8, "cd": 0})("cd") is None
    other = ReferenceFrames(samples.rgb[:, :32], samples.inv_depth[:, :32])
    write_references(folder, "ef", other)
    (tmp_path / reference_names("ef")[0]).write_bytes(
        (tmp_path / reference_names("ab")[0]).read_bytes()
    )
    with pytest.raises(JobError, match="size"):
        cache_references(folder, {"ef": 8})("ef")
    (tmp_path / reference_names("ab")[1]).write_bytes(b"no picture")
    with pytest.raises(JobError, match=r"samples-depth\.png"):
        cache_references(folder, {"ab": 8})("ab")
