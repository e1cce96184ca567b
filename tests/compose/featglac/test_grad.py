"""Gradient guidance: the sets and the loss, the gradient itself, independence of frames, lanes as
the cost table has them.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from raydepth.compose.featglac.features import block_weights, cell_weights, energy, tapped
from raydepth.compose.featglac.grad import FeatGLaCGrad, paste_layers
from raydepth.compose.featglac.recipes import lanes, resolve
from raydepth.compose.featglac.settings import Grad
from raydepth.compose.registry import count_evaluations, load_compositor
from raydepth.diffusion.lane_count import counted_lanes
from raydepth.errors import JobError
from raydepth.models import builtin

THREE_LEVELS = {
    "block_out_channels": (8, 8, 16),
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
}
QUICK = {"steps": 4, "step_size": 2e-4, "guidance": 1.5}
"""Gentle, since rounding errors grow with guidance and step size; the published step is for 4096
cells, these have 96."""


SMALLEST = {"block_out_channels": (8, 8), "norm_num_groups": 4}


def calm(models):
    """Undoes the sharpened attention of make_models: gradients of it amplify rounding errors to
    different pictures.
    """
    for name, module in models.unet.named_modules():
        if name.endswith("attn1"):
            for layer in (module.to_q, module.to_k, module.to_v, module.to_out[0]):
                layer.weight.div_(4)
    return models


@pytest.fixture
def make_grad(make_models, make_compose):
    def make(grad, models=None, **settings):
        models = models or calm(make_models(prediction_type="v_prediction", **THREE_LEVELS))
        return FeatGLaCGrad(models, make_compose(method="featglac-grad", grad=grad, **settings))

    return make


# The sets and the loss.


def test_near_cells_weigh_by_coverage_and_far_cells_show_no_near_pixel():
    seen = torch.zeros(2, 1, 16, 24)
    seen[0, 0, 0, 0:13] = 1  # 8 pixels of cell (0, 0), 5 of cell (0, 1)
    seen[0, 0, 9, 3] = 1  # 1 pixel of cell (1, 0)
    seen[1] = 1 - seen[0]
    near, far = cell_weights(seen, (2, 3), far=True)[:, 0]
    assert torch.allclose(near, torch.tensor([[8, 5, 0], [1, 0, 0]]) / 14)
    assert torch.allclose(far, torch.tensor([[0, 0, 1], [0, 1, 1]]) / 3)
    assert not cell_weights(seen, (2, 3), far=False)[1].any()
    pixels = seen[0, 0].nonzero() // 8  # the definition: a list of cells with duplicates
    values = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    assert torch.isclose((near * values).sum(), values[pixels[:, 0], pixels[:, 1]].mean())


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_empty_set_has_no_term(value):
    seen = torch.full((2, 1, 16, 16), value)
    seen[1] = 1 - value
    cells = cell_weights(seen, (2, 2), far=True)
    assert cells.sum((2, 3)).flatten().tolist() == [value, 1 - value]
    features = {0: torch.randn(1, 3, 2, 2)}, {0: torch.randn(2, 3, 2, 2)}
    assert energy(*features, torch.tensor([[0], [1]]), cells, {0: 1.0}, 0).isfinite().all()


def test_the_loss_is_the_formula(make_unet):
    generator = torch.Generator().manual_seed(0)
    shapes = {1: (6, 4, 4), 2: (5, 8, 8), 3: (4, 8, 8)}
    mine = {block: torch.randn(1, *shape, generator=generator) for block, shape in shapes.items()}
    layers = {block: torch.randn(2, *shape, generator=generator) for block, shape in shapes.items()}
    seen = (torch.rand(1, 1, 64, 64, generator=generator) > 0.99).float()
    seen = torch.cat([seen, 1 - seen])
    unet = make_unet(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownBlock2D",) * 4,
        up_block_types=("UpBlock2D",) * 4,
    )
    assert block_weights(unet) == {2: 0.2, 3: 8.5}  # w = [0, 0.2, 8.5] on l = 1, 2, 3
    assert block_weights(make_unet()) == {0: 0.2, 1: 8.5}
    for k, g in enumerate([3.5, 1.25, 2.5, 2.5, 1.5, 1.5]):
        expected = 0.0
        for block, w in {1: 0.0, 2: 0.2, 3: 8.5}.items():
            a, near, far = (
                F.interpolate(x, (8, 8), mode="bilinear")
                for x in (mine[block], *layers[block].split(1))
            )
            listed = seen[0, 0].nonzero() // 8
            left = (F.max_pool2d(seen[0], 8)[0] == 0).nonzero()
            for cells, reference in ((listed, near), (left, far)):
                distance = (a - reference)[0][:, cells[:, 0], cells[:, 1]].abs()
                expected += 45 * g * w * distance.mean(1).mean()
        found = energy(
            mine,
            layers,
            torch.tensor([[0], [1]]),
            cell_weights(seen, (8, 8), far=True),
            block_weights(unet),
            k,
        )
        assert torch.allclose(found, expected, rtol=5e-3)  # up to the rounded tip of |x|


# The gradient.


def scene_of(compositor, make_plan, **plan):
    """What one guided step sees: (taps, latents, t, text, features, rows, cells) of a frame."""
    models, (asked, source, _) = compositor.models, make_plan(**plan)
    pictures = np.concatenate([source, asked.stack.layers[-1].rgb])
    clean = models.codec.encode(pictures).clone().to(models.unet.dtype)
    frames = len(source)
    rows = torch.arange(2 * frames).reshape(2, frames)
    cells = cell_weights(torch.from_numpy(asked.stack.weights()), clean.shape[2:], far=True).to(
        clean.dtype
    )
    t = torch.tensor(500)
    text = compositor.condition.prompt.to(clean.dtype)
    with tapped(models.unet, list(compositor.weights)) as taps, torch.no_grad():
        compositor.predict(clean, t, text.expand(len(clean), -1, -1))
        features = taps.rows(0)
    start = torch.randn(clean[:frames].shape, generator=torch.Generator().manual_seed(3)).to(
        clean.dtype
    )
    return start, t, text.expand(frames, -1, -1), features, rows, cells


def test_the_gradient_is_that_of_finite_differences(make_grad, make_plan):
    compositor = make_grad({"recipe": "lite"})
    start, t, text, features, rows, cells = scene_of(compositor, make_plan, frames=1)
    models = compositor.models
    models.unet.double()
    features = {block: feature.double() for block, feature in features.items()}
    start, text, cells = start.double(), text.double(), cells.double()
    with tapped(models.unet, list(compositor.weights)) as taps:

        def loss_at(z):
            return compositor.gradient(taps, z, t, text, features, rows, cells, 1)[0].item()

        _, gradient = compositor.gradient(taps, start, t, text, features, rows, cells, 1)
        assert gradient.dtype == torch.float64
        for seed in range(4):
            along = torch.randn(start.shape, generator=torch.Generator().manual_seed(seed)).double()
            step = 1e-6
            numeric = (loss_at(start + step * along) - loss_at(start - step * along)) / (2 * step)
            assert numeric == pytest.approx((gradient * along).sum().item(), rel=1e-4, abs=1e-4)


def test_the_gradient_is_the_same_with_checkpointing_and_weights_stay_frozen(make_grad, make_plan):
    plain = make_grad({"recipe": "lite"})
    scene = scene_of(plain, make_plan)
    results = []
    for checkpointing in (False, True):
        compositor = make_grad({"recipe": "lite", "checkpointing": checkpointing})
        with tapped(compositor.models.unet, list(compositor.weights)) as taps:
            results.append(compositor.gradient(taps, *scene, 0))
        assert all(parameter.grad is None for parameter in compositor.models.unet.parameters())
    assert torch.equal(results[0][0], results[1][0])
    assert torch.allclose(results[0][1], results[1][1], atol=1e-6)


def test_plain_gradient_steps_lower_j(make_grad, make_plan):
    compositor = make_grad({"recipe": "lite"})
    start, *rest = scene_of(compositor, make_plan)
    with tapped(compositor.models.unet, list(compositor.weights)) as taps:
        losses = []
        for _ in range(5):
            loss, gradient = compositor.gradient(taps, start, *rest, 0)
            losses.append(loss)
            start = start - 1e-3 * gradient
    falls = torch.stack(losses).diff(dim=0)
    assert (falls < 0).all()


# Whole compositions.


@pytest.mark.parametrize(
    ("recipe", "references"),
    [("composition", "nulltext"), ("insertion", "invert"), ("lite", "renoise")],
)
def test_batch_equals_singles_and_permutes(make_grad, make_plan, recipe, references):
    compositor = make_grad({"recipe": recipe, "references": references, **QUICK})
    if references == "nulltext":  # Adam makes more of the last bits, which depend on the batch
        compositor.models.unet.double()
    plan, source, seeds = make_plan(frames=3, planes=2, soft=True)
    together = compositor.generate(plan, source, seeds)
    assert together.shape == (3, 3, 32, 48) and not together.requires_grad
    row = np.array([1])
    alone = compositor.generate(plan.take(row), source[row], seeds[row])
    assert torch.allclose(together[row], alone, atol=1e-5)
    order = np.array([2, 0, 1])
    permuted = compositor.generate(plan.take(order), source[order], seeds[order])
    assert torch.allclose(permuted, together[order], atol=1e-5)


def test_guidance_lowers_j_in_a_whole_composition(make_grad, make_plan):
    scene, energies = make_plan(), []
    for step_size in (1e-12, 2e-3):
        compositor = make_grad(
            {"recipe": "lite", "references": "invert", "steps": 8, "step_size": step_size}
        )
        compositor.generate(*scene)
        energies.append(compositor.energies[:6])  # the guided steps
    free, steered = energies
    assert torch.allclose(free[0], steered[0], rtol=1e-4) and (steered[1:] < free[1:]).all()


def test_without_gradient_steps_it_is_the_far_picture(make_grad, make_plan):
    """Inverted noise of the last layer, sampled under its null embeddings: nothing but that layer."""
    scene, errors = make_plan(frames=1, height=16, width=16), {}
    for references, guidance in (("invert", 1.0), ("invert", 7.5), ("nulltext", 7.5)):
        grad = {
            "references": references,
            "guidance": guidance,
            "steps": 20,
            "window": [19, 19],
            "step_size": 1e-12,
        }
        compositor = make_grad(grad)
        codec = compositor.models.codec
        wrong = compositor.generate(*scene) - codec.decode(
            codec.encode(scene[0].stack.layers[-1].rgb)
        )
        errors[references, guidance] = wrong.square().mean().sqrt()
    plain, astray, optimised = errors.values()
    assert plain < 0.03 and optimised < 0.5 * astray


@pytest.mark.parametrize("recipe", ["composition", "insertion", "lite"])
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_empty_and_full_layers_are_finite_and_odd_sizes_come_back(
    make_grad, make_plan, recipe, alpha
):
    compositor = make_grad({"recipe": recipe, "references": "renoise", **QUICK}, paste_back=True)
    plan, source, seeds = make_plan(height=37, width=51)
    plan.stack.layers[0].alpha[:] = alpha
    edited = compositor(plan, source, seeds)
    assert edited.shape == source.shape and edited.dtype == np.uint8
    assert compositor.notes == ["", ""] and not compositor.failed.any()


@pytest.mark.skipif(
    not (builtin.path("diffusion") / "unet").is_dir(), reason="the built-in model is not here"
)
def test_guidance_lowers_j_on_the_builtin_model(make_compose, make_plan):
    scene, energies = make_plan(frames=1, height=48, width=64), []
    for step_size in (1e-12, 5e-3):
        grad = {"recipe": "lite", "steps": 10, "strength": 0.6, "step_size": step_size}
        compositor = load_compositor(
            make_compose(method="featglac-grad", model="builtin", grad=grad),
            device="cpu",
            dtype="float32",
        )
        compositor(*scene)
        energies.append(compositor.energies[:4])  # the guided steps
    assert (energies[1][1:] < energies[0][1:]).all()


def test_pasting_takes_whole_cells():
    latents, layers = torch.zeros(1, 1, 2, 2), torch.arange(8.0).reshape(2, 1, 2, 2) + 1
    seen = torch.zeros(2, 1, 16, 16)
    seen[0, 0, :, :12] = 1  # all of the left cells, half of the right ones
    seen[0, 0, 0, 12] = 1  # and a pixel more of one
    seen[1] = 1 - seen[0]
    pasted = paste_layers(latents, layers, torch.tensor([[0], [1]]), seen)
    assert pasted.flatten().tolist() == [1, 2, 3, 3 + 1 if seen[0, 0, 8:, 8:].mean() >= 0.5 else 0]


def test_non_finite_gradients_are_left_out_and_told(make_grad, make_plan):
    compositor = make_grad({"recipe": "lite", **QUICK})
    plain = compositor.gradient

    def broken(*arguments):
        loss, gradient = plain(*arguments)
        gradient[1, 0, 0, 0] = torch.nan
        return loss, gradient

    scene = make_plan()
    expected = compositor(*scene)
    compositor.gradient = broken
    edited = compositor(*scene)
    assert np.array_equal(edited[0], expected[0]) and not compositor.failed.any()
    assert compositor.notes == ["", "6 of 6 guidance steps skipped, their gradient was not finite"]


def test_a_picture_that_stays_non_finite_is_failed(make_grad, make_plan):
    compositor = make_grad({"recipe": "lite", **QUICK})
    compositor.models.unet.conv_out.bias.fill_(torch.inf)
    compositor(*make_plan())
    assert compositor.failed.all()


# Cost.


@pytest.mark.parametrize(
    ("grad", "forward", "backward"),
    [
        ({"recipe": "composition"}, 1490, 690),  # method.md, section 5
        ({"recipe": "composition", "references": "invert"}, 390, 190),
        ({"recipe": "lite"}, 90, 30),
        ({"recipe": "insertion", "references": "invert", "steps": 10}, 20 + 12 + 20, 12),
    ],
)
def test_lanes_are_those_of_the_cost_table(
    make_models, make_compose, make_plan, monkeypatch, grad, forward, backward
):
    monkeypatch.setattr("raydepth.compose.featglac.references.EARLY_STOP", (0.0, 0.0))
    models = make_models(**SMALLEST)
    compose = make_compose(method="featglac-grad", grad=grad)
    compositor = FeatGLaCGrad(models, compose)
    with counted_lanes(models.unet) as count:
        compositor.generate(*make_plan(frames=1, height=16, width=16))
    assert (count.forward, count.backward) == (forward, backward) == lanes(resolve(compose.grad), 2)
    assert count_evaluations(compose, 2, frames=3) == 3 * (forward + backward)


def test_recipes_are_the_published_numbers_and_scale_with_the_steps():
    composition, insertion = resolve(Grad()), resolve(Grad(recipe="insertion"))
    assert (composition.window, composition.paste) == (range(0, 38), None)
    assert (insertion.window, insertion.paste) == (range(31, 48), 30)
    short = resolve(Grad(recipe="insertion", steps=20, strength=0.5))
    assert (short.run, short.window, short.paste) == (10, range(6, 10), 6)
    assert resolve(Grad(recipe="lite", window=[2, 90])).window == range(2, 20)
    with pytest.raises(
        JobError, match=r"compose\.grad\.window: got \[20, 30\], but the steps that run are 0 to 19"
    ):
        resolve(Grad(recipe="lite", window=[20, 30]))
