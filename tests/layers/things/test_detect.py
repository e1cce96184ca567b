"""Things found by a word: pictures, texts and boxes are as the checkpoints' own processors have
them; what cannot find things by words is refused.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.models.grounding_dino.image_processing_pil_grounding_dino import (
    GroundingDinoImageProcessorPil,
)
from transformers.models.owlv2.image_processing_pil_owlv2 import Owlv2ImageProcessorPil

from raydepth.errors import JobError
from raydepth.job import Job, parse_job
from raydepth.layers.things.detect import GroundingDino, Owl, _boxes
from raydepth.layers.things.protocol import Picture, SegmenterHost
from raydepth.layers.things.registry import SEGMENTERS
from raydepth.layers.things.settings import DepthSegmenter, SamSegmenter
from raydepth.run.check import check_models, named_models
from raydepth.run.identity import identify_models
from tests.support.tiny_detectors import write_grounding_dino, write_owl
from tests.support.tiny_onnx_sam import write_pair
from tests.support.tiny_sam import write_sam


@pytest.fixture(scope="module")
def owl(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_owl(tmp_path_factory.mktemp("owl"))


@pytest.fixture(scope="module")
def dino(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_grounding_dino(tmp_path_factory.mktemp("dino"))


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 255, (18, 32, 3), dtype=np.uint8)
    return np.kron(noise, np.ones((5, 5, 1), np.uint8))


def load(detector: str) -> Owl | GroundingDino:
    settings = SamSegmenter(method="sam", model="a/b", detector=detector)
    finder = SEGMENTERS.of(settings).finder(settings, SegmenterHost())
    assert isinstance(finder, Owl | GroundingDino)
    return finder


def in_picture(rgb: np.ndarray) -> Picture:
    return Picture(rgb, lambda: np.zeros(rgb.shape[:2], np.float32))


def compare(found: list, boxes: torch.Tensor, scores: torch.Tensor) -> None:
    """Every box that was found is one of the network's with that score, best first."""
    assert found
    trust = [score for _, score in found]
    assert trust == sorted(trust, reverse=True)
    for box, score in found:
        near = (scores - score).abs() < 2e-3
        assert near.any()
        assert np.abs(boxes[near].numpy() - box).max(-1).min() < 1.5


def test_owl_finds_what_its_processor_would(owl: str, rgb: np.ndarray, monkeypatch):
    finder = load(owl)
    monkeypatch.setattr(finder, "threshold", 0.0)
    processor = Owlv2ImageProcessorPil(size={"height": 64, "width": 64})
    theirs = processor(rgb, return_tensors="pt")["pixel_values"]
    ours = finder.pixels(rgb)
    assert ours.shape == theirs.shape and ours.dtype == np.float32
    # The edge between picture and padding is smoothed by different code.
    assert np.abs(ours - theirs.numpy())[:, :, :30].max() < 0.02
    words = finder.tokenizer("a photo of a dog", padding="max_length", max_length=32)
    with torch.inference_mode():
        said = finder.model(
            pixel_values=theirs.float(),
            input_ids=torch.tensor([words["input_ids"]]),
            attention_mask=torch.tensor([words["attention_mask"]]),
        )
    result = processor.post_process_object_detection(
        said, threshold=0.0, target_sizes=torch.tensor([[90, 160]])
    )[0]
    boxes = result["boxes"]
    boxes[:, 0::2] = boxes[:, 0::2].clamp(0, 160)
    boxes[:, 1::2] = boxes[:, 1::2].clamp(0, 90)
    compare(finder(in_picture(rgb), "dog"), boxes, result["scores"])


