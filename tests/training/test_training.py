"""The training script on a handful of pictures: repeatable, resumable, and what it writes loads."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForDepthEstimation

from raydepth.diffusion.settings import Diffusion
from raydepth.errors import JobError
from raydepth.evaluate.image import ssim
from raydepth.layers.fill.diffusion import load_diffusion_filler
from raydepth.layers.fill.settings import DiffusionFill
from raydepth.models import builtin
from raydepth.synth.case import Snapshot
from raydepth.synth.pictures import FIRST_SEED, scene_picture, write_held_out, write_textures
from raydepth.synth.setup import random_setup
from raydepth.synth.textures import PHOTOGRAPHS, VARIANTS, photograph, texture
from raydepth.training import card, depth, diffusion, inpaint
from raydepth.training.data import Cache, crop, degrade, render
from raydepth.training.harmonise import Harmoniser
from raydepth.training.loop import Budget, subsample_log, train
from tests.layers.test_fill import disc


@pytest.fixture(scope="module")
def pictures():
    return [scene_picture(FIRST_SEED + seed) for seed in (0, 1)]


@pytest.fixture
def shards(tmp_path, pictures):
    np.save(tmp_path / "0000-rgb.npy", np.stack([rgb for rgb, _ in pictures]))
    np.save(tmp_path / "0000-inv.npy", np.stack([inverse for _, inverse in pictures]))
    write_textures(tmp_path)
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


def test_photographs_and_leaves_are_read_from_what_synth_wrote(tmp_path, shards, pictures):
    render("textures", tmp_path / "drawn")  # the program, in a process of its own
    np.save(tmp_path / "drawn/0000-rgb.npy", np.stack([rgb for rgb, _ in pictures]))
    np.save(tmp_path / "drawn/0000-inv.npy", np.stack([inverse for _, inverse in pictures]))
    drawn = Cache(tmp_path / "drawn")
    assert len(drawn.drawn("photograph")) == PHOTOGRAPHS
    assert np.array_equal(drawn.drawn("photograph")[2], photograph(2))
    assert len(drawn.drawn("leaves")) == VARIANTS["leaves"]
    assert np.array_equal(drawn.drawn("leaves")[15], texture("leaves", 15))
    (tmp_path / "drawn/leaves-00.npy").rename(tmp_path / "drawn/other.npy")
    with pytest.raises(FileNotFoundError, match=r"no fills-\*.npy"):
        drawn.drawn("fills")


def test_held_out_pictures_are_those_of_the_seeds_that_training_leaves_out(tmp_path):
    write_held_out(tmp_path, scenes=8)
    calm, wide = card.scenes(tmp_path, "calm"), card.scenes(tmp_path, "wide")
    for found, seed in ((calm[1], 3), (wide[0], 1), (wide[2], 4)):
        rgb, inverse = scene_picture(seed)
        assert np.array_equal(found[0], rgb)
        assert np.array_equal(found[1], 1 / inverse.astype(np.float32))
    holes = card.holes(tmp_path, 128)
    assert [len(calm), len(wide), len(holes), len(card.holes(tmp_path, 256))] == [8, 8, 4, 1]
    rgb, near, fill = holes[1]
    snapshot = Snapshot(random_setup(1, 1.0), 0.0, (128, 128), 24)
    assert np.array_equal(rgb, snapshot.rgb())
    assert near.dtype == np.float32 and np.array_equal(near, snapshot.near)
    assert np.array_equal(fill, snapshot.fill_shadowed())


def test_crops_and_degradations_repeat_and_stay_in_range():
    rgb = torch.rand(3, 96, 96, generator=torch.Generator().manual_seed(0))
    for seed in range(8):
        one, two = (
            degrade(crop(rgb, 48, generator, smallest=0.5), generator)
            for generator in (
                torch.Generator().manual_seed(seed),
                torch.Generator().manual_seed(seed),
            )
        )
        assert one.shape == (3, 48, 48)
        assert torch.equal(one, two)
        assert one.min() >= 0 and one.max() <= 1


def test_disparity_loss_knows_right_from_wrong():
    truth = torch.rand(2, 32, 32, generator=torch.Generator().manual_seed(1)) + 0.1
    right = depth.disparity_loss(0.1 + 0.5 * truth, truth)
    assert right < 0.5 < depth.disparity_loss(1 - truth, truth)
    flat = torch.full_like(truth, 0.5, requires_grad=True)
    depth.disparity_loss(flat, truth).backward()
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
            exported=tmp_path / folder,
        )

    go("whole", 60, resume=False)
    go("parts", 25, resume=False)
    with pytest.raises(JobError, match="checkpoint of an earlier training"):
        go("parts", 60, resume=False)
    go("parts", 60, resume=True)
    assert torch.equal(exports["whole"][0], exports["parts"][0])
    assert exports["whole"][1] == exports["parts"][1] == 60
    assert json.loads((tmp_path / "whole/log.jsonl").read_text())["step"] == 50


def test_one_step_of_depth_training_writes_a_model_that_loads(shards, monkeypatch):
    monkeypatch.setattr(depth, "_BATCH", 2)
    depth.run(shards, shards, Budget(minutes=9, steps=1), resume=False)
    model = AutoModelForDepthEstimation.from_pretrained(shards / "depth")
    assert model.dtype == torch.float16
    assert model.config.raydepth_kind == "disparity_rel"
    assert json.loads((shards / "depth/training.json").read_text())["steps"] == 1


def test_one_step_of_diffusion_training_writes_a_model_that_loads(shards, monkeypatch):
    monkeypatch.setattr(diffusion, "build_codec", lambda cache: diffusion.BlockDCT())
    diffusion.run(shards, shards, Budget(minutes=9, steps=1), resume=False)
    harmoniser = Harmoniser(shards / "diffusion")
    assert harmoniser(np.zeros((32, 48, 3), np.uint8), strength=0.3).shape == (32, 48, 3)


@pytest.fixture
def fills(shards, pictures):
    """Scenes that stand in for true fills, with their nearest fifth for a hole."""
    folder = shards / "fills"
    folder.mkdir()
    np.save(folder / "0000-rgb.npy", np.stack([rgb for rgb, _ in pictures]))
    near = [inverse > np.quantile(inverse.astype(np.float32), 0.8) for _, inverse in pictures]
    np.save(folder / "0000-near.npy", np.stack(near))
    return folder


def test_inpaint_training_goes_on_and_writes_a_model_that_fills(shards, fills):
    for steps in (1, 2):
        budget = Budget(minutes=9, steps=steps)
        inpaint.run(shards, fills, builtin.path("diffusion"), shards, budget, resume=steps > 1)
    effort = json.loads((shards / "inpaint/training.json").read_text())
    assert effort["steps"] == 2 and effort["fills"] == 2
    fill = DiffusionFill(method="diffusion", model=str(shards / "inpaint"), steps=1)
    filler = load_diffusion_filler(
        fill, Diffusion(), seed=0, device="cpu", dtype="float32", loaded=None
    )
    assert filler(np.zeros((30, 45, 3), np.uint8), disc(30, 45, 8) > 0).shape == (30, 45, 3)


@torch.inference_mode()
def test_the_widened_unet_ignores_what_it_has_not_learnt():
    unet = diffusion.build_unet().eval()
    seen, token = (
        torch.randn(1, 97, 8, 8, generator=torch.Generator().manual_seed(0)),
        torch.zeros(1, 1, 32),
    )
    wide, narrow = (
        network(given, 100, encoder_hidden_states=token).sample
        for network, given in ((inpaint.widen(unet).eval(), seen), (unet, seen[:, :48]))
    )
    assert torch.allclose(wide, narrow, atol=1e-5)


def test_drawn_holes_and_rough_fills(shards, fills):
    scenes, true_fills = Cache(shards), Cache(fills, "near")
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        picture, hole = inpaint.draw_hole(scenes, true_fills, 64, generator)
        rough = inpaint.fill_roughly(picture, hole, generator)
        assert picture.shape == (3, 64, 64) and hole.shape == (64, 64) and 0.03 < hole.mean() < 0.65
        assert torch.equal(rough[:, ~hole], picture[:, ~hole])
        assert not torch.equal(rough, picture) and rough.abs().max() <= 1


def test_similarity_is_the_ssim_that_is_reported():
    one, two = np.random.default_rng(0).integers(0, 256, (2, 40, 56, 3), dtype=np.uint8)
    two = (0.5 * one + 0.5 * two).astype(np.uint8)
    tensors = (torch.from_numpy(x).permute(2, 0, 1)[None] / 127.5 - 1 for x in (one, two))
    assert abs(inpaint.similarity(*tensors).mean().item() - ssim(one, two)) < 1e-4


def test_a_shipped_log_is_short_and_has_the_end(tmp_path):
    log = tmp_path / "log.jsonl"
    assert subsample_log(log) == ""
    for count in (1, 200, 201, 1234):
        log.write_text("".join(f"{i}\n" for i in range(count)))
        kept = subsample_log(log).splitlines()
        assert (
            1 <= len(kept) <= 200
            and kept[-1] == str(count - 1)
            and len(set(np.diff([*map(int, kept)]))) <= 1
        )
