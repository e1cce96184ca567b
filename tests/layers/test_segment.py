"""Objects cut out of pictures without alpha: by a small random Segment Anything model of the real
class, and by made-up scores.
"""

import io
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import SamModel, SamProcessor

from raydepth.edits.registry import check_edit
from raydepth.edits.settings import Insert
from raydepth.errors import JobError
from raydepth.files.pictures import read_object
from raydepth.job import Job, parse_job
from raydepth.layers.segment import cut_out, extract_object, object_mask
from raydepth.layers.settings import Layers, Segmentation
from raydepth.run.check import check_models, named_models, worker_paths
from raydepth.run.submit.packing import pack
from tests.support.tiny_onnx_sam import write_pair
from tests.support.tiny_sam import write_sam

GREEN, RED = (20, 200, 40), (210, 40, 30)


@pytest.fixture(scope="module")
def sam(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_sam(tmp_path_factory.mktemp("sam"))


@pytest.fixture
def picture(tmp_path: Path) -> str:
    """A red disc on green, without alpha."""
    rgb = np.full((60, 90, 3), GREEN, np.uint8)
    cv2.circle(rgb, (45, 30), 18, RED, -1)
    Image.fromarray(rgb).save(tmp_path / "disc.png")
    return str(tmp_path / "disc.png")


def disc_scores() -> np.ndarray:
    y, x = np.mgrid[:60, :90].astype(np.float32)
    return (18.0 - np.hypot(x - 45, y - 30)).astype(np.float32)


def job(picture: str, model: str, **edit: object) -> Job:
    return parse_job(
        {
            "schema_version": 1,
            "input": {"paths": ["s3://b/a.mp4"]},
            "output": {"path": "s3://b/out"},
            "edit": {
                "kind": "insert",
                "object": picture,
                "point": [0.5, 0.9],
                "segment": {"model": model},
            }
            | edit,
        }
    )


def test_the_mask_is_the_models_own(sam: str, picture: str):
    """For a point the one that it expects to fit best, for a box the one that it gives for that."""
    rgb = np.asarray(Image.open(picture))
    model, processor = SamModel.from_pretrained(sam), SamProcessor.from_pretrained(sam)
    middle = {"input_points": [[[[45.0, 30.0]]]]}
    for prompt, inputs, several in (
        ({}, middle, True),
        ({"point": [0.2, 0.5]}, {"input_points": [[[[18.0, 30.0]]]]}, True),
        ({"box": [0.2, 0.1, 0.8, 0.9]}, {"input_boxes": [[[18.0, 6.0, 72.0, 54.0]]]}, False),
        (
            {"points": [[0.5, 0.5], [0.2, 0.5]], "labels": [1, 0]},
            {"input_points": [[[[45.0, 30.0], [18.0, 30.0]]]], "input_labels": [[[1, 0]]]},
            False,
        ),
    ):
        given = processor(images=rgb, return_tensors="pt", **inputs)
        with torch.inference_mode():
            found = model(**given, multimask_output=several)
        masks = processor.post_process_masks(
            found.pred_masks, given["original_sizes"], given["reshaped_input_sizes"]
        )[0][0]
        mask = object_mask(rgb, Segmentation(model=sam, **prompt))
        assert mask.shape == (60, 90) and mask.dtype == bool
        assert 0.02 < mask.mean() < 0.98, "an untrained model that says nothing tests nothing"
        # PIL rounds between its two passes, which moves an edge by a pixel here and there.
        assert (mask != masks[found.iou_scores[0, 0].argmax()].numpy()).mean() < 0.01


def test_an_onnx_pair_cuts_out_too(picture: str, tmp_path: Path):
    pair = write_pair(tmp_path)
    ours = job(picture, "x/y", segment={"model": pair, "points": [[0.5, 0.5]]})
    check_models(ours)
    assert [model.field for model in named_models(ours)][-2:] == [
        "edit.segment.model.encoder",
        "edit.segment.model.decoder",
    ]
    assert isinstance(ours.edit, Insert) and ours.edit.segment
    rgba = np.asarray(Image.open(io.BytesIO(cut_out(picture, ours.edit.segment))))
    disc = disc_scores() > 0
    assert ((rgba[..., 3] > 127) & disc).sum() / ((rgba[..., 3] > 127) | disc).sum() > 0.85
    assert {"encoder.onnx", "decoder.onnx"} <= {
        Path(name).name for name in pack(ours, limit_mb=5).files
    }
    with pytest.raises(JobError, match=r"edit\.segment\.model\.encoder: .*no encoder"):
        wrong = job(picture, "x/y", segment={"model": pair | {"encoder": pair["decoder"]}})
        check_models(wrong)


def test_the_largest_part_is_kept_with_a_soft_edge_and_without_the_old_background():
    rgb = np.full((60, 90, 3), GREEN, np.uint8)
    mask = disc_scores() > 0
    inside = mask.copy()
    soft = cv2.GaussianBlur(inside.astype(np.float32), (3, 3), 0.8)[..., None]
    rgb = np.rint(soft * RED + (1 - soft) * GREEN).astype(np.uint8)
    mask[5:12, 5:12] = True  # an island
    mask[28:30, 44:46] = False  # a pin-hole
    colour, alpha = extract_object(rgb, mask)
    assert (alpha[:14, :14] == 0).all() and (alpha[26:32, 42:48] == 1).all()
    assert ((alpha > 0) & (alpha < 1)).sum() > 50
    assert abs(alpha.sum() - inside.sum()) < 0.1 * inside.sum()
    seen = alpha > 0.1
    assert np.abs(colour[seen].astype(int) - RED).max() < 8, "no green is left on the edge"
    assert np.abs(rgb[seen].astype(int) - RED).max() > 80


def test_an_object_is_cut_out_the_same_every_time(sam: str, picture: str):
    segment = Segmentation(model=sam)
    png = cut_out(picture, segment)
    assert png == cut_out(picture, segment)
    rgba = np.asarray(Image.open(io.BytesIO(png)))
    assert rgba.shape == (60, 90, 4) and 0 < (rgba[..., 3] > 127).mean() < 1
    count, *_ = cv2.connectedComponentsWithStats((rgba[..., 3] > 127).astype(np.uint8))
    assert count == 2  # the object, and what is not


@pytest.mark.parametrize("value, what", [(False, "nothing"), (True, "the whole picture")])
def test_a_prompt_that_finds_no_object_is_told(
    picture: str, monkeypatch: pytest.MonkeyPatch, value: bool, what: str
):
    monkeypatch.setattr(
        "raydepth.layers.segment.object_mask", lambda rgb, how: np.full(rgb.shape[:2], value)
    )
    with pytest.raises(JobError, match=rf"edit\.segment: owner/model finds {what} in .*give point"):
        cut_out(picture, Segmentation(model="owner/model"))


def test_pictures_that_cannot_be_cut_out_or_need_not_be(picture: str, make_object):
    def check(**fields):
        check_edit(
            Insert.model_validate({"kind": "insert", "point": [0.5, 0.5]} | fields), Layers()
        )

    segment = {"model": "owner/model"}
    check(object=picture, segment=segment)
    with pytest.raises(JobError, match=r"no alpha.*set edit\.segment"):
        check(object=picture)
    with pytest.raises(JobError, match=r"edit\.segment.*leave segment out"):
        check(object=make_object(), segment=segment)
    with pytest.raises(JobError, match=r"edit\.object"):
        check(object="/none.png", segment=segment)
    opaque = Path(picture).with_name("opaque.png")
    Image.open(picture).convert("RGBA").save(opaque)  # an alpha that says nothing
    check(object=str(opaque), segment=segment)
    assert read_object(str(opaque)).shape == (60, 90, 4)


@pytest.mark.parametrize(
    "segment, message",
    [
        ({"model": "builtin"}, "Segment Anything"),
        ({"model": "u2net.onnx"}, "Segment Anything"),
        ({"model": "a/b", "point": [0.5, 0.5], "box": [0, 0, 1, 1]}, "one of them"),
        ({"model": "a/b", "box": [0.5, 0, 0.4, 1]}, "x0 < x1"),
        ({"model": "a/b", "point": [12, 40]}, "pixels are not taken"),
        ({"model": "a/b", "point": [0.5, 0.5], "points": [[0.5, 0.5]]}, "one of them"),
        ({"model": "a/b", "points": [[0.5, 0.5]], "labels": [1, 0]}, "2 entries for 1 points"),
        ({"model": "a/b", "labels": [1]}, "labels has"),
        ({"model": {"encoder": "e.onnx"}}, "decoder"),
        ({"model": "a/b", "mask": "x.png"}, "unknown key"),
    ],
)
def test_wrong_segmentations_are_refused(segment: dict, message: str):
    with pytest.raises(JobError, match=rf"edit\.segment.*{message}"):
        job("a.png", "x/y", segment=segment)


def test_the_model_is_checked_and_travels_like_all_others(sam: str, picture: str, tmp_path: Path):
    ours = job(picture, sam)
    check_models(ours)
    assert ("edit.segment.model", sam) in list(worker_paths(ours))
    assert ("edit.object", picture) in list(worker_paths(ours))
    parcel = pack(ours, limit_mb=5)
    assert isinstance(parcel.job.edit, Insert) and parcel.job.edit.segment
    inside = parcel.job.edit.segment.model
    assert {
        f"{inside}/model.safetensors",
        f"{inside}/config.json",
        f"{inside}/processor_config.json",
    } <= set(parcel.files)
    assert [model.form for model in named_models(job(picture, "facebook/sam-vit-base"))][
        -1
    ] == "hub"
    with pytest.raises(JobError, match=r"edit\.segment\.model: no directory"):
        check_models(job(picture, "/none"))
    pickled = tmp_path / "pickled"
    shutil.copytree(sam, pickled)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(JobError, match=r"edit\.segment\.model: .* no \.safetensors weights"):
        check_models(job(picture, str(pickled)))
    with pytest.raises(JobError, match=r"edit\.segment\.model: .* cannot be loaded"):
        object_mask(np.zeros((8, 8, 3), np.uint8), Segmentation(model=str(pickled)))


def test_a_checkpoint_without_all_of_its_weights_is_refused(sam: str, tmp_path: Path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(sam, tmp_path / "half")
    weights = load_file(f"{sam}/model.safetensors")
    kept = {name: value for name, value in weights.items() if "mask_decoder" not in name}
    save_file(kept, tmp_path / "half" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(JobError, match=r"edit\.segment\.model: .* lacks \d+ of its weights"):
        object_mask(np.zeros((8, 8, 3), np.uint8), Segmentation(model=str(tmp_path / "half")))
