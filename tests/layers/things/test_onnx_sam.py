"""Segment Anything as ONNX files: prompts, masks and their choice on a small network that goes by
colour; MobileSAM's real weights on real frames; files that are no Segment Anything are refused.
"""

from pathlib import Path

import cv2
import numpy as np
import pytest

from raydepth.errors import JobError
from raydepth.layers.things.protocol import Found, Picture, Prompt, SegmenterHost
from raydepth.layers.things.registry import load_segmenter
from raydepth.layers.things.sam_geometry import Square, choose, overlap
from raydepth.layers.things.settings import SamSegmenter
from tests.support.tiny_onnx_sam import write_decoder, write_encoder, write_pair

pytest.importorskip("onnxruntime")

GREEN, RED = (20, 200, 40), (210, 40, 30)


def no_depth() -> np.ndarray:
    raise AssertionError("no depth is needed")


def picture_of(rgb: np.ndarray) -> Picture:
    return Picture(rgb, no_depth)


def discs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A red disc and a blue one on green, 240 x 400, and their masks."""
    rgb = np.full((240, 400, 3), GREEN, np.uint8)
    masks = []
    for centre, colour in (((110, 130), RED), ((300, 90), (30, 40, 220))):
        mask = np.zeros((240, 400), np.uint8)
        cv2.circle(mask, centre, 60, 1, -1)
        rgb[mask > 0] = colour
        masks.append(mask > 0)
    return rgb, masks[0], masks[1]


def click(*points: tuple[float, float], box: tuple | None = None, **more: object) -> Prompt:
    return Prompt(
        np.array(points, np.float32).reshape(-1, 2),
        np.ones(len(points), np.int64),
        None if box is None else np.float32(box),
        **more,
    )


def find(pair: dict[str, str], rgb: np.ndarray, *prompts: Prompt) -> list[Found]:
    settings = SamSegmenter.model_validate({"method": "sam", "model": pair})
    return load_segmenter(settings, SegmenterHost(threads=1))(picture_of(rgb), prompts)


@pytest.mark.parametrize("raw", [False, True])
def test_clicks_and_boxes_find_their_things(tmp_path: Path, raw: bool):
    rgb, red, blue = discs()
    pair = write_pair(tmp_path, raw=raw)
    found = find(pair, rgb, click((90, 140)), click(box=(240, 30, 360, 150)))
    for mask, truth in ((found[0].mask, red), (found[1].mask, blue)):
        assert mask.shape == (240, 400) and mask.dtype == bool
        assert overlap(mask, truth) > 0.9
    assert found[0].score == pytest.approx(0.9)
    upright = find(pair, rgb.transpose(1, 0, 2).copy(), click((140, 90)))[0].mask
    assert overlap(upright, red.T) > 0.9


def test_a_picture_is_encoded_once_for_all_prompts(tmp_path: Path):
    rgb, *_ = discs()
    settings = SamSegmenter.model_validate({"method": "sam", "model": write_pair(tmp_path)})
    sam = load_segmenter(settings)
    runs, encode = [], sam.encoder.run
    sam.encoder = type(
        "Counted",
        (),
        {
            "run": staticmethod(lambda *given: runs.append(1) or encode(*given)),
            "get_inputs": staticmethod(sam.encoder.get_inputs),
        },
    )
    assert len(sam(picture_of(rgb), [click((90, 140))] * 3)) == 3 and len(runs) == 1
    assert sam(picture_of(rgb), []) == [] and len(runs) == 1
    assert sam.every == 4


def test_one_click_chooses_by_score_and_by_what_is_expected(tmp_path: Path):
    """Of four masks the first is for clear prompts; the network's best for a click is the third."""
    rgb, red, _ = discs()
    rgb = cv2.GaussianBlur(rgb, (0, 0), 8)  # narrower masks of the small network differ here
    pair = write_pair(tmp_path, masks=4)
    alone, boxed, two = find(
        pair,
        rgb,
        click((110, 130)),
        click((110, 130), box=(50, 70, 170, 190)),
        click((110, 130), (112, 132)),
    )
    assert alone.score == pytest.approx(0.8)
    assert boxed.score == two.score == pytest.approx(0.9)
    assert boxed.mask.sum() > alone.mask.sum()
    scores = np.array([0.5, 0.8, 0.6], np.float32)
    masks = [cv2.erode(red.astype(np.uint8), np.ones((n, n))) > 0 for n in (1, 21, 61)]
    assert choose(masks, scores, None) == 1
    assert choose(masks, scores, masks[0]) == 0 or overlap(masks[0], masks[1]) > 0.625
    assert choose(masks, scores, masks[2]) == 2
    assert choose(masks, scores, np.zeros_like(red)) == 1


