"""IP-Adapter from real files: no effect at scale 0 or outside the object, and with injection."""

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor2_0, IPAdapterAttnProcessor2_0
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from raydepth.compose.featglac.ip_adapter import adapted, load_image_prompt, object_region, on_white
from raydepth.compose.featglac.kv import FeatGLaC
from raydepth.compose.featglac.settings import IPAdapter
from raydepth.compose.registry import count_evaluations, load_compositor
from raydepth.diffusion.attention import InjectProcessor
from raydepth.errors import JobError
from raydepth.job import parse_job
from raydepth.layers.stack import Layer
from raydepth.run.check import check_models


@pytest.fixture
def adapter(tmp_path):
    """A directory as the hub's are: weights with the numbering of the official files, and a CLIP
    image encoder.
    """
    torch.manual_seed(4)
    config = CLIPVisionConfig(
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=32,
        patch_size=16,
        projection_dim=6,
    )
    CLIPVisionModelWithProjection(config).save_pretrained(tmp_path / "models" / "image_encoder")
    weights = {
        "image_proj.proj.weight": torch.randn(4 * 8, 6),
        "image_proj.proj.bias": torch.randn(4 * 8),
        "image_proj.norm.weight": torch.ones(8),
        "image_proj.norm.bias": torch.zeros(8),
    }
    return tmp_path, weights


@pytest.fixture
def object_file(tmp_path):
    rgba = np.zeros((12, 20, 4), np.uint8)
    rgba[2:10, 4:18] = (200, 40, 90, 255)
    Image.fromarray(rgba).save(tmp_path / "chair.png")
    return str(tmp_path / "chair.png")


@pytest.fixture
def make_prompt(adapter, object_file):
    def make(unet, scale=0.6):
        path, weights = adapter
        names = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
        for i, name in enumerate(names):
            width = unet.get_submodule(name.removesuffix(".processor")).to_q.in_features
            for part in ("to_k_ip", "to_v_ip"):
                weights[f"ip_adapter.{2 * i + 1}.{part}.weight"] = torch.randn(width, 8)
        save_file(weights, path / "models" / "ip-adapter_tiny.safetensors")
        settings = IPAdapter(
            model=str(path),
            subfolder="models",
            weight_name="ip-adapter_tiny.safetensors",
            scale=scale,
        )
        torch.manual_seed(5)
        return load_image_prompt(settings, unet, object_file, device="cpu")

    return make


def with_object(plan):
    """The plan with its first layer as the object."""
    near = plan.stack.layers[0]
    plan.stack.layers[0] = Layer("object", near.rgb, near.alpha, near.inv_depth)
    return plan


def test_loading_leaves_the_unet_as_it_was(make_unet, make_prompt):
    unet = make_unet()
    before = unet.attn_processors
    prompt = make_prompt(unet)
    assert unet.attn_processors == before
    assert unet.encoder_hid_proj is None and unet.config.encoder_hid_dim_type is None
    assert len(prompt.processors) == 4 and prompt.tokens.shape == prompt.no_tokens.shape == (
        1,
        4,
        8,
    )
    assert (prompt.tokens - prompt.no_tokens).abs().max() > 1e-3


def test_the_object_stands_on_a_white_square():
    picture = np.zeros((2, 4, 4), np.float32)
    picture[:, :2] = (100, 0, 0, 0.5)  # half transparent, colour times alpha
    pixels = np.asarray(on_white(picture))
    assert pixels.shape == (4, 4, 3) and (pixels[[0, 3]] == 255).all()
    assert (pixels[1:3, :2] == (228, 128, 128)).all() and (pixels[1:3, 2:] == 255).all()


@pytest.mark.parametrize("guided", [False, True])
def test_outside_the_region_and_on_reference_rows_the_adapter_adds_nothing(
    make_unet, make_prompt, guided
):
    unet = make_unet()
    prompt = make_prompt(unet, scale=2.0)
    region = torch.zeros(
        2, 7 * 4, 18 * 4
    )  # a grid whose height diffusers takes for 6 when it is left to guess
    region[0, 0:9, 20:41] = 1
    rows = 4 if guided else 2
    module = unet.get_submodule(next(iter(prompt.processors)))
    hidden = torch.randn(rows + 3, 7 * 18, module.to_q.in_features)
    text = torch.randn(rows + 3, 3, 8)
    with torch.no_grad():
        plain = module(hidden, encoder_hidden_states=text)
        with adapted(unet, prompt, region, guided=guided, grids=[(7, 18)]):
            full = module(hidden, encoder_hidden_states=text)
            fewer = module(hidden[:rows], encoder_hidden_states=text[:rows])
    there = torch.nn.functional.adaptive_avg_pool2d(region, (7, 18)).flatten(1) > 0
    there = torch.cat(
        [there.repeat(2 if guided else 1, 1), torch.zeros(3, 7 * 18, dtype=torch.bool)]
    )
    assert torch.equal(full[~there], plain[~there])
    assert ((full - plain)[there].abs().amax(1) > 1e-4).all()
    assert torch.allclose(fewer, full[:rows], atol=1e-6)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("mode", ["mosaic", "concat"])
