"""Small random OWLv2 and Grounding DINO checkpoints of the real classes, with small vocabularies,
laid out as the hub's are.
"""

import json
import string
from pathlib import Path

import torch
from transformers import (
    BertConfig,
    BertTokenizer,
    CLIPTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    Owlv2Config,
    Owlv2ForObjectDetection,
    SwinConfig,
)

SIDE = 64


def write_owl(folder: Path) -> str:
    """OWLv2 for pictures of 64 pixels, and single letters as its words; its folder."""
    torch.manual_seed(0)
    letters = [*string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase)]
    words = ["!", *letters, "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(
        vocab={word: number for number, word in enumerate(words)}, merges=[], pad_token="!"
    )
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 2}
    model = Owlv2ForObjectDetection(
        Owlv2Config(
            vision_config=sizes | {"image_size": SIDE, "patch_size": 16},
            text_config=sizes
            | {"vocab_size": len(words), "bos_token_id": len(words) - 2}
            | {"eos_token_id": len(words) - 1, "pad_token_id": 0, "max_position_embeddings": 32},
            projection_dim=32,
        )
    )
    for weight in model.box_head.parameters():  # the class's own start makes boxes without a side
        torch.nn.init.normal_(weight, std=0.05)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    pictures = {"size": {"height": SIDE, "width": SIDE}}
    pictures["image_mean"] = [0.48145466, 0.4578275, 0.40821073]
    pictures["image_std"] = [0.26862954, 0.26130258, 0.27577711]
    (folder / "preprocessor_config.json").write_text(json.dumps(pictures))
    return str(folder)


def write_grounding_dino(folder: Path) -> str:
    """Grounding DINO with a short side of 64 pixels; its folder."""
    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", "a", "dog", "cat", "cup"]
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(words)})
    model = GroundingDinoForObjectDetection(
        GroundingDinoConfig(
            backbone_config=SwinConfig(
                image_size=64,
                embed_dim=8,
                depths=[1, 1, 1, 1],
                num_heads=[1, 1, 2, 2],
                window_size=4,
                out_indices=[2, 3, 4],
            ).to_dict(),
            text_config=BertConfig(
                vocab_size=len(words),
                hidden_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=16,
            ).to_dict(),
            num_queries=12,
            encoder_layers=1,
            encoder_ffn_dim=16,
            encoder_attention_heads=2,
            decoder_layers=2,
            decoder_ffn_dim=16,
            decoder_attention_heads=2,
            d_model=32,
            num_feature_levels=4,
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    pictures = {"size": {"shortest_edge": 64, "longest_edge": 100}, "do_pad": True}
    pictures["image_mean"] = [0.485, 0.456, 0.406]
    pictures["image_std"] = [0.229, 0.224, 0.225]
    (folder / "preprocessor_config.json").write_text(json.dumps(pictures))
    return str(folder)
