"""Segment Anything from checkpoints of transformers: the masks are the classes' own, pictures are
prepared as their processors do, and the memory of a video model is bounded without a difference.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import Sam2Model, Sam2VideoModel, Sam3TrackerModel, SamModel, SamProcessor
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from raydepth.errors import JobError
from raydepth.layers.things.hub_sam import HubSam, VideoSam
from raydepth.layers.things.protocol import Picture, Prompt, SegmenterHost, VideoSegmenter
from raydepth.layers.things.registry import load_segmenter
from raydepth.layers.things.sam_geometry import overlap
from raydepth.layers.things.settings import SamSegmenter
from tests.support.tiny_sam import write_sam
from tests.support.tiny_sam2 import SIDE, write_sam2, write_sam3_tracker

POINT, BOX = [50.0, 40.0], [20.0, 20.0, 120.0, 70.0]
CLICK = Prompt(np.float32([POINT]), np.int64([1]))
BOXED = Prompt(np.float32([POINT]), np.int64([1]), np.float32(BOX))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {
        "sam": write_sam(tmp_path_factory.mktemp("sam")),
        "sam2": write_sam2(tmp_path_factory.mktemp("sam2"), video=False),
        "sam2_video": write_sam2(tmp_path_factory.mktemp("sam2_video"), video=True),
        "sam3_tracker": write_sam3_tracker(tmp_path_factory.mktemp("sam3_tracker")),
    }


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 255, (9, 16, 3), dtype=np.uint8)
    return np.kron(noise, np.ones((10, 10, 1), np.uint8))


def load(name: str, **more: object) -> HubSam:
    settings = SamSegmenter.model_validate({"method": "sam", "model": name} | more)
    segmenter = load_segmenter(settings, SegmenterHost())
    assert isinstance(segmenter, HubSam)
    return segmenter


def picture(rgb: np.ndarray) -> Picture:
    return Picture(rgb, lambda: np.zeros(rgb.shape[:2], np.float32))


def test_sam_equals_its_own_class_and_processor(folders: dict[str, str], rgb: np.ndarray):
    ours = load(folders["sam"])
    model, processor = SamModel.from_pretrained(folders["sam"]), None
    processor = SamProcessor.from_pretrained(folders["sam"])
    given = {"input_points": [[[POINT]]], "input_labels": [[[1]]]}
    for prompt, more, multi in ((CLICK, {}, True), (BOXED, {"input_boxes": [[BOX]]}, False)):
        inputs = processor(images=rgb, return_tensors="pt", **given, **more)
        np.testing.assert_allclose(
            ours.pixels(rgb).numpy(), inputs["pixel_values"].numpy(), atol=1.1 / 255 / 0.22
        )
        sizes = [inputs.pop(name) for name in ("original_sizes", "reshaped_input_sizes")]
        with torch.inference_mode():
            found = model(**inputs, multimask_output=multi)
        masks = processor.post_process_masks(found.pred_masks, *sizes)[0][0].numpy()
        best = int(found.iou_scores[0, 0].argmax())
        mine = ours(picture(rgb), [prompt])[0]
        assert 0.02 < mine.mask.mean() < 0.98, "a network that says nothing tests nothing"
        assert overlap(mine.mask, masks[best]) > 0.98
        expected = float(found.iou_scores[0, 0, best].clamp(0, 1))
        assert mine.score == pytest.approx(expected, abs=0.02)


def pixels(rgb: np.ndarray, side: int = SIDE, *, imagenet: bool = True) -> torch.Tensor:
    """As the processor of SAM 2 resizes and normalises (transformers, ``Sam2ImageProcessor``)."""
    planes = torch.from_numpy(rgb.transpose(2, 0, 1)[None].astype(np.float32))
    small = functional.interpolate(planes, (side, side), mode="bilinear", antialias=True) / 255
    if not imagenet:
        return (small - 0.5) / 0.5
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (small - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)


def in_square(values: list[float], side: int = SIDE) -> torch.Tensor:
    scale = torch.tensor([side / 160, side / 90]).repeat(len(values) // 2)
    return torch.tensor(values) * scale


@pytest.mark.parametrize("kind", ["sam2", "sam2_video", "sam3_tracker"])
def test_sam_2_and_3_equal_their_own_classes(folders: dict[str, str], rgb: np.ndarray, kind: str):
    ours = load(folders[kind])
    second, side = kind != "sam3_tracker", 112 if kind == "sam3_tracker" else SIDE
    model = (Sam2Model if second else Sam3TrackerModel).from_pretrained(folders[kind]).eval()
    given = {
        "input_points": in_square(POINT, side)[None, None, None],
        "input_labels": torch.ones(1, 1, 1),
    }
    given["input_labels"] = given["input_labels"].int()
    for prompt, more, multi in (
        (CLICK, {}, True),
        (BOXED, {"input_boxes": in_square(BOX, side)[None, None]}, False),
    ):
        with torch.inference_mode():
            picture_values = pixels(rgb, side, imagenet=second)
            found = model(pixel_values=picture_values, **given, **more, multimask_output=multi)
            masks = functional.interpolate(found.pred_masks[0], rgb.shape[:2], mode="bilinear")
        mine = ours(picture(rgb), [prompt])[0]
        best = int(found.iou_scores[0, 0].argmax())
        assert 0.02 < mine.mask.mean() < 0.98
        assert overlap(mine.mask, masks[0, best].numpy() > 0) > 0.999
        assert mine.score == pytest.approx(
            float(found.iou_scores[0, 0, best].clamp(0, 1)), abs=1e-4
        )


def test_how_often_a_model_is_asked(folders: dict[str, str]):
    assert load(folders["sam"]).every == load(folders["sam2"]).every == 4
    assert load(folders["sam2_video"]).every == 1
    assert load(folders["sam2_video"], every=3).every == 3
    assert isinstance(load(folders["sam2_video"]), VideoSegmenter)
    assert not isinstance(load(folders["sam2"]), VideoSegmenter)


def test_following_equals_a_session_that_keeps_everything(folders: dict[str, str], rgb: np.ndarray):
    clip = [np.roll(rgb, 3 * shift, axis=1) for shift in range(8)]
    ours = load(folders["sam2_video"])
    assert isinstance(ours, VideoSam)
    follower = ours.start(picture(clip[0]), [CLICK, BOXED])
    found = [follower.found, *(follower.step(picture(frame)) for frame in clip[1:])]
    model = Sam2VideoModel.from_pretrained(folders["sam2_video"]).eval()
    session = Sam2VideoInferenceSession(video_height=90, video_width=160, dtype=torch.float32)
    corners = in_square(BOX).reshape(2, 2)
    at = in_square(POINT)[None]
    for thing, points, labels in ((0, at, [1]), (1, torch.cat([corners, at]), [2, 3, 1])):
        session.add_point_inputs(
            session.obj_id_to_idx(thing),
            0,
            {
                "point_coords": points[None, None],
                "point_labels": torch.tensor([[labels]], dtype=torch.int32),
            },
        )
    session.obj_with_new_inputs = [0, 1]
    for index, frame in enumerate(clip):
        said = model(inference_session=session, frame=pixels(frame)[0], frame_idx=index)
        masks = functional.interpolate(said.pred_masks, rgb.shape[:2], mode="bilinear")[:, 0] > 0
        for mine, theirs in zip(found[index], masks.numpy(), strict=True):
            assert overlap(mine.mask, theirs) > 0.995
            assert 0 <= mine.score <= 1
    assert any(one.mask.any() for one in found[-1])
    kept = follower.session.output_dict_per_obj[0]
    assert len(session.output_dict_per_obj[0]["non_cond_frame_outputs"]) == 7
    assert len(kept["non_cond_frame_outputs"]) == 4 and not follower.session.processed_frames
    assert not any("high_res_masks" in one for kind in kept.values() for one in kind.values())
    assert sum("maskmem_features" in one for one in kept["non_cond_frame_outputs"].values()) == 3
    follower.stop()
    assert not follower.session.output_dict_per_obj


def test_a_mask_can_begin_a_track(folders: dict[str, str], rgb: np.ndarray):
    mask = np.zeros(rgb.shape[:2], bool)
    mask[20:70, 30:110] = True
    ours = load(folders["sam2_video"])
    assert isinstance(ours, VideoSam)
    assert overlap(ours.start(picture(rgb), [Prompt(mask=mask)]).found[0].mask, mask) > 0.95
    alone, boxed = ours(
        picture(rgb), [Prompt(mask=mask), Prompt(mask=mask, box=np.float32([30, 20, 110, 70]))]
    )
    assert (alone.mask == boxed.mask).all(), "a mask alone is asked for with the box around it"


def test_wrong_checkpoints_are_refused(folders: dict[str, str], tmp_path: Path):
    from safetensors.torch import load_file, save_file

    half = tmp_path / "half"
    shutil.copytree(folders["sam2"], half)
    weights = load_file(half / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "mask_decoder" not in name}
    save_file(kept, half / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(JobError, match=r"layers\.segmenter\.model: .* lacks \d+ of its weights"):
        load(str(half))
    config = json.loads((half / "config.json").read_text())
    (half / "config.json").write_text(json.dumps({"model_type": "dpt"}))
    with pytest.raises(JobError, match=r"type 'dpt'; expected one that finds things from clicks"):
        load(str(half))
    (half / "config.json").write_text(json.dumps(config))
    (half / "model.safetensors").rename(half / "pytorch_model.bin")
    with pytest.raises(JobError, match=r"layers\.segmenter\.model: .* cannot be loaded"):
        load(str(half))