def test_scale_0_is_no_adapter_and_injection_works_beside_it(
    make_models, make_compose, make_plan, make_prompt, mode, guidance
):
    models = make_models()
    plan, source, seeds = make_plan()
    plan = with_object(plan)

    def generate(weight, scale):
        compose = make_compose(guidance=guidance, inject={"mode": mode, "weight": weight})
        prompt = None if scale is None else make_prompt(models.unet, scale)
        return FeatGLaC(models, compose, prompt).generate(plan, source, seeds)

    assert torch.equal(generate(1.0, None), generate(1.0, 0.0))
    seen = set()
    models.unet.register_forward_pre_hook(
        lambda unet, arguments: seen.update(
            type(processor) for processor in unet.attn_processors.values()
        )
    )
    both = generate(1.0, 1.0)
    assert {InjectProcessor, IPAdapterAttnProcessor2_0} <= seen
    adapter_alone, injection_alone = generate(0.0, 1.0), generate(1.0, None)
    assert min((both - other).abs().max() for other in (adapter_alone, injection_alone)) > 1e-3
    assert all(type(p) is AttnProcessor2_0 for p in models.unet.attn_processors.values())


def test_injection_of_weight_0_is_the_adapter_alone(
    make_models, make_compose, make_plan, make_prompt
):
    models = make_models()
    prompt = make_prompt(models.unet)
    plan, source, seeds = make_plan()
    plan, results, ran = with_object(plan), [], []
    models.unet.register_forward_pre_hook(lambda module, arguments: ran.append(len(arguments[0])))
    for inject in ({"weight": 0.0}, {"window": [0.5, 0.5]}):
        compose = make_compose(inject=inject)
        results.append(FeatGLaC(models, compose, prompt).generate(plan, source, seeds))
        assert sum(ran) == count_evaluations(compose, 2, frames=2)
        ran.clear()
    assert torch.equal(*results)


def test_frames_do_not_couple_and_an_edit_without_object_has_no_prompt(
    make_models, make_compose, make_plan, make_prompt
):
    models = make_models()
    compositor = FeatGLaC(models, make_compose(guidance=2.0), make_prompt(models.unet))
    plain = FeatGLaC(models, make_compose(guidance=2.0))
    plan, source, seeds = make_plan(frames=3)
    assert not object_region(plan).any()
    assert torch.equal(
        compositor.generate(plan, source, seeds), plain.generate(plan, source, seeds)
    )
    plan = with_object(plan)
    assert np.array_equal(object_region(plan), plan.stack.layers[0].alpha)
    together, row = compositor.generate(plan, source, seeds), np.array([2])
    alone = compositor.generate(plan.take(row), source[row], seeds[row])
    assert torch.allclose(together[row], alone, atol=1e-5)


def test_adapter_first_injection_last_is_asserted(make_unet, make_prompt):
    """What load_ip_adapter does to a U-Net that is already prepared must not go unnoticed."""
    unet = make_unet()
    prompt = make_prompt(unet)
    module = unet.get_submodule(next(iter(prompt.processors)))
    with adapted(unet, prompt, torch.ones(1, 8, 8), guided=False, grids=[(8, 8)]):
        unet.set_attn_processor(AttnProcessor2_0())
        with pytest.raises(RuntimeError, match="processors are gone"):
            module(
                torch.randn(1, 64, module.to_q.in_features),
                encoder_hidden_states=torch.randn(1, 3, 8),
            )


def test_wrong_adapters_are_job_errors(
    make_unet, make_prompt, make_compose, save_pipeline, object_file, tmp_path
):
    unet = make_unet()
    make_prompt(unet)
    settings = {
        "model": str(tmp_path),
        "subfolder": "models",
        "weight_name": "ip-adapter_tiny.safetensors",
    }
    for change in (
        {"model": str(tmp_path / "none")},
        {"image_encoder": "elsewhere"},
        {"weight_name": "x.safetensors"},
    ):
        with pytest.raises(JobError, match=r"compose\.ip_adapter"):
            load_image_prompt(IPAdapter(**settings | change), unet, object_file, device="cpu")
        assert all(type(p) is AttnProcessor2_0 for p in unet.attn_processors.values())
    wide = make_unet(cross_attention_dim=12)
    with pytest.raises(JobError, match="does not load into this U-Net"):
        load_image_prompt(IPAdapter(**settings), wide, object_file, device="cpu")
    job = {"schema_version": 1, "input": {"paths": ["a"]}, "output": {"path": "b"}}
    with pytest.raises(JobError, match=r"goes with edit\.kind insert"):
        parse_job(job | {"compose": {"ip_adapter": settings}})
    inserted = job | {"edit": {"kind": "insert", "object": object_file, "point": [0.5, 0.9]}}
    check_models(parse_job(inserted | {"compose": {"ip_adapter": settings}}))
    with pytest.raises(
        JobError, match=r"compose\.ip_adapter\.model: .* holds no models/x\.safetensors"
    ):
        check_models(
            parse_job(
                inserted | {"compose": {"ip_adapter": settings | {"weight_name": "x.safetensors"}}}
            )
        )
    with pytest.raises(JobError, match="unknown key of paste; featglac-kv has it"):
        parse_job(job | {"compose": {"ip_adapter": settings, "method": "paste"}})
    compose = make_compose(ip_adapter=settings, model=str(save_pipeline()))
    with pytest.raises(JobError, match="needs an object"):
        load_compositor(compose, device="cpu", dtype="float32")
    compositor = load_compositor(compose, device="cpu", dtype="float32", image_prompt=object_file)
    assert compositor.prompt is not None
