"""The training script on a handful of pictures: repeatable, resumable, and what it writes loads."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForDepthEstimation

from raydepth.builtin import data as training_data
from raydepth.builtin import train_depth, train_diffusion
from raydepth.builtin.data import Cache, crop, degrade, scene_picture
from raydepth.builtin.loop import Budget, train
from raydepth.builtin.redraw import Redraw


@pytest.fixture(scope="module")
def pictures():
    return [scene_picture(training_data.FIRST_SEED + seed) for seed in (0, 1)]


@pytest.fixture
def shards(tmp_path, monkeypatch, pictures):
    monkeypatch.setattr(training_data, "SHARD", 2)
    np.save(tmp_path / "0000-rgb.npy", np.stack([rgb for rgb, _ in pictures]))
    np.save(tmp_path / "0000-inv.npy", np.stack([inverse for _, inverse in pictures]))
    return tmp_path


def test_cache_gives_back_what_was_rendered(shards, pictures):
    cache = Cache(shards)
    rgb, inverse = cache[1]
    expected, truth = pictures[1]
    assert len(cache) == 2
    assert np.array_equal((rgb * 255).round().byte().permute(1, 2, 0).numpy(), expected)
    assert np.array_equal(inverse[0].numpy(), truth.astype(np.float32))
    with pytest.raises(FileNotFoundError, match="no finished shard"):
        Cache(shards / "nothing")


def test_crops_and_degradations_repeat_and_stay_in_range():
    rgb = torch.rand(3, 96, 96, generator=torch.Generator().manual_seed(0))
    for seed in range(8):
        one, two = (
            degrade(crop(rgb, 48, generator, smallest=0.5), generator)
            for generator in (torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed))
        )
        assert one.shape == (3, 48, 48)
        assert torch.equal(one, two)
        assert one.min() >= 0 and one.max() <= 1


def test_disparity_loss_knows_right_from_wrong():
    truth = torch.rand(2, 32, 32, generator=torch.Generator().manual_seed(1)) + 0.1
    right = train_depth.disparity_loss(0.1 + 0.5 * truth, truth)
    assert right < 0.5 < train_depth.disparity_loss(1 - truth, truth)
    flat = torch.full_like(truth, 0.5, requires_grad=True)
    train_depth.disparity_loss(flat, truth).backward()
    assert flat.grad.isfinite().all()


def test_a_resumed_run_equals_an_undisturbed_one(tmp_path):
    exports = {}

    def loss_of(model, step, progress):
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        return (model(x) - x.sum(1, keepdim=True)).square().mean()

    def go(folder, steps, resume):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = torch.nn.Linear(3, 1)
        train(
            model,
            loss_of,
            tmp_path / folder,
            Budget(minutes=9, steps=steps, decay=1e-6),
            resume=resume,
            export=lambda averaged, effort: exports.update(
                {folder: (averaged.weight.clone(), effort["steps"])}
            ),
        )

    go("whole", 60, resume=False)
    go("parts", 25, resume=False)
    go("parts", 60, resume=True)
    assert torch.equal(exports["whole"][0], exports["parts"][0])
    assert exports["whole"][1] == exports["parts"][1] == 60
    assert json.loads((tmp_path / "whole/log.jsonl").read_text())["step"] == 50


def test_one_step_of_depth_training_writes_a_model_that_loads(shards, monkeypatch):
    monkeypatch.setattr(train_depth, "_BATCH", 2)
    train_depth.run(shards, shards, Budget(minutes=9, steps=1), resume=False)
    model = AutoModelForDepthEstimation.from_pretrained(shards / "depth")
    assert model.dtype == torch.float16
    assert model.config.raydepth_kind == "disparity_rel"
    assert json.loads((shards / "depth/training.json").read_text())["steps"] == 1


def test_one_step_of_diffusion_training_writes_a_model_that_loads(shards, monkeypatch):
    monkeypatch.setattr(train_diffusion, "build_codec", lambda cache: train_diffusion.BlockDCT())
    train_diffusion.run(shards, shards, Budget(minutes=9, steps=1), resume=False)
    redraw = Redraw(shards / "diffusion")
    assert redraw(np.zeros((32, 48, 3), np.uint8), strength=0.3).shape == (32, 48, 3)
