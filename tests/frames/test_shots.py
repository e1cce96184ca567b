"""Hard cuts are found to the frame, and nothing else is one: flashes, noise, pans, fades."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from raydepth.errors import JobError
from raydepth.frames import known_probes, shots
from raydepth.frames.decode import batches
from raydepth.frames.find import find_segments
from raydepth.frames.keyframes import decode_keyframes
from raydepth.frames.probe import probe
from raydepth.frames.segments import plan_segments
from raydepth.frames.settings import Input
from raydepth.frames.shots import find_cuts, shots_of
from tests.frames.barcodes import make_clip
from tests.support.runs import small_job

VIDEOS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "videos"
FRAMES = 100

Picture = Callable[[int], np.ndarray]


def blocks(seed: int, columns: int = 8) -> np.ndarray:
    """A picture of coloured blocks, uint8 [96, 16 columns, 3]."""
    cells = np.random.default_rng(seed).integers(0, 256, (6, columns, 3)).astype(np.uint8)
    return cells.repeat(16, 0).repeat(16, 1)


def moved(seed: int, frame: int) -> np.ndarray:
    return np.roll(blocks(seed), frame, 1)


def colours(frame: int) -> np.ndarray:
    colour = [(200, 40, 40), (40, 180, 60), (50, 60, 210)][min(frame // 33, 2)]
    return np.full((96, 128, 3), colour, np.uint8)


def again(frame: int) -> np.ndarray:
    return moved(1 if 40 <= frame < 60 else 0, frame)


def trailing(frame: int) -> np.ndarray:
    return moved(0 if frame < 98 else 1, frame)


def flashes(frame: int) -> np.ndarray:
    return np.full((96, 128, 3), 255, np.uint8) if frame in (40, 41, 70) else moved(0, frame)


def noise(frame: int) -> np.ndarray:
    return np.random.default_rng(frame).integers(0, 256, (96, 128, 3)).astype(np.uint8)


def pan(frame: int) -> np.ndarray:
    return blocks(0, 150)[:, frame * 20 : frame * 20 + 128]


def fade(frame: int) -> np.ndarray:
    return (moved(0 if frame < 50 else 1, frame) * (abs(frame - 50) / 50)).astype(np.uint8)


def dissolve(frame: int) -> np.ndarray:
    part = np.clip((frame - 40) / 20, 0, 1)
    return (blocks(0) * (1 - part) + blocks(1) * part).astype(np.uint8)


def clip(folder: Path, picture: Picture, every: int = 12, frames: int = FRAMES) -> str:
    """A clip with a keyframe every so many frames, and none for the sake of a cut."""
    options = {"g": str(every), "crf": "18", "sc_threshold": "0"}
    made = make_clip(folder / "clip.mp4", frames, size=(96, 128), picture=picture, options=options)
    return str(made)


@pytest.mark.parametrize("every", [12, 40, 250])
@pytest.mark.parametrize(
    ("picture", "cuts"),
    [(colours, (33, 66)), (again, (40, 60)), (trailing, (98,)), (flashes, ()), (noise, ()),
     (pan, ()), (fade, ()), (dissolve, ())],
)  # fmt: skip
def test_cuts_are_found_to_the_frame(
    tmp_path: Path, picture: Picture, cuts: tuple[int, ...], every: int
) -> None:
    assert find_cuts(probe(clip(tmp_path, picture, every))) == cuts


def test_a_shot_that_begins_with_a_keyframe_is_found(tmp_path: Path) -> None:
    assert find_cuts(probe(clip(tmp_path, colours, 33))) == (33, 66)


def test_of_a_still_clip_only_keyframes_and_the_end_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []

    def counted(segment, **how):
        for frame in shots_decode(segment, **how):
            decoded.append(frame.frame_index)
            yield frame

    shots_decode = shots.decode
    monkeypatch.setattr(shots, "decode", counted)
    assert find_cuts(probe(clip(tmp_path, lambda frame: blocks(0), 40))) == ()
    assert decoded == list(range(80, FRAMES))


def test_keyframes_alone_are_what_decoding_all_gives(tmp_path: Path) -> None:
    source = probe(clip(tmp_path, again, 40))
    (whole,) = plan_segments(source, size=48, min_frames=FRAMES + 1)
    alone = list(decode_keyframes(whole, [0, 40, 80]))
    wanted = [batch["rgb"][0] for batch in batches(whole.take([0, 40, 80]), 1)]
    assert all(np.array_equal(a, b) for a, b in zip(alone, wanted, strict=True))
    assert list(decode_keyframes(whole, [7])) == [None]  # no keyframe


@pytest.mark.skipif(not VIDEOS.is_dir(), reason="needs ../shared/data")
@pytest.mark.parametrize(
    ("name", "cuts"), [("bikes", (30, 76, 137, 187, 242)), ("dog", ()), ("cups", ())]
)
def test_real_clips(name: str, cuts: tuple[int, ...]) -> None:
    assert find_cuts(probe(str(VIDEOS / f"{name}.mp4"))) == cuts


def test_seconds_name_shots_and_those_outside_are_said(tmp_path: Path) -> None:
    source = probe(clip(tmp_path, colours))  # 25 frames a second
    begins, notes = shots_of(source, [0.01, 1.32, 2.6, 4.0, 9.5])
    assert begins == (33, 65)
    assert notes == ("no shot begins at 0.01, 4, 9.5 s (input.shots): its last frame is at 3.96 s",)
    assert shots_of(source, "off") == ((), ())
    assert shots_of(source, [1.32])[1] == ()


def test_segments_know_their_shots(tmp_path: Path) -> None:
    path = clip(tmp_path, colours)
    (segment,) = find_segments(Input(paths=[path], size=32, stride=10)).segments
    assert segment.shots.tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert list(segment.by_shot()) == [(0, 0, 4), (1, 4, 7), (2, 7, 10)]
    (segment,) = find_segments(Input(paths=[path], size=32, start_s=2.0)).segments
    assert (segment.first_shot, segment.shots.tolist()) == (1, [1] * 16 + [2] * 34)
    (segment,) = find_segments(Input(paths=[path], size=32, shots="off")).segments
    assert list(segment.by_shot()) == [(0, 0, FRAMES)]


def test_batches_end_with_their_shot(tmp_path: Path) -> None:
    (segment,) = find_segments(Input(paths=[clip(tmp_path, colours)], size=32)).segments
    found = [(int(batch["shot"][0]), len(batch["shot"])) for batch in batches(segment, 8)]
    assert found == [(0, 8)] * 4 + [(0, 1)] + [(1, 8)] * 4 + [(1, 1)] + [(2, 8)] * 4 + [(2, 2)]


def test_cuts_of_large_files_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(known_probes, "WORTH", 1)
    source = probe(clip(tmp_path, colours))
    first = shots_of(source, "auto")
    monkeypatch.setattr(shots, "find_cuts", lambda source, threads: pytest.fail("looked again"))
    assert shots_of(source, "auto") == first == ((33, 66), ())
    (kept,) = (tmp_path / "cache/raydepth/probes").glob("*.json")
    kept.write_bytes(b"[1000000]")
    monkeypatch.setattr(shots, "find_cuts", lambda source, threads: (5,))
    assert shots_of(source, "auto") == ((5,), ())


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([2.0, 2.0], "seconds must increase, but 2.0 follows 2.0"),
        ([0.0], "input.shots"),
        ([], "input.shots"),
        ("some", "auto, off, or a list of seconds"),
        (3, "auto, off, or a list of seconds"),
    ],
)
def test_what_are_no_shots_is_refused(tmp_path: Path, value, words: str) -> None:
    with pytest.raises(JobError, match=words.replace("[", r"\[")):
        small_job(["a.mp4"], tmp_path, input__shots=value)


def test_yaml_off_is_a_word(tmp_path: Path) -> None:
    assert small_job(["a.mp4"], tmp_path, input__shots=False).input.shots == "off"
