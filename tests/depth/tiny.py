"""Small random checkpoints of the real classes, and ONNX files written by hand."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    BeitConfig,
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    DepthProConfig,
    DepthProForDepthEstimation,
    Dinov2Config,
    DPTConfig,
    DPTForDepthEstimation,
    GLPNConfig,
    GLPNForDepthEstimation,
    ZoeDepthConfig,
    ZoeDepthForDepthEstimation,
)

_VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
_STAGES = {"out_features": ["stage1", "stage2", "stage3", "stage4"], "reshape_hidden_states": False}
_NECK = {"neck_hidden_sizes": [8, 8, 8, 8], "fusion_hidden_size": 8}


def network(name: str) -> torch.nn.Module:
    """A random network; as in PREPROCESSORS, or zoedepth-two-heads, metric-anything, dpt-dinov2."""
    model = _untrained(name)
    generator = torch.Generator().manual_seed(7)
    for weight in model.parameters():  # the classes' own start is so small that maps come out flat
        if weight.ndim > 1:
            torch.nn.init.xavier_normal_(weight, generator=generator)
    for bias in (b for name, b in model.named_parameters() if "head" in name and b.ndim == 1):
        torch.nn.init.constant_(bias, 0.1)
    return model


def _untrained(name: str) -> torch.nn.Module:
    dinov2 = {**_VIT, "image_size": 28, "patch_size": 14}
    if name == "dpt":
        config = DPTConfig(
            **_VIT, **_NECK, image_size=32, patch_size=8, backbone_out_indices=[0, 1, 2, 3]
        )
        return DPTForDepthEstimation(config)
    if name == "dpt-dinov2":
        return DPTForDepthEstimation(
            DPTConfig(backbone_config=Dinov2Config(**dinov2, **_STAGES), **_NECK)
        )
    if name in ("depth_anything", "metric-anything"):
        kind = "metric" if name == "metric-anything" else "relative"
        return DepthAnythingForDepthEstimation(
            DepthAnythingConfig(
                backbone_config=Dinov2Config(**dinov2, **_STAGES),
                reassemble_hidden_size=16,
                **_NECK,
                head_hidden_size=8,
                depth_estimation_type=kind,
                max_depth=20,
            )
        )
    if name.startswith("zoedepth"):
        two = name == "zoedepth-two-heads"
        heads = [
            {"name": n, "n_bins": 8, "min_depth": 0.001, "max_depth": d}
            for n, d in (("nyu", 10.0), ("kitti", 80.0))
        ]
        voters = dict(
            num_patch_transformer_layers=4,
            patch_transformer_hidden_size=128,
            patch_transformer_intermediate_size=16,
            patch_transformer_num_attention_heads=2,
        )
        return ZoeDepthForDepthEstimation(
            ZoeDepthConfig(
                backbone_config=BeitConfig(
                    **_VIT, **_STAGES, image_size=32, patch_size=8, use_relative_position_bias=True
                ),
                **_NECK,
                bottleneck_features=8,
                num_relative_features=4,
                num_attractors=[4, 4, 2, 1],
                bin_embedding_dim=8,
                bin_configurations=heads if two else heads[:1],
                **(voters if two else {}),
            )
        )
    if name == "depth_pro":
        vit = {"model_type": "dinov2", **_VIT, "image_size": 32, "patch_size": 8}
        return DepthProForDepthEstimation(
            DepthProConfig(
                fusion_hidden_size=8,
                patch_size=32,
                intermediate_hook_ids=[2, 1],
                intermediate_feature_dims=[8, 8],
                scaled_images_feature_dims=[16, 16, 8],
                merge_padding_value=1,
                use_fov_model=True,
                image_model_config=dict(vit),
                patch_model_config=dict(vit),
                fov_model_config=dict(vit),
            )
        )
    return GLPNForDepthEstimation(
        GLPNConfig(
            depths=[1] * 4,
            hidden_sizes=[8, 8, 16, 16],
            num_attention_heads=[1, 1, 2, 2],
            decoder_hidden_size=8,
        )
    )


PREPROCESSORS: dict[str, dict[str, Any]] = {
    "dpt": {
        "size": {"height": 32, "width": 32},
        "resample": 3,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    },
    "depth_anything": {
        "size": {"height": 70, "width": 70},
        "keep_aspect_ratio": True,
        "ensure_multiple_of": 14,
        "resample": 3,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    },
    "zoedepth": {
        "size": {"height": 48, "width": 64},
        "keep_aspect_ratio": True,
        "ensure_multiple_of": 16,
        "do_pad": True,
    },
    "depth_pro": {"size": {"height": 128, "width": 128}, "resample": 2},
    "glpn": {"size_divisor": 32, "resample": 2, "do_rescale": True},
}
"""Preprocessor files, as the published ones but small."""


def checkpoint(folder: Path, name: str, *, file: str | None = None, **config: Any) -> str:
    """Saves a network with its preprocessor file; ``config`` entries go into its config.json."""
    network(name).save_pretrained(folder)
    preprocessor = PREPROCESSORS[file or {"zoedepth-two-heads": "zoedepth"}.get(name, name)]
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    if config:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return str(folder)


def frames(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth random frames uint8 [N,H,W,3]."""
    coarse = torch.from_numpy(
        np.random.default_rng(seed).random((count, 3, 6, 8), dtype=np.float32)
    )
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    return (smooth * 255).round().byte().permute(0, 2, 3, 1).numpy()


