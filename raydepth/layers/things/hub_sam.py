"""Segment Anything from checkpoints of transformers: SAM, SAM 2, and SAM 2 with memory."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import transformers
from torch.nn import functional

from raydepth.depth.preprocess import read_preprocessing
from raydepth.layers.things.kinds import CLICKED, class_name
from raydepth.layers.things.protocol import Follower, Found, Picture, Prompt, SegmenterHost
from raydepth.layers.things.sam_geometry import Square, choose, completed, is_ambiguous
from raydepth.models.pretrained import load_pretrained

_IMAGENET = {"image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225)}


def load_checkpoint(
    name: str, host: SegmenterHost, *, every: int | None, image_every: int, field: str
) -> "HubSam":
    """The checkpoint of a hub id or a directory.

    Args:
        name: hub id or directory.
        host: device and dtype.
        every: the job's; None: 1 for a model with memory, else ``image_every``.
        image_every: default of models without memory.
        field: the job's field that names it, for messages.

    Raises:
        JobError: it cannot be had, lacks weights, or is no Segment Anything model.
    """
    model, file = load_pretrained(
        lambda config: getattr(transformers, class_name(config(), CLICKED, field, name)),
        name,
        field=field,
        name=name,
        what="a Segment Anything checkpoint of transformers",
        dtype=getattr(torch, host.dtype),
    )
    model.to(host.device)
    if model.config.model_type == "sam2_video":
        return VideoSam(name, model, file, every or 1)
    return HubSam(name, model, file, every or image_every)


class HubSam:
    """A Segment Anything network on single pictures.

    Pictures are prepared in torch by the numbers of the checkpoint's preprocessor file, and masks
    brought to the picture's size as its processor does. Where float16 overflows, the picture is
    done again in float32.

    Attributes:
        name: the model as the job names it.
        every: frames from one call to the next.
    """

    def __init__(self, name: str, model: Any, file: dict[str, Any], every: int) -> None:
        """Takes a loaded network and its parsed preprocessor file."""
        self.name, self.every, self.model = name, every, model
        self.device, self.dtype = model.device, model.dtype
        self.side = int(model.config.prompt_encoder_config.image_size)
        self.padded = model.config.model_type == "sam"
        self.low = 4 * self.side // int(model.config.prompt_encoder_config.patch_size)
        self.preprocessing = read_preprocessing(_IMAGENET | file)

    @torch.inference_mode()
    def __call__(self, picture: Picture, prompts: Sequence[Prompt]) -> list[Found]:
        """As ``Segmenter``; the picture is encoded once for all prompts."""
        if not prompts:
            return []
        found = self._find(picture.rgb, prompts)
        if self.dtype == torch.float16 and not all(np.isfinite(one.score) for one in found):
            self.model.float()
            found = self._find(picture.rgb, prompts)
            self.model.to(self.dtype)
        return found

    def square(self, rgb: np.ndarray) -> Square:
        """How a picture uint8 [H,W,3] lies in the network's input."""
        return Square(rgb.shape[0], rgb.shape[1], self.side, self.padded)

    def pixels(self, rgb: np.ndarray) -> torch.Tensor:
        """A picture uint8 [H,W,3] as the network's input [1,3,side,side]."""
        size = self.square(rgb).size
        fitted = replace(
            self.preprocessing, size=size, short_side=None, keep_aspect_ratio=False
        ).apply(torch.tensor(rgb[None], device=self.device))
        rest = (0, self.side - size[1], 0, self.side - size[0])
        return functional.pad(fitted, rest).to(self.model.dtype)

    def _find(self, rgb: np.ndarray, prompts: Sequence[Prompt]) -> list[Found]:
        embeddings = self.model.get_image_embeddings(self.pixels(rgb))
        return [self._answer(embeddings, completed(one), self.square(rgb)) for one in prompts]

    def _answer(self, embeddings: Any, prompt: Prompt, square: Square) -> Found:
        sparse, dense = self.model.prompt_encoder(**self._tensors(prompt, square))
        levels = embeddings if isinstance(embeddings, list) else [embeddings]
        finer = {"high_resolution_features": levels[:-1]} if len(levels) > 1 else {}
        logits, scores, *_ = self.model.mask_decoder(
            image_embeddings=levels[-1],
            image_positional_embeddings=self.model.get_image_wide_positional_embeddings(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=is_ambiguous(prompt),
            **finer,
        )
        masks = [square.scores(one) > 0 for one in logits[0, 0].float().cpu().numpy()]
        trust = scores[0, 0].float().cpu().numpy()
        best = choose(masks, trust, prompt.mask)
        return Found(masks[best], float(np.clip(trust[best], 0, 1)))

    def _tensors(self, prompt: Prompt, square: Square) -> dict[str, torch.Tensor | None]:
        """What the prompt encoder takes: points [1,1,P,2] and box [1,1,4] in the square."""
        points = labels = boxes = masks = None
        if len(prompt.points):
            at = square.coordinates(prompt.points)
            points = torch.tensor(at, device=self.device)[None, None]
            labels = torch.tensor(prompt.labels, device=self.device)[None, None]
        if prompt.box is not None:
            corners = square.coordinates(np.reshape(prompt.box, (2, 2)))
            boxes = torch.tensor(corners.reshape(1, 1, 4), device=self.device)
        if prompt.mask is not None:
            expected = square.logits(prompt.mask, self.low)
            masks = torch.tensor(expected, device=self.device, dtype=self.model.dtype)[None, None]
        return {
            "input_points": points,
            "input_labels": labels,
            "input_boxes": boxes,
            "input_masks": masks,
        }


class VideoSam(HubSam):
    """SAM 2 with its memory of earlier pictures; a Segmenter of single pictures, too."""

    def start(self, picture: Picture, prompts: Sequence[Prompt]) -> Follower:
        """Begins with things in one picture; pictures then come in order, or all in reverse."""
        return _Follower(self, picture, prompts)


class _Follower:
    """A streaming session of ``Sam2VideoModel`` that keeps only what its memory attention reads.

    That is the first picture, the mask memories of ``num_maskmem`` pictures and the object pointers
    of ``max_object_pointers_in_encoder`` (SAM 2, section 4). Session attributes are pruned by hand,
    as the class itself keeps all pictures and masks.
    """

    def __init__(self, sam: VideoSam, picture: Picture, prompts: Sequence[Prompt]) -> None:
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        self.sam, self.index = sam, 0
        height, width = picture.rgb.shape[:2]
        self.session = Sam2VideoInferenceSession(
            video_height=height,
            video_width=width,
            inference_device=sam.device,
            inference_state_device=sam.device,
            video_storage_device=sam.device,
            dtype=sam.dtype,
        )
        square = sam.square(picture.rgb)
        for number, prompt in enumerate(prompts):
            self._say(self.session.obj_id_to_idx(number), prompt, square)
        self.session.obj_with_new_inputs = list(range(len(prompts)))
        self.found = self.step(picture)

    def step(self, picture: Picture) -> list[Found]:
        """One mask for each thing in the next picture; empty where a thing is not in it."""
        sam, square = self.sam, self.sam.square(picture.rgb)
        with torch.inference_mode():
            said = sam.model(
                inference_session=self.session,
                frame=sam.pixels(picture.rgb)[0],
                frame_idx=self.index,
            )
            logits = said.pred_masks.float().cpu().numpy()[:, 0]
            trust = said.object_score_logits.float().sigmoid().cpu().numpy().reshape(-1)
        self._forget()
        self.index += 1
        return [
            Found(square.scores(one) > 0, float(score))
            for one, score in zip(logits, trust, strict=True)
        ]

    def stop(self) -> None:
        """Gives the memory back."""
        self.session.reset_inference_session()
        self.session.processed_frames = None

    def _say(self, thing: int, prompt: Prompt, square: Square) -> None:
        """Clicks and box as points, a box by its corners with the labels 2 and 3; else the mask."""
        device = self.sam.device
        points, labels = np.reshape(prompt.points, (-1, 2)), np.asarray(prompt.labels, np.int64)
        if prompt.box is not None:
            points = np.concatenate([np.reshape(prompt.box, (2, 2)), points])
            labels = np.concatenate([[2, 3], labels])
        if not len(points) and prompt.mask is not None:
            mask = torch.tensor(prompt.mask[None, None], dtype=torch.float32, device=device)
            size = (square.side, square.side)
            mask = functional.interpolate(mask, size, mode="bilinear", antialias=True)
            self.session.add_mask_inputs(thing, 0, (mask >= 0.5).float())
            return
        at = torch.tensor(square.coordinates(points), device=device)[None, None]
        given = {
            "point_coords": at,
            "point_labels": torch.tensor(labels, dtype=torch.int32, device=device)[None, None],
        }
        self.session.add_point_inputs(thing, 0, given)

    def _forget(self) -> None:
        config = self.sam.model.config
        self.session.processed_frames.pop(self.index)
        for thing, outputs in self.session.output_dict_per_obj.items():
            for kept in outputs.values():
                for large in ("high_res_masks", "pred_masks"):
                    kept.get(self.index, {}).pop(large, None)
            tracked = outputs["non_cond_frame_outputs"]
            for large in ("maskmem_features", "maskmem_pos_enc"):
                tracked.get(self.index - config.num_maskmem, {}).pop(large, None)
            oldest = self.index - max(config.max_object_pointers_in_encoder, config.num_maskmem)
            tracked.pop(oldest, None)
            self.session.frames_tracked_per_obj[thing].pop(oldest, None)