def test_an_expected_mask_is_handed_to_the_network(tmp_path: Path):
    """The small network adds a tenth of the mask prompt: its edge moves toward what is expected."""
    rgb, red, _ = discs()
    rgb = cv2.GaussianBlur(rgb, (0, 0), 8)
    pair = write_pair(tmp_path)
    wide = cv2.dilate(red.astype(np.uint8), np.ones((25, 25))) > 0
    free, led = find(pair, rgb, click((110, 130)), click((110, 130), mask=wide))
    assert led.mask.sum() > free.mask.sum() * 1.02


def test_a_square_and_back():
    for padded in (True, False):
        square = Square(90, 160, 64, padded)
        assert square.size == ((36, 64) if padded else (64, 64))
        corner = square.coordinates(np.array([[160.0, 90.0]]))
        np.testing.assert_allclose(corner, [[64, 36 if padded else 64]])
        mask = np.zeros((90, 160), bool)
        mask[20:60, 30:120] = True
        logits = square.logits(mask, 16)
        assert logits.shape == (16, 16) and np.ptp(logits) == pytest.approx(20)
        assert overlap(square.scores(logits) > 0, mask) > 0.8
    assert (Square(90, 160, 64, True).logits(np.ones((90, 160), bool), 16)[9:] == -10).all()


def test_files_that_are_no_segment_anything_are_refused(tmp_path: Path):
    from tests.depth.tiny import mean_model

    good = write_pair(tmp_path)
    depth = mean_model(tmp_path / "depth.onnx", ["n", 3, "h", "w"])
    rgb = np.zeros((8, 8, 3), np.uint8)
    for wrong, said in (
        ({"encoder": good["decoder"]}, r"model\.encoder: .*no encoder.*expected.*got image_emb"),
        ({"decoder": good["encoder"]}, r"model\.decoder: .*no decoder.*expected.*got image "),
        ({"decoder": depth}, r"model\.decoder: .*no decoder.*official"),
        ({"encoder": "/none.onnx"}, r"model\.encoder: no file"),
    ):
        with pytest.raises(JobError, match=rf"layers\.segmenter\.{said}"):
            find(good | wrong, rgb, click((1, 1)))


def test_an_encoder_of_another_model_is_refused(tmp_path: Path):
    from tests.depth.tiny import mean_model

    pair = {
        "encoder": mean_model(tmp_path / "e.onnx", [1, 3, 1024, 1024]),
        "decoder": write_decoder(tmp_path / "d.onnx"),
    }
    with pytest.raises(JobError, match=r"segmenter\.model.*"):
        find(pair, np.zeros((8, 8, 3), np.uint8), click((1, 1)))
    assert write_encoder(tmp_path / "f.onnx").endswith("f.onnx")


def test_mobile_sam_finds_whole_things(data: Path):
    """And the masks are those of the decoder's own full-size output."""
    pair = {name: str(data / f"weights/mobile_sam_{name}.onnx") for name in ("encoder", "decoder")}
    capture = cv2.VideoCapture(str(data / "videos/dog.mp4"))
    rgb = cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB)
    settings = SamSegmenter.model_validate({"method": "sam", "model": pair})
    sam = load_segmenter(settings)
    dog, woman = click((595, 432)), click((320, 302), (307, 396))
    found = sam(picture_of(rgb), [dog, woman])
    for one, box in zip(found, [(452, 382, 700, 547), (229, 219, 462, 555)], strict=True):
        y, x = (np.percentile(side, (0.1, 99.9)) for side in np.nonzero(one.mask))
        np.testing.assert_allclose([x[0], y[0], x[1], y[1]], box, atol=12)
    square = Square(720, 1280, 1024, padded=True)
    masks = sam.decoder.run(
        ["masks"],
        {
            "image_embeddings": sam._encode(rgb, square),
            "point_coords": np.array([[[595 * 0.8, 432 * 0.8], [0, 0]]], np.float32),
            "point_labels": np.array([[1, -1]], np.float32),
            "mask_input": np.zeros((1, 1, 256, 256), np.float32),
            "has_mask_input": np.zeros(1, np.float32),
            "orig_im_size": np.array([720, 1280], np.float32),
        },
    )[0]
    assert (found[0].mask != (masks[0, 0] > 0)).mean() < 1e-5
