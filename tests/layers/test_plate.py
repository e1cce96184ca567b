"""Plates: the median of what is far, still and moving cameras, what is never seen; and through a
whole clip, same in all frames.
"""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raydepth.camera.motion import camera_motion
from raydepth.errors import JobError
from raydepth.frames.decode import batches
from raydepth.frames.probe import probe
from raydepth.frames.segments import plan_segments
from raydepth.layers.fill.hole import fill_hole
from raydepth.layers.fill.mosaic import masked_median
from raydepth.layers.fill.opencv import OpenCVFiller
from raydepth.layers.fill.plate import Plate, PlateFiller, make_plate
from raydepth.output.folder import OutputFolder
from raydepth.output.plates import cache_plates, plate_name, read_plate
from raydepth.output.record import read_calibrations, write_calibrations
from raydepth.run.editor import edit_batch
from tests.support.clips import write_clip
from tests.support.runs import calibrate_here, small_job, steps_here

TELEA = OpenCVFiller(cv2.INPAINT_TELEA, 5.0)
HEIGHT, WIDTH = 96, 128


def wall(height=HEIGHT, width=WIDTH, seed=0):
    rng = np.random.default_rng(seed)
    return cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3), np.uint8), (5, 5), 1.2)


def walker(behind, x, colour=230):
    """A box before a wall, and its hole."""
    hole = np.zeros(behind.shape[:2], bool)
    hole[30:80, x : x + 30] = True
    return np.where(hole[..., None], np.uint8(colour), behind), hole


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.floats(0, 1))
def test_the_median_is_of_the_unmasked_values(seed, frames, share):
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (frames, 70, 3, 3), np.uint8)
    masks = rng.random((frames, 70, 3)) < share
    rgb, seen = masked_median(list(zip(pictures, masks, strict=True)))
    assert np.array_equal(seen, masks.any(0))
    there = np.where(masks[..., None], pictures, np.nan)[:, seen]
    assert (
        np.array_equal(rgb[seen], np.floor(np.nanmedian(there, 0) + 0.5)) and not rgb[~seen].any()
    )


def test_a_still_camera_needs_no_resampling_and_noise_averages_out():
    behind, rng = wall(), np.random.default_rng(1)
    frames, holes = zip(*[walker(behind, x) for x in range(0, 90, 15)], strict=True)
    noisy = [
        (frame + rng.normal(0, 4, frame.shape)).clip(0, 255).astype(np.uint8) for frame in frames
    ]
    plate = make_plate(noisy, holes, TELEA)
    assert plate.still and plate.seen.all()
    assert np.abs(plate.rgb.astype(int) - behind).mean() < 2.5
    assert np.array_equal(make_plate(frames, holes, TELEA).rgb, behind)


def test_what_moves_on_the_far_side_is_not_in_the_plate():
    behind = wall()
    frames = [walker(behind, x)[0] for x in range(0, 90, 15)]  # no holes: the box is a far thing
    assert np.array_equal(
        make_plate(frames, [np.zeros((HEIGHT, WIDTH), bool)] * 6, TELEA).rgb, behind
    )


def shaken(big, shift, angle):
    motion = np.vstack([cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), angle, 1), [0, 0, 1]])
    motion = np.array([[1, 0, shift[0] - 20], [0, 1, shift[1] - 20], [0, 0, 1.0]]) @ motion
    return cv2.warpPerspective(big, motion, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC)


def test_a_shaking_camera_is_followed():
    big = wall(HEIGHT + 40, WIDTH + 40)
    moves = [((0, 0), 0), ((3.5, -2), 0.8), ((-4, 1.3), -1), ((2, 3), 0.5), ((-1.5, -3), -0.4)]
    views = [shaken(big, *move) for move in moves]
    frames, holes = zip(
        *[walker(view, x) for view, x in zip(views, (5, 30, 55, 75, 95), strict=True)], strict=True
    )
    plate = make_plate(frames, holes, TELEA)
    assert not plate.still and plate.seen.mean() > 0.9
    filler = PlateFiller(lambda video: plate, TELEA).for_clip("v")
    for view, frame, hole in zip(views, frames, holes, strict=True):
        background, _ = fill_hole(filler, frame, hole.astype(np.float32), 0)
        inner = hole & (cv2.erode(np.ones_like(view[..., 0]), np.ones((9, 9)), borderValue=0) > 0)
        assert np.abs(background[inner].astype(int) - view[inner]).mean() < 9, "telea would be 30"
        assert np.array_equal(background[~hole], frame[~hole])
        assert filler.shared_background(frame, hole) is None