def test_grounding_dino_finds_what_its_processor_would(dino: str, rgb: np.ndarray, monkeypatch):
    finder = load(dino)
    monkeypatch.setattr(finder, "threshold", 0.0)
    processor = GroundingDinoImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 100})
    for picture in (rgb, rgb.transpose(1, 0, 2).copy(), rgb[:, :100].copy()):
        theirs = processor(picture, return_tensors="pt")
        ours = finder.pixels(picture)
        assert ours.shape == theirs["pixel_values"].shape
        assert np.abs(ours.numpy() - theirs["pixel_values"].numpy()).max() < 1.1 / 255 / 0.22
        words = finder.tokenizer(["dog."], return_tensors="pt")
        with torch.inference_mode():
            said = finder.model(pixel_values=ours, pixel_mask=theirs["pixel_mask"], **words)
        result = processor.post_process_object_detection(
            said, threshold=0.0, target_sizes=torch.tensor([picture.shape[:2]])
        )[0]
        high, wide = picture.shape[:2]
        boxes = result["boxes"]
        boxes[:, 0::2] = boxes[:, 0::2].clamp(0, wide)
        boxes[:, 1::2] = boxes[:, 1::2].clamp(0, high)
        compare(finder(in_picture(picture), "Dog."), boxes, result["scores"])


def test_boxes_are_kept_once_from_the_threshold_on():
    boxes = torch.tensor(
        [[0.5, 0.5, 0.2, 0.2], [0.5, 0.51, 0.2, 0.2], [0.1, 0.1, 0.4, 0.2], [0.8, 0.8, 0.1, 0.1]]
    )
    scores = torch.tensor([0.6, 0.9, 0.5, 0.1])
    found = _boxes(boxes, scores, 0.3, (100, 100), (80, 100))
    assert [round(score, 2) for _, score in found] == [0.9, 0.5]
    np.testing.assert_allclose(found[0][0], [40, 41, 60, 61], atol=1e-4)
    np.testing.assert_allclose(found[1][0], [0, 0, 30, 20], atol=1e-4)


def job(tree: dict) -> Job:
    fixed = {"schema_version": 1, "input": {"paths": ["a.mp4"]}, "output": {"path": "out"}}
    return parse_job(fixed | {"edit": {"kind": "remove"}, "layers": tree})


def test_words_need_a_detector():
    worded = [{"name": "dog", "text": "dog"}]
    for segmenter in ({"method": "depth"}, {"method": "sam", "model": "a/b"}):
        with pytest.raises(JobError, match=r"dog: text needs a model.*detector: google/owlv2"):
            job({"things": worded, "segmenter": segmenter})
    job({"things": worded, "segmenter": {"method": "sam", "model": "a/b", "detector": "c/d"}})
    assert SEGMENTERS.of(DepthSegmenter()).finder(DepthSegmenter(), SegmenterHost()) is None


def test_models_of_things_are_checked_and_identified(owl: str, tmp_path: Path):
    sam, pair = write_sam(tmp_path / "sam"), write_pair(tmp_path)
    clicked = [{"name": "dog", "point": [0.5, 0.5]}]

    def named(model: object, detector: str | None = None, things: list = clicked) -> Job:
        segmenter = {"method": "sam", "model": model, "detector": detector}
        return job({"things": things, "segmenter": segmenter})

    check_models(named(sam, owl))
    check_models(named(pair))
    fields = [model.field for model in named_models(named(pair, owl))]
    assert "layers.segmenter.model.encoder" in fields and "layers.segmenter.detector" in fields
    known = identify_models(named(pair, owl))
    assert known["layers.segmenter.model.decoder"].startswith("sha256")
    assert not any("segmenter" in model.field for model in named_models(named(sam, things=[])))
    for wrong, said in (
        (named(owl), r"segmenter\.model: .*type 'owlv2'; expected one that finds things from cl"),
        (named(sam, sam), r"detector: .*type 'sam'; expected one that finds things from words"),
        (named(pair | {"decoder": pair["encoder"]}), r"model\.decoder: .*no decoder of a Segment"),
        (named(pair | {"encoder": pair["decoder"]}), r"model\.encoder: .*no encoder of a Segment"),
        (named(str(tmp_path / "none")), r"segmenter\.model: no directory"),
    ):
        with pytest.raises(JobError, match=said):
            check_models(wrong)


def test_a_detector_without_words_is_refused(owl: str, tmp_path: Path):
    import shutil

    mute = tmp_path / "mute"
    shutil.copytree(owl, mute, ignore=shutil.ignore_patterns("*token*", "vocab*", "merges*"))
    with pytest.raises(JobError, match=r"layers\.segmenter\.detector: .* no tokenizer"):
        load(str(mute))
