"""The sound of edited videos: copied, encoded as AAC or left out, always in words and in step."""

import shutil
from fractions import Fraction
from pathlib import Path

import av
import pytest

from raydepth.output.sound import Sound
from tests.frames.barcodes import make_clip
from tests.output.finished import finished, times, video_of
from tests.output.sounding import BEEPS, beeps, sounding

IN_STEP_S = 0.003
"""What filters and encoders blur the beginning of a beep by."""


def codecs(path: Path) -> list[str]:
    with av.open(str(path)) as container:
        return [stream.codec_context.codec.canonical_name for stream in container.streams.audio]


@pytest.mark.parametrize(
    ("name", "codec", "settings"),
    [
        ("stereo.avi", "pcm_s16le", {"video": "mjpeg"}),
        ("stereo.mkv", "pcm_s24le", {}),
        ("mono.mov", "pcm_f32le", {"layout": "mono"}),
        ("surround.mkv", "pcm_s16le", {"layout": "5.1"}),
        ("four channels.mkv", "pcm_s16le", {"layout": "quad"}),
        ("high.mkv", "pcm_s24le", {"rate": 192000}),
        ("telephone.mov", "pcm_alaw", {"rate": 8000, "layout": "mono"}),
        ("telephone.avi", "pcm_mulaw", {"rate": 8000, "layout": "mono"}),
        ("adpcm.avi", "adpcm_ms", {}),
        ("lossless.mkv", "wavpack", {}),
    ],
)
def test_what_players_expect_no_mp4_to_hold_becomes_aac_in_step(
    tmp_path: Path, name: str, codec: str, settings: dict
):
    source = sounding(tmp_path / name, codec, **settings)
    made, printed = video_of(tmp_path, finished(tmp_path, source))
    assert len(times(made)) == 60
    assert codecs(made) == ["aac"] and f"audio encoded as AAC from {codec}" in printed
    assert beeps(made) == pytest.approx(BEEPS, abs=IN_STEP_S)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mkv", "libopus"),
        ("b.mkv", "flac"),
        ("c.mkv", "libmp3lame"),
        ("d.mkv", "ac3"),
        ("e.ts", "aac"),
        ("f.mov", "alac"),
    ],
)
def test_what_an_mp4_holds_is_copied(tmp_path: Path, name: str, codec: str):
    source = sounding(tmp_path / name, codec)
    made, printed = video_of(tmp_path, finished(tmp_path, source))
    assert codecs(made) == codecs(source) and "audio copied" in printed
    assert beeps(made) == pytest.approx(beeps(source), abs=0.001)


def test_every_track_is_kept_each_in_its_own_way(tmp_path: Path):
    source = sounding(tmp_path / "clip.mkv", "pcm_s16le", tracks=3)
    made, printed = video_of(tmp_path, finished(tmp_path, source))
    assert codecs(made) == ["aac"] * 3 and printed.count("audio encoded as AAC") == 3
    assert beeps(made, track=2) == pytest.approx(BEEPS, abs=IN_STEP_S)


def test_sound_before_the_picture_and_after_it_and_gaps_stay_in_step(tmp_path: Path):
    source = sounding(
        tmp_path / "clip.mkv",
        "pcm_s16le",
        pts=range(25, 45),
        sound_from=0.2,
        silent=(0.6, 1.0),
    )
    made, _ = video_of(tmp_path, finished(tmp_path, source))
    assert times(made)[0] == 1
    assert beeps(made) == pytest.approx(BEEPS[:2], abs=IN_STEP_S)
    with av.open(str(made)) as container:
        last = max(
            frame.pts * frame.time_base + Fraction(frame.samples, frame.sample_rate)
            for frame in container.decode(audio=0)
        )
    assert last == pytest.approx(1.8, abs=0.03)


def test_sound_that_comes_back_after_long_is_in_step(tmp_path: Path):
    source = sounding(
        tmp_path / "clip.mkv",
        "pcm_s16le",
        pts=[*range(20), *range(500, 520)],
        sound_to=20.8,
        silent=(0.6, 20.0),
    )
    with av.open(str(source)) as container:
        held = sum(packet.size > 0 for packet in container.demux(audio=0))
    made, _ = video_of(tmp_path, finished(tmp_path, source))
    assert held < 40
    assert beeps(made) == pytest.approx(BEEPS[:1], abs=IN_STEP_S)
    with av.open(str(made)) as container:
        starts = [frame.pts * frame.time_base for frame in container.decode(audio=0)]
    assert len(starts) < 120 and starts[-1] == pytest.approx(20.78, abs=0.05)


def test_a_codec_that_nobody_knows_is_left_out_in_words(tmp_path: Path):
    good = sounding(tmp_path / "good.avi", "pcm_s16le", video="mjpeg")
    data = bytearray(good.read_bytes())
    form = data.index(b"strf", data.index(b"auds")) + 8
    data[form : form + 2] = b"\x34\x12"
    (tmp_path / "clip.avi").write_bytes(data)
    made, printed = video_of(tmp_path, finished(tmp_path, tmp_path / "clip.avi"))
    assert len(times(made)) == 60 and codecs(made) == []
    assert "no audio, an unknown codec left out" in printed and "no decoder" in printed


def test_subtitles_are_said_to_be_left_out(tmp_path: Path):
    source = tmp_path / "clip.mkv"
    spoken = make_clip(tmp_path / "good.mp4", 12, audio=True)
    with av.open(str(spoken)) as good, av.open(str(source), "w") as container:
        tracks = {
            stream.index: container.add_stream_from_template(stream, opaque=True)
            for stream in good.streams
        }
        words = container.add_mux_stream("subrip")
        for packet in good.demux():
            if packet.size:
                packet.stream = tracks[packet.stream.index]
                container.mux(packet)
        line = av.Packet(b"Hello")
        line.stream, line.time_base, line.duration = words, Fraction(1, 1000), 100
        line.pts = line.dts = 0
        container.mux(line)
    made, printed = video_of(tmp_path, finished(tmp_path, source))
    assert "audio copied, subtitles (" in printed and len(times(made)) == 12


@pytest.mark.parametrize("broken", [("copy",), ("copy", "encode")])
def test_sound_that_the_muxer_refuses_later_costs_the_sound_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: tuple[str, ...]
):
    """What the first packets did not show: the video is written again, its sound another way."""
    source = sounding(tmp_path / "clip.mkv", "flac")
    right = Sound.__init__

    def init(self: Sound, output: object, path: str, best: str, *times: Fraction) -> None:
        right(self, output, path, best, *times)
        if best in broken:
            self.write = lambda before: 1 / 0 if before > 1 else None

    monkeypatch.setattr(Sound, "__init__", init)
    made, printed = video_of(tmp_path, finished(tmp_path, source))
    assert len(times(made)) == 60
    assert codecs(made) == ([] if "encode" in broken else ["aac"])
    assert "with its sound it could not be written (division by zero)" in printed


def test_a_source_that_is_gone_gives_a_video_without_sound_in_words(tmp_path: Path):
    source = sounding(tmp_path / "clip.mkv", "flac")
    parts = finished(tmp_path, source)
    shutil.move(source, tmp_path / "elsewhere.mkv")
    made, printed = video_of(tmp_path, parts)
    assert len(times(made)) == 60 and "no audio, sound can't be read" in printed
