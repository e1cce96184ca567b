"""A small random Segment Anything checkpoint of the real class; no trained one could be had where
this was written.
"""

from pathlib import Path

import torch
from transformers import SamConfig, SamModel, SamProcessor
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil


def write_sam(folder: Path) -> str:
    """Writes it, for pictures of 64 pixels, as the hub's are laid out; its folder."""
    torch.manual_seed(0)
    grid = {"image_size": 64, "patch_size": 8}
    model = SamModel(
        SamConfig(
            vision_config=grid
            | {
                "hidden_size": 16,
                "output_channels": 16,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
            }
            | {"mlp_dim": 32, "global_attn_indexes": [1], "window_size": 4, "num_pos_feats": 8},
            prompt_encoder_config=grid
            | {"hidden_size": 16, "image_embedding_size": 8, "mask_input_channels": 4},
            mask_decoder_config={"hidden_size": 16, "mlp_dim": 32, "num_hidden_layers": 2}
            | {"num_attention_heads": 2, "iou_head_hidden_dim": 16},
        )
    )
    for weight in model.parameters():  # the class's own start is so small that masks come out flat
        if weight.ndim > 1:
            torch.nn.init.xavier_normal_(weight)
    size = {"height": 64, "width": 64}
    low = {"height": 16, "width": 16}
    pictures = SamImageProcessorPil(
        size={"longest_edge": 64}, pad_size=size, mask_size={"longest_edge": 16}, mask_pad_size=low
    )
    model.save_pretrained(folder)
    SamProcessor(pictures).save_pretrained(folder)
    return str(folder)
