"""A worker's full-size results without Ray: the source's own pixels outside the edit, the same
figures, layers that read back.
"""

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from raydepth.batch import Batch
from raydepth.compose.fullsize.frames import SourceFrames
from raydepth.compose.fullsize.paste import Patch
from raydepth.frames.decode import decode
from raydepth.frames.probe import probe
from raydepth.frames.segments import plan_segments
from raydepth.job import Job
from raydepth.layers.stack import Layer, LayerStack
from raydepth.output.codecs import decode_rgb, encode_rgb
from raydepth.output.folder import OutputFolder
from raydepth.output.layers import layers_name, read_layers, write_layers
from raydepth.output.plan import Part, cut_parts
from raydepth.output.record import ClipCalibration
from raydepth.output.shards import read_shard, shard_name
from raydepth.run.decoder import Decoder
from raydepth.run.editor import PartEditor
from raydepth.run.tracker import Tracker
from tests.frames.barcodes import clip_of, make_clip
from tests.support.runs import calibrate_here, edit_first_part, small_job, steps_here


def scene(number: int, height: int, width: int) -> np.ndarray:
    """Something near the bottom before something far, with detail."""
    rng = np.random.default_rng(3)
    picture = np.full((height, width, 3), (90, 130, 180), np.uint8)
    picture[height // 2 :] = (120, 100, 80)
    cv2.circle(
        picture, (width // 2 + number, height // 2), min(height, width) // 4, (200, 60, 50), -1
    )
    return np.clip(picture + rng.integers(-25, 25, picture.shape), 0, 255).astype(np.uint8)


def images_folder(folder: Path) -> Path:
    folder.mkdir()
    for i in range(3):
        (folder / f"{i}.png").write_bytes(encode_rgb(scene(i, 151, 203)))
    return folder


def clip_called(name: str, folder: Path) -> Path:
    sizes = {"landscape": (160, 240), "portrait": (244, 130), "wide": (108, 252), "small": (48, 64)}
    if name == "images":
        return images_folder(folder / "images")
    if name == "odd":
        return make_clip(
            folder / "odd.mp4",
            3,
            size=(151, 203),
            pix_fmt="yuv444p",
            picture=lambda i: scene(i, 151, 203),
        )
    if name == "turned":
        return make_clip(
            folder / "turned.mp4",
            3,
            size=(120, 202),
            rotation=90,
            picture=lambda i: scene(i, 120, 202),
        )
    return make_clip(
        folder / f"{name}.mp4", 3, size=sizes[name], picture=lambda i: scene(i, *sizes[name])
    )


def edit(clip: Path, out: Path, **fields) -> tuple[Job, list[dict]]:
    """The rows of a job's first part, edited by a worker."""
    job = small_job(
        clip, out, **{"edit": {"kind": "remove"}, "layers__at": {"quantile": 0.6}} | fields
    )
    rows = edit_first_part(job)
    assert [row["status"] for row in rows] == ["ok"] * len(rows), rows[0]["error_message"]
    return job, rows


def decoded_part(
    clip: Path, out: Path, **fields
) -> tuple[Job, Part, dict[str, ClipCalibration], list[Batch]]:
    """A job that writes source-size results, with its first part decoded the first time."""
    job = small_job(
        clip,
        out,
        **{"output__size": "source", "edit": {"kind": "remove"}, "layers__at": {"quantile": 0.6}}
        | fields,
    )
    segments = plan_segments(probe(str(clip)), size=job.input.size)
    (part,) = cut_parts(segments, batch=4, shard_frames=8, limit=None, full_size=True)
    clip_of_it = calibrate_here(job, segments)
    assert clip_of_it is not None
    ((_, decoded),) = Decoder(job, Tracker()).parts([part])
    return job, part, {segments[0].video: clip_of_it}, decoded


@pytest.mark.parametrize(
    "name", ["landscape", "portrait", "wide", "odd", "turned", "images", "small"]
)
def test_outside_the_edit_the_pixels_are_the_sources(tmp_path: Path, name: str):
    """Whatever the source's shape: bit-identical where nothing may change, changed where something
    is taken away.
    """
    clip = clip_called(name, tmp_path)
    _, rows = edit(clip, tmp_path / "out", output__size="source")
    _, low = edit(clip, tmp_path / "low", output__size="work")
    source = [
        frame.rgb
        for segment in plan_segments(probe(str(clip)), size=None)
        for frame in decode(segment)
    ]
    for row, small, full in zip(rows, low, source, strict=True):
        edited, background = decode_rgb(row["edited_png"]), decode_rgb(row["background_png"])
        assert edited.shape == full.shape == (row["height"], row["width"], 3)
        np.testing.assert_array_equal(decode_rgb(row["rgb_png"]), full)
        touched = (
            (decode_rgb(small["edited_png"]) != decode_rgb(small["rgb_png"]))
            .any(-1)
            .astype(np.uint8)
        )
        may = cv2.dilate(touched, np.ones((3, 3)))
        inside = cv2.resize(may, full.shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0
        assert inside.any() and not inside.all()
        np.testing.assert_array_equal(edited[~inside], full[~inside])
        assert (edited[inside] != full[inside]).mean() > 0.3
        assert (background == full).all(-1).any()
        figures = [key for key in row if key.startswith(("rmse", "psnr", "ssim", "threshold"))]
        np.testing.assert_equal([row[key] for key in figures], [small[key] for key in figures])


def test_kept_pictures_are_full_size_and_recompose_is_the_source(tmp_path: Path):
    clip = clip_called("odd", tmp_path)
    _, rows = edit(clip, tmp_path / "out", output__size="source", edit={"kind": "recompose"})
    for row in rows:
        assert row["edited_png"] == row["rgb_png"]
        for kind in ("depth_png16", "near_png"):
            data = np.frombuffer(row[kind], np.uint8)
            assert cv2.imdecode(data, cv2.IMREAD_UNCHANGED).shape == (151, 203)


@pytest.mark.parametrize("size", ["work", "source"])
def test_an_object_is_composed_on_a_crop_and_comes_out_sharp(tmp_path: Path, size: str):
    """A textured plate set into the picture: exact outside, and with the crop closer to the plate's
    own pixels.
    """
    clip = make_clip(
        tmp_path / "clip.mp4", 4, size=(320, 480), picture=lambda i: scene(i, 320, 480)
    )
    rng = np.random.default_rng(1)
    plate = np.dstack(
        [rng.integers(60, 200, (96, 96, 3)).astype(np.uint8), np.full((96, 96), 255, np.uint8)]
    )
    cv2.imwrite(str(tmp_path / "plate.png"), plate)
    insert = {
        "kind": "insert",
        "object": str(tmp_path / "plate.png"),
        "at": 0.99,
        "point": [0.3, 0.4],
        "height": 0.2,
    }
    made = {}
    for crop in ("none", "region"):
        _, made[crop] = edit(
            clip, tmp_path / crop, edit=insert, output__size=size, compose__crop=crop
        )
    for plain, cropped in zip(made["none"], made["region"], strict=True):
        source = decode_rgb(plain["rgb_png"]).astype(int)
        one, two = (decode_rgb(row["edited_png"]).astype(int) for row in (plain, cropped))
        changed = (one != source).any(-1)
        assert 0.01 < changed.mean() < 0.2
        assert ((two != source).any(-1) & ~changed).mean() < 0.01
        assert np.abs(one - two)[changed].mean() < (12 if size == "source" else 6)
        assert cropped["rmse_outside"] == 0
    again = edit(clip, tmp_path / "again", edit=insert, output__size=size, compose__crop="region")[
        1
    ]
    assert [row["edited_png"] for row in again] == [row["edited_png"] for row in made["region"]]


@pytest.mark.parametrize("size", ["work", "source"])
def test_exported_layers_read_back_and_come_again_to_the_byte(tmp_path: Path, size: str):
    clip = clip_called("landscape", tmp_path)
    fields = {
        "output__size": size,
        "output__layers": True,
        "edit": {"kind": "recompose"},
        "layers__feather": 0.2,
    }
    _, rows = edit(clip, tmp_path / "one", **fields)
    edit(clip, tmp_path / "two", **fields)
    for row in rows:
        name = layers_name(row["video"], row["frame_index"])
        stack = read_layers(str(tmp_path / "one" / name))
        composite = decode_rgb((tmp_path / "one" / name / "composite.png").read_bytes())
        np.testing.assert_array_equal(stack.flatten()[0], composite)
        error = np.abs(composite.astype(int) - decode_rgb(row["rgb_png"]))
        # Enlarged soft edges show a breath of what is behind them; at working size nothing does.
        assert error.max() <= len(stack.layers) if size == "work" else error.mean() < 0.3
        assert [layer.name for layer in stack.layers] == ["near", "far"]
        assert composite.shape[:2] == (row["height"], row["width"])
    first = {
        path.relative_to(tmp_path / "one"): path.read_bytes()
        for path in (tmp_path / "one/layers").rglob("*.*")
    }
    second = {
        path.relative_to(tmp_path / "two"): path.read_bytes()
        for path in (tmp_path / "two/layers").rglob("*.*")
    }
    assert first == second


def test_a_stack_of_soft_layers_survives_export(tmp_path: Path):
    """Colours bit for bit, alpha to 1/510, depth to half a step; flattened within a level a layer."""
    rng = np.random.default_rng(0)
    layers = [
        Layer(
            f"layer {k}",
            rng.integers(0, 256, (1, 20, 30, 3), np.uint8),
            rng.random((1, 20, 30), np.float32) if k < 3 else np.ones((1, 20, 30), np.float32),
            rng.random((1, 20, 30), np.float32) * 3,
        )
        for k in range(4)
    ]
    folder = OutputFolder.at(str(tmp_path))
    write_layers(folder, "layers/v/000000", LayerStack(layers), {})
    back = read_layers(str(tmp_path / "layers/v/000000"))
    for layer, read in zip(layers, back.layers, strict=True):
        np.testing.assert_array_equal(read.rgb, layer.rgb)
        np.testing.assert_allclose(read.alpha, layer.alpha, atol=0.5 / 255 + 1e-6)
        np.testing.assert_allclose(read.inv_depth, layer.inv_depth, atol=3 / 65535)
    assert np.abs(back.flatten().astype(int) - LayerStack(layers).flatten()).max() <= 4
    with pytest.raises(ValueError, match="no exported frame"):
        (tmp_path / "layers/v/000000/layers.json").write_text("{}")
        read_layers(str(tmp_path / "layers/v/000000"))


def test_source_frames_come_in_any_order_of_parts(tmp_path: Path):
    """Going on, jumping ahead over a keyframe and within one, and going back: always the planned
    frames.
    """
    clip = clip_of(tmp_path, "closed.mp4")
    segment = plan_segments(probe(str(clip)), size=32)[0]
    whole = [frame.rgb for frame in decode(plan_segments(probe(str(clip)), size=None)[0])]
    frames = SourceFrames()
    for start, stop in ((0, 4), (4, 8), (10, 12), (40, 44), (2, 6), (58, 60)):
        taken = list(frames.take(segment, start, stop))
        assert [frame.frame_index for frame in taken] == list(range(start, stop))
        for frame in taken:
            np.testing.assert_array_equal(frame.rgb, whole[frame.frame_index])


def test_a_source_that_is_gone_when_results_are_written_costs_its_frames(tmp_path: Path):
    clip = clip_called("landscape", tmp_path)
    segment = plan_segments(probe(str(clip)), size=64)[0]
    clip.unlink()
    assert [frame.error_type for frame in SourceFrames().take(segment, 0, 3)] == ["Missing"] * 3


def test_frames_that_cannot_be_decoded_again_are_told_and_not_counted_as_done(tmp_path: Path):
    """The source disappears between its two decodes: error rows that name the second one, and
    honest counts.
    """
    clip = clip_called("landscape", tmp_path)
    job, part, clips, decoded = decoded_part(clip, tmp_path / "out")
    clip.unlink()
    tracker, folder = Tracker(), OutputFolder.at(str(tmp_path / "out"))
    ((video, clip),) = clips.items()
    editor = PartEditor(job, clip, steps_here(job, video, clip), folder, tracker)
    printed = editor(part, decoded, {})
    assert (printed["done"], printed["failed"]) == (0, 3)
    assert (tracker.snapshot().done, tracker.snapshot().failed) == (0, 3)
    for row in read_shard(folder, shard_name(part.name)).to_pylist():
        assert (row["status"], row["error_type"]) == ("error", "Missing")
        assert "decoding it again at source size" in row["error_message"]


class _Died(BaseException):
    """Stands for the end of the process, which the watchdog brings about: nothing catches it."""


@pytest.mark.parametrize("crop", ["none", "region"])
@pytest.mark.timeout(60)
def test_a_second_decode_that_hangs_is_ended_and_at_last_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crop: str
):
    """While results are written, and already when a crop is cut: as often as ``run.attempts``, then
    error rows.
    """
    clip = clip_called("landscape", tmp_path)
    insert = {
        "kind": "insert",
        "object": str(tmp_path / "plate.png"),
        "at": 9.0,
        "point": [0.3, 0.6],
    }
    cv2.imwrite(str(tmp_path / "plate.png"), np.full((9, 9, 4), 255, np.uint8))
    job, part, clips, decoded = decoded_part(
        clip,
        tmp_path / "out",
        edit=insert | {"height": 0.2},
        compose__crop=crop,
        run__decode_timeout_s=0.3,
    )
    ended = threading.Event()

    def hang(segment):
        assert ended.wait(30), "nobody ended what hangs"
        raise _Died
        yield

    monkeypatch.setattr("raydepth.compose.fullsize.frames.decode", hang)
    monkeypatch.setattr("raydepth.run.watchdog.os._exit", lambda code: ended.set())
    tracker, folder = Tracker(), OutputFolder.at(str(tmp_path / "out"))
    ((video, clip),) = clips.items()
    steps = steps_here(job, video, clip)
    for _ in range(job.run.attempts):
        ended.clear()
        with pytest.raises(_Died):
            PartEditor(job, clip, steps, folder, tracker)(
                part, [dict(batch) for batch in decoded], {}
            )
    printed = PartEditor(job, clip, steps, folder, tracker)(part, decoded, {})
    assert (printed["done"], printed["failed"]) == (0, 3)
    rows = read_shard(folder, shard_name(part.name)).to_pylist()
    assert {row["error_type"] for row in rows} == {"DecodeTimeout"}
    assert (
        "again at source size (output.size: source) gave nothing for 0.3 s"
        in rows[0]["error_message"]
    )
    assert tracker.snapshot().restarts == job.run.attempts


def test_a_window_is_the_same_part_of_every_size():
    patch = Patch(np.zeros(0), LayerStack([]), np.zeros(0), np.zeros(0), (0.25, 0.5, 0.75, 1.0))
    assert patch.window(40, 80) == (slice(10, 30), slice(40, 80))