def batch(rgb: np.ndarray, **columns: Any) -> dict[str, np.ndarray]:
    """A column batch of frames that are all ok."""
    count = len(rgb)
    text = {
        name: np.array([value] * count, object)
        for name, value in {
            "video": "v",
            "path": "clips/v.mp4",
            "status": "ok",
            "error_type": "",
            "error_message": "",
            "note": "",
        }.items()
    }
    ids = np.array([f"v:{i}" for i in range(count)], object)
    return {
        "frame_id": ids,
        "frame_index": np.arange(count),
        "pts": np.arange(count) * 512,
        "rgb": rgb,
        **text,
        **columns,
    }


# ONNX is protobuf: (number, wire type) keys, varints, length-delimited messages. Enough for small
# models.


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def _field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _value(name: str, shape: list[int | str], element: int) -> bytes:
    dims = b"".join(_field(1, _field(1, d) if isinstance(d, int) else _field(2, d)) for d in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, element) + _field(2, dims)))


def onnx_model(
    path: Path,
    nodes: list[tuple[str, list[str], str, dict[str, int | list[int]]]],
    inputs: dict[str, list[int | str]],
    output: str,
    out_shape: list[int | str],
    *,
    element: int = 1,
    constants: dict[str, float] | None = None,
) -> str:
    """A model of nodes (operator, inputs, output, attributes); element 1 = float, 2 = uint8."""
    graph = b""
    for operator, given, result, attributes in nodes:
        node = b"".join(_field(1, name) for name in given) + _field(2, result) + _field(4, operator)
        for key, value in attributes.items():
            many = isinstance(value, list)
            body = b"".join(_field(8, v) for v in value) if many else _field(3, value)
            node += _field(5, _field(1, key) + body + _field(20, 7 if many else 2))
        graph += _field(1, node)
    graph += _field(2, "test")
    for name, number in (constants or {}).items():
        graph += _field(5, _field(2, 1) + _field(8, name) + _field(9, struct.pack("<f", number)))
    graph += b"".join(_field(11, _value(name, shape, element)) for name, shape in inputs.items())
    graph += _field(12, _value(output, out_shape, element))
    path.write_bytes(_field(1, 7) + _field(7, graph) + _field(8, _field(1, "") + _field(2, 11)))
    return str(path)


def mean_model(path: Path, shape: list[int | str], **more: Any) -> str:
    """Depth = the mean over channels."""
    out = [shape[0], 1, *shape[2:]] if len(shape) == 4 else shape
    return onnx_model(
        path,
        [("ReduceMean", ["rgb"], "depth", {"axes": [1], "keepdims": 1})],
        {"rgb": shape},
        "depth",
        out,
        **more,
    )
