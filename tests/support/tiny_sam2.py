"""Small random SAM 2 checkpoints of the real classes, laid out as the hub's are."""

import json
from pathlib import Path

import torch
from transformers import (
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2Model,
    Sam2VideoConfig,
    Sam2VideoModel,
    Sam2VisionConfig,
)

SIDE = 128


def write_sam2(folder: Path, *, video: bool) -> str:
    """Writes it, for pictures of 128 pixels; its folder."""
    torch.manual_seed(0)
    backbone = Sam2HieraDetConfig(
        hidden_size=8,
        num_attention_heads=1,
        image_size=[SIDE, SIDE],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 2, 4, 8],
        window_size_per_stage=[8, 4, 4, 4],
        window_positional_embedding_background_size=[4, 4],
        global_attention_blocks=[3],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone.to_dict(),
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]],
        fpn_hidden_size=128,
    )
    prompts = {"hidden_size": 128, "image_size": SIDE, "mask_input_channels": 4}
    decoder = {"hidden_size": 128, "mlp_dim": 32, "num_attention_heads": 2}
    decoder |= {"iou_head_hidden_dim": 16}
    if video:
        config = Sam2VideoConfig(
            vision_config=vision.to_dict(),
            prompt_encoder_config=prompts,
            mask_decoder_config=decoder,
            image_size=SIDE,
            memory_attention_hidden_size=128,
            memory_attention_num_layers=1,
            memory_attention_feed_forward_hidden_size=32,
            memory_attention_rope_feat_sizes=[8, 8],
            memory_encoder_hidden_size=128,
            memory_encoder_output_channels=64,
            mask_downsampler_embed_dim=128,
            memory_fuser_embed_dim=128,
            memory_fuser_intermediate_dim=32,
            num_maskmem=3,
            max_object_pointers_in_encoder=4,
        )
        model = Sam2VideoModel(config)
    else:
        model = Sam2Model(
            Sam2Config(
                vision_config=vision.to_dict(),
                prompt_encoder_config=prompts,
                mask_decoder_config=decoder,
            )
        )
    for weight in model.parameters():  # the class's own start is so small that masks come out flat
        if weight.ndim > 1:
            torch.nn.init.xavier_normal_(weight)
    model.save_pretrained(folder)
    pictures = {
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "size": {"height": SIDE, "width": SIDE},
        "resample": 2,
        "rescale_factor": 1 / 255,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(pictures))
    return str(folder)


def write_sam3_tracker(folder: Path) -> str:
    """The part of SAM 3 that takes clicks, for pictures of 112 pixels; its folder."""
    from transformers import Sam3TrackerConfig, Sam3TrackerModel, Sam3VisionConfig

    torch.manual_seed(0)
    vit = {"model_type": "sam3_vit_model", "hidden_size": 32, "intermediate_size": 32}
    vit |= {"num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 112, "patch_size": 14}
    vit |= {"window_size": 4, "global_attn_indexes": [1], "pretrain_image_size": 56}
    vision = Sam3VisionConfig(
        backbone_config=vit,
        fpn_hidden_size=64,
        backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]],
    )
    prompts = {"hidden_size": 64, "image_size": 112, "patch_size": 14, "mask_input_channels": 4}
    decoder = {"hidden_size": 64, "mlp_dim": 32, "num_attention_heads": 2}
    model = Sam3TrackerModel(
        Sam3TrackerConfig(
            vision_config=vision.to_dict(),
            prompt_encoder_config=prompts,
            mask_decoder_config=decoder | {"iou_head_hidden_dim": 16},
        )
    )
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.xavier_normal_(weight)
    model.save_pretrained(folder)
    pictures = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    pictures |= {"size": {"height": 112, "width": 112}}
    (folder / "preprocessor_config.json").write_text(json.dumps(pictures))
    return str(folder)
