"""Small models of the real classes with random weights, and pictures, masks and plans to run them
on.
"""

import json

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DDIMScheduler, UNet2DConditionModel

from raydepth.compose.registry import COMPOSITORS, parse_compose
from raydepth.diffusion.codec import Codec
from raydepth.diffusion.load import Models
from raydepth.diffusion.sampler import Condition
from raydepth.edits.plan import EditPlan
from raydepth.layers.stack import Layer, LayerStack


def _unet(**changes):
    torch.manual_seed(0)
    settings = {
        "sample_size": 16, "in_channels": 4, "out_channels": 4, "layers_per_block": 1, "block_out_channels": (16, 32),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 8, "attention_head_dim": 2, "norm_num_groups": 4,
    }  # fmt: skip
    unet = UNet2DConditionModel(**settings | changes).eval().requires_grad_(False)
    for name, module in unet.named_modules():
        if name.endswith("attn1"):  # untrained attention is nearly uniform and says little
            for layer in (module.to_q, module.to_k, module.to_v, module.to_out[0]):
                layer.weight.mul_(4)
    return unet


def _vae(name):
    torch.manual_seed(1)
    if name == "AutoencoderTiny":
        vae = AutoencoderTiny(
            encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8),
            num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1),
        )  # fmt: skip
    else:
        vae = AutoencoderKL(
            block_out_channels=(8, 16), norm_num_groups=4, scaling_factor=0.7, shift_factor=0.1,
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        )  # fmt: skip
    return vae.eval().requires_grad_(False)


def _scheduler(prediction_type="epsilon"):
    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1, prediction_type=prediction_type,
    )  # fmt: skip


@pytest.fixture(scope="session")
def make_unet():
    return _unet


@pytest.fixture
def make_models():
    """Models(unet, codec, scheduler config, condition) made anew, so that tests may change them."""

    def make(vae="AutoencoderTiny", prediction_type="epsilon", **unet):
        torch.manual_seed(2)
        condition = Condition(prompt=torch.randn(1, 3, 8), negative=torch.randn(1, 3, 8))
        config = dict(_scheduler(prediction_type).config)
        return Models(_unet(**unet), Codec(_vae(vae)), config, condition)

    return make


@pytest.fixture
def make_compose():
    """A compose section without blending and paste-back; ``inject`` as keywords."""

    def make(inject=None, **settings):
        plain = {
            "steps": 4,
            "strength": 0.75,
            "blend": False,
            "paste_back": False,
            "inject": inject or {},
        }
        entry = COMPOSITORS[settings.get("method", COMPOSITORS.default)]
        known = {key: value for key, value in plain.items() if key in entry.settings.model_fields}
        return parse_compose(known | settings)

    return make


@pytest.fixture
def make_plan():
    """A plan of soft discs over a far picture, and the frames: (plan, source uint8 [N,H,W,3], seeds
    int64 [N]).
    """

    def make(frames=2, height=32, width=48, planes=1, soft=False, seed=0):
        rng = np.random.default_rng(seed)
        source = rng.integers(0, 256, (frames, height, width, 3), np.uint8)
        rows, columns = np.mgrid[:height, :width]
        layers = []
        for k in range(planes):
            centre = rng.uniform(0.3, 0.7, (frames, 2)) * (height, width)
            distance = np.hypot(rows - centre[:, :1, None], columns - centre[:, 1:, None])
            alpha = np.clip((height / (4 + 2 * (planes - k)) - distance) / 6 + 0.5, 0, 1)
            alpha = (alpha if soft else alpha > 0.5).astype(np.float32)
            layers.append(Layer(f"near{k}", source, alpha, np.full(alpha.shape, 0.9, np.float32)))
        far = rng.integers(0, 256, source.shape, np.uint8)
        opaque = np.ones(source.shape[:3], np.float32)
        layers.append(Layer("far", far, opaque, 0.1 * opaque))
        region = (sum(layer.alpha for layer in layers[:-1]) > 0).astype(np.float32)
        return EditPlan(LayerStack(layers), region), source, np.arange(frames, dtype=np.int64) + 7

    return make


@pytest.fixture
def save_pipeline(tmp_path):
    """Writes a pipeline directory as the hub's are: unet/, vae/, scheduler/ and, if asked, a tiny
    CLIP with tokenizer.
    """

    def save(vae="AutoencoderKL", text=False, **unet):
        _unet(**unet).save_pretrained(tmp_path / "unet")
        _vae(vae).save_pretrained(tmp_path / "vae")
        _scheduler().save_pretrained(tmp_path / "scheduler")
        if text:
            from transformers import CLIPTextConfig, CLIPTextModel

            letters = [
                letter + end for end in ("", "</w>") for letter in "abcdefghijklmnopqrstuvwxyz"
            ]
            vocabulary = {
                token: i for i, token in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])
            }
            (tmp_path / "tokenizer").mkdir()
            (tmp_path / "tokenizer" / "vocab.json").write_text(json.dumps(vocabulary))
            (tmp_path / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
            (tmp_path / "tokenizer" / "tokenizer_config.json").write_text(
                json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 16})
            )
            torch.manual_seed(3)
            config = CLIPTextConfig(
                vocab_size=len(vocabulary), hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
                max_position_embeddings=16, bos_token_id=52, eos_token_id=53, pad_token_id=53,
            )  # fmt: skip
            CLIPTextModel(config).save_pretrained(tmp_path / "text_encoder")
        return tmp_path

    return save
