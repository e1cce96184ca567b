"""A case: what its truths say about one another, exactly."""

import dataclasses

import numpy as np
import pytest

from raydepth.synth import setup as staging_module
from raydepth.synth.case import Case, Snapshot, make_case
from raydepth.synth.matte import alpha_over
from raydepth.synth.setup import random_setup

SIZE = (48, 60)


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [make_case(seed, SIZE, samples=9) for seed in range(5)]


def test_near_is_what_lies_before_the_threshold(cases):
    for case in cases:
        assert np.array_equal(case.near, case.depth < case.threshold_m)
        assert np.array_equal(case.composite_near, case.near)
        assert case.fill_depth.min() > case.threshold_m < case.other_depth.min()
        assert case.threshold_m < case.object_depth_m
        assert 0.04 < case.near.mean() < 0.5
        # Exactly the same geometry where no near object is, strictly behind where one is.
        assert np.array_equal(case.depth[~case.near], case.fill_depth[~case.near])
        assert (case.depth[case.near] < case.fill_depth[case.near]).all()


def test_shapes_and_types(cases):
    for case in cases:
        for name in ("rgb", "fill", "fill_shadowed", "inserted", "other", "composite"):
            picture = getattr(case, name)
            assert picture.shape == (*SIZE, 3) and picture.dtype == np.uint8
        for name in ("depth", "fill_depth", "other_depth"):
            assert getattr(case, name).shape == SIZE and getattr(case, name).dtype == np.float32
        x0, y0, x1, y1 = case.object_box
        assert case.object_rgba.shape == (y1 - y0, x1 - x0, 4)
        assert 0 < x0 < x1 < SIZE[1] and 0 < y0 < y1 < SIZE[0]
        assert set(np.unique(case.object_rgba[..., 3])) >= {0, 255}


def test_the_object_is_seen_where_nothing_nearer_covers_it(cases):
    hidden = 0
    for case in cases:
        x0, y0, x1, y1 = (int(v) for v in case.object_box)
        whole = np.zeros(SIZE, bool)
        whole[y0:y1, x0:x1] = case.object_rgba[..., 3] > 127
        assert case.object_mask.any() and not (case.object_mask & case.near).any()
        # Pixel centres and coverage may differ on the outline only.
        fringe = np.zeros(SIZE, bool)
        fringe[y0:y1, x0:x1] = (case.object_rgba[..., 3] > 0) & (case.object_rgba[..., 3] < 255)
        assert np.array_equal(case.object_mask[~fringe], (whole & ~case.near)[~fringe])
        assert (case.inserted != case.rgb).any(-1)[case.object_mask].mean() > 0.9
        hidden += (whole & case.near).sum() > 0.1 * whole.sum()
    assert hidden >= 2


def test_near_over_rest_is_the_frame():
    snapshot = Snapshot(random_setup(1, 1.25), 0.5, SIZE, samples=4)
    rgb = snapshot.rgb()
    near, rest = snapshot.layers(rgb)
    assert np.array_equal(alpha_over(near, rest), rgb)
    assert ((near[..., 3] > 127) == snapshot.near)[
        (near[..., 3] == 0) | (near[..., 3] == 255)
    ].all()
    assert ((near[..., 3] > 0) & (near[..., 3] < 255)).any()
    # Behind the near objects the rest is what is there, not a copy of the frame.
    inside = near[..., 3] == 255
    assert np.array_equal(rest[inside], snapshot.fill_shadowed()[inside])


def test_same_seed_same_bytes(cases):
    staging_module.random_setup.cache_clear()
    again = make_case(2, SIZE, samples=9)
    for field in dataclasses.fields(Case):
        one, two = getattr(cases[2], field.name), getattr(again, field.name)
        assert np.array_equal(one, two), field.name
    assert not np.array_equal(cases[1].rgb, cases[2].rgb)


def test_noise_of_a_truth_is_small():
    """Two samplings of one picture differ by about a grey level and a half at the default number of
    paths.
    """
    snapshot = Snapshot(random_setup(0, 1.0), 0.0, (32, 32), samples=1)
    one, two = (
        snapshot._whole.colour(snapshot.camera, (32, 32), seed=seed).astype(float)
        for seed in (1, 2)
    )
    assert np.sqrt(((one - two) ** 2).mean()) < 2.5