def test_a_camera_that_cannot_be_followed_has_no_plate_and_every_frame_says_so():
    frames = [wall(seed=seed) for seed in range(5)]
    why = make_plate(frames, [np.zeros((HEIGHT, WIDTH), bool)] * 5, TELEA)
    assert why == "the camera moves: only 1 of 5 sampled frames lie on one plane"
    frame, hole = walker(frames[0], 20)
    filler = PlateFiller(lambda video: why, TELEA).for_clip("v")
    background, _ = fill_hole(filler, frame, hole.astype(np.float32), 2)
    assert (
        filler.note == f"no plate, hole filled by telea: {why}"
        and filler.shared_background(frame, hole) is None
    )
    assert np.array_equal(background, fill_hole(TELEA, frame, hole.astype(np.float32), 2)[0])
    lost = PlateFiller(
        lambda video: Plate(wall(seed=9), np.ones_like(hole), False), TELEA
    ).for_clip("v")
    fill_hole(lost, frame, hole.astype(np.float32), 2)
    assert "motion to this frame was not found" in lost.note


def test_bare_walls_full_holes_and_single_frames():
    grey = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    none, full = np.zeros((HEIGHT, WIDTH), bool), np.ones((HEIGHT, WIDTH), bool)
    assert np.array_equal(camera_motion(grey, ~none, grey, ~none), np.eye(3))
    assert (
        make_plate([grey, grey], [full, full], TELEA)
        == "no sampled frame shows anything behind the near layers"
    )
    frame, hole = walker(grey, 40)
    plate = make_plate([frame], [hole], TELEA)
    assert (
        plate.still
        and np.array_equal(plate.seen, ~hole)
        and np.abs(plate.rgb.astype(int) - 90).max() <= 4
    )
    filler = PlateFiller(lambda video: plate, TELEA).for_clip("v")
    fill_hole(filler, frame, hole.astype(np.float32), 0)
    assert filler.note == "100.0% of the hole is shown by too few sampled frames: filled by telea"


def test_pictures_of_several_sizes_have_the_plate_of_most_of_them():
    behind = wall()
    shown = [walker(behind, x) for x in (0, 50, 90)]
    other = walker(wall(WIDTH, HEIGHT), 40)
    frames, holes = zip(*[shown[0], other, *shown[1:]], strict=True)
    plate = make_plate(frames, holes, TELEA)
    assert plate.still and np.array_equal(plate.rgb, behind)
    filler = PlateFiller(lambda video: plate, TELEA).for_clip("v")
    for rgb, hole in shown:
        assert np.array_equal(filler(rgb, hole)[hole], behind[hole]) and not filler.note
        assert filler.shared_background(rgb, hole) is not None
    assert np.array_equal(filler(*other), TELEA(*other))
    assert "the clip's plate is 128x96, this picture 96x128" in filler.note
    assert filler.shared_background(*other) is None
    mixed = make_plate(frames[:2], holes[:2], TELEA)
    assert mixed == "pictures of several sizes: only 1 of 2 sampled ones share one"


