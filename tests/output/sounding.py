"""Clips that beep, so that sound can be heard to be in step with the picture."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.layout import AudioLayout

from tests.frames.barcodes import barcode

BEEPS = (0.4, 1.2, 2.0)
"""Seconds after a clip's first frame at which a beep of 0.1 s begins."""


def sounding(
    path: Path,
    codec: str,
    *,
    video: str = "libx264",
    rate: int = 48000,
    layout: str = "stereo",
    start: Fraction = Fraction(0),
    pts: Sequence[int] = range(60),
    sound_from: float = 0.0,
    sound_to: float = 2.4,
    silent: tuple[float, float] = (0.0, 0.0),
    tracks: int = 1,
    options: dict[str, str] | None = None,
) -> Path:
    """Writes a clip of barcodes at 25 frames/s that beeps at BEEPS.

    Args:
        start: second of the first frame, and of second 0 of the sound.
        pts: of the frames, after `start`, in 1/25 s.
        sound_from, sound_to: seconds that the sound spans.
        silent: seconds between which there are no packets of sound.
        tracks: of sound, all alike.
        options: of the sound's encoder.
    """
    channels = len(AudioLayout(layout).channels)
    with av.open(str(path), "w") as container:
        picture = container.add_stream(video, rate=25)
        picture.height, picture.width = 48, 64
        picture.pix_fmt = "yuvj420p" if video == "mjpeg" else "yuv420p"
        sounds = [
            container.add_stream(codec, rate=rate, layout=layout, options=dict(options or {}))
            for _ in range(tracks)
        ]
        begun = round(sound_from * rate)
        for number, shown in enumerate(pts):
            frame = av.VideoFrame.from_ndarray(barcode(number, 48, 64), format="rgb24")
            frame.pts, frame.time_base = shown + round(start * 25), Fraction(1, 25)
            container.mux(picture.encode(frame))
            while begun < min(round((shown + 1) / 25 * rate), round(sound_to * rate)):
                if not silent[0] <= begun / rate < silent[1]:
                    time = (begun + np.arange(rate // 25)) / rate
                    loud = np.any([(beep <= time) & (time < beep + 0.1) for beep in BEEPS], axis=0)
                    wave = 0.5 * loud * np.cos(2 * np.pi * 440 * time)
                    for sound in sounds:
                        heard = av.AudioFrame.from_ndarray(
                            np.tile(wave.astype(np.float32), (channels, 1)), "fltp", layout
                        )
                        heard.sample_rate, heard.pts = rate, begun + round(start * rate)
                        heard.time_base = Fraction(1, rate)
                        container.mux(sound.encode(heard))
                begun += rate // 25
        for stream in (picture, *sounds):
            container.mux(stream.encode(None))
    return path


def beeps(path: Path, track: int = 0) -> list[float]:
    """Seconds at which the beeps of a file begin, as a player plays it."""
    found: list[float] = []
    loud_until = -1.0
    with av.open(str(path)) as container:
        stream = container.streams.audio[track]
        resampler = av.AudioResampler(format="fltp")
        for frame in container.decode(stream):
            for piece in resampler.resample(frame):
                start = float(frame.pts * frame.time_base)
                for at in np.flatnonzero(np.abs(piece.to_ndarray()[0]) > 0.2) / piece.sample_rate:
                    if start + at > loud_until + 0.05:
                        found.append(start + at)
                    loud_until = start + at
    return found