def test_a_folder_of_mixed_sizes_goes_through(tmp_path):
    (tmp_path / "pictures").mkdir()
    for i, x in enumerate((0, 30, 60, 90)):
        picture = walker(wall(), x)[0] if i != 2 else walker(wall(WIDTH, HEIGHT), x // 2)[0]
        cv2.imwrite(str(tmp_path / f"pictures/{i}.png"), picture)
    pictures, fill = tmp_path / "pictures", {"method": "plate"}
    job = small_job(pictures, tmp_path / "out", layers={"fill": fill}, depth__calibration_frames=4)
    segments = plan_segments(probe(str(pictures)), size=64)
    clip = calibrate_here(job, segments)
    assert len(segments) == 3 and clip is not None and clip.plate is not None
    steps = steps_here(job, segments[0].video, clip)
    for segment in segments:
        for batch in batches(segment, 4):
            assert set(edit_batch(steps, batch)["status"]) == {"ok"}


def test_what_few_frames_show_is_filled_once_by_the_filler_given():
    """Twenty frames; behind the hole a hand passes in one of them, where the mask slipped."""
    behind = wall()
    frame, hole = walker(behind, 40)
    slipped = hole.copy()
    slipped[50:60, 50:60] = False

    class Blue(OpenCVFiller):
        calls = 0

        def __call__(self, rgb, hole):
            self.calls += 1
            return np.where(hole[..., None], np.uint8([0, 0, 255]), rgb)

    blue = Blue(cv2.INPAINT_TELEA, 5.0)
    plate = make_plate([frame] * 20, [slipped, *[hole] * 19], blue)
    assert np.array_equal(plate.seen, ~hole)
    assert (plate.rgb[hole] == (0, 0, 255)).all()
    filler = PlateFiller(lambda video: plate, blue).for_clip("v")
    pictures = [fill_hole(filler, frame, hole.astype(np.float32), 0)[0] for _ in range(3)]
    assert all(np.array_equal(picture, pictures[0]) for picture in pictures) and blue.calls == 1
    twice = make_plate([frame] * 20, [slipped, slipped, *[hole] * 18], blue)
    assert np.array_equal(twice.seen, ~slipped)


def test_frames_share_the_plate_only_where_they_show_it():
    behind = wall()
    plate, (frame, hole) = Plate(behind, np.ones((HEIGHT, WIDTH), bool), True), walker(behind, 40)
    filler = PlateFiller(lambda video: plate, TELEA).for_clip("v")
    assert np.array_equal(filler.shared_background(frame, hole), behind)
    brighter = np.where(
        hole[..., None], frame, np.minimum(frame.astype(int) + 40, 255).astype(np.uint8)
    )
    assert filler.shared_background(brighter, hole) is None
    passing = walker(frame, 0)[0]
    assert filler.shared_background(passing, hole) is None


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """The box of tests/clips.py with its depth: wall at 4 m, box at 1 m."""
    path = write_clip(tmp_path_factory.mktemp("plate") / "clip.mp4", frames=24)
    for i in range(24):
        depth = np.full((HEIGHT, WIDTH), 4000, np.uint16)
        x = 4 + i * 2 % (WIDTH - 40)
        depth[HEIGHT // 3 : -8, x : x + 32] = 1000
        cv2.imwrite(str(path.parent / f"{i:06d}.png"), depth)
    return path


def run(clip, out, **fields):
    """Calibrates and edits the clip without Ray: (job, calibration, batches)."""
    settings = {
        "input__size": HEIGHT,
        "depth__model": "files:{parent}/{frame_index:06d}.png",
        "edit": {"kind": "remove"},
        "depth__calibration_frames": 12,
        "layers": {"at": {"metres": 2.0}, "fill": {"method": "plate", "dilate": 4}},
    }
    job = small_job(clip, out, **settings | fields)
    OutputFolder.at(str(out)).prepare()
    segments = plan_segments(probe(str(clip)), size=HEIGHT, stride=1, start_s=None, end_s=None)
    clips = {segments[0].video: calibrate_here(job, segments)}
    ((video, calibration),) = clips.items()
    steps = steps_here(job, video, calibration)
    return (
        job,
        clips,
        [edit_batch(steps, batch) for segment in segments for batch in batches(segment, 8)],
    )


def test_a_clips_far_layer_is_the_wall_and_the_same_in_all_frames(clip, tmp_path):
    _, clips, edited = run(clip, tmp_path / "out")
    (video, calibration), folder = *clips.items(), OutputFolder.at(str(tmp_path / "out"))
    plate = read_plate(folder, video, calibration.plate)
    assert plate.still and calibration.plate.missing == ""
    rng = np.random.default_rng(0)  # the wall of tests/clips.py
    behind = np.kron(rng.integers(40, 120, (HEIGHT // 8, WIDTH // 8, 3)), np.ones((8, 8, 1)))
    assert plate.seen.mean() > 0.9
    # x264 at crf 18 with halved chroma: the clip's own far pixels are as far from the wall that was
    # drawn.
    first = edited[0]
    own = np.abs(first["rgb"][0] - behind)[~first["hole"][0]].mean()
    assert np.abs(plate.rgb - behind)[plate.seen].mean() <= own
    for batch in edited:
        assert set(batch["status"]) == {"ok"}
        for row in range(8):
            hole, background = batch["hole"][row], batch["background"][row]
            assert np.array_equal(background[hole], plate.rgb[hole])
            assert np.array_equal(background[~hole], batch["rgb"][row][~hole])
            assert np.array_equal(batch["edited"][row][~hole], batch["rgb"][row][~hole])
            assert np.array_equal(batch["shared_background"][row], plate.rgb)
            unseen = np.count_nonzero(hole & ~plate.seen)
            assert ("shown by too few sampled frames" in batch["note"][row]) == (unseen > 0)


def test_a_resumed_run_uses_the_very_same_plate(clip, tmp_path):
    job, clips, _ = run(clip, tmp_path / "out")
    folder, (video,) = OutputFolder.at(str(tmp_path / "out")), clips
    write_calibrations(folder, clips)
    assert read_calibrations(folder) == clips
    marked = cv2.imdecode(
        np.frombuffer(folder.read(plate_name(video)), np.uint8), cv2.IMREAD_UNCHANGED
    )
    marked[60, 40, :3] = (9, 8, 7)
    folder.write(plate_name(video), cv2.imencode(".png", marked)[1].tobytes())
    plates = cache_plates(
        folder, {name: clip.plate for name, clip in read_calibrations(folder).items()}
    )
    assert plates(video).rgb[60, 40].tolist() == [7, 8, 9]
    folder.write(plate_name(video), b"not a picture")
    with pytest.raises(JobError, match="cannot be read"):
        cache_plates(folder, {video: clips[video].plate})(video)
    folder.delete(folder.files("plates"))
    with pytest.raises(JobError, match=r"is gone; delete calibrations\.json"):
        steps_here(job, video, clips[video])


def test_other_methods_make_no_plate(clip, tmp_path):
    _, clips, edited = run(
        clip, tmp_path / "out", layers={"at": {"metres": 2.0}, "fill": {"dilate": 4}}
    )
    assert [calibration.plate for calibration in clips.values()] == [None]
    assert (
        not OutputFolder.at(str(tmp_path / "out")).files("plates")
        and "shared_background" not in edited[0]
    )
