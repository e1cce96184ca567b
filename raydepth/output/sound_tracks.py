"""Tracks of an mp4 on their way from a source's packets: copied, or encoded as AAC."""

from fractions import Fraction

import av
import av.container
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.packet import Packet
from av.stream import Stream

MUXING_ERRORS = (av.FFmpegError, ValueError, ArithmeticError, RuntimeError)
"""What PyAV raises where a file does not take a stream or a packet."""
_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
AAC_FRAME = 1024
"""Samples in a frame of AAC."""
_BITS_A_CHANNEL = 96_000
_OUT_OF_STEP_S = 0.05
"""A time stamp that is later than the samples so far by more than this is a gap."""
_SILENT_FRAMES = 16
"""Longer gaps are left in the time stamps, shorter ones filled with silence."""
_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
"""What channels without names are taken for, as FFmpeg does."""
_KEPT_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}
"""Layouts that are encoded as they are; others are mixed to stereo."""


def layout_of(channels: int) -> str:
    """The layout that so many channels are encoded in."""
    return _KEPT_LAYOUTS.get(channels, "stereo")


def codec_of(stream: Stream) -> str:
    return stream.codec_context.name if stream.codec_context is not None else "an unknown codec"


class Copy:
    """A track that is copied packet for packet."""

    def __init__(
        self, output: av.container.OutputContainer, stream: AudioStream, origin: Fraction
    ) -> None:
        self._output, self._origin = output, origin
        self._track = output.add_stream_from_template(stream)
        _keep_language(stream, self._track)
        self.rate = stream.rate
        self.lost = 0
        self._next: int | None = None
        self._last: int | None = None

    def write(self, packet: Packet) -> None:
        pts = packet.pts if packet.pts is not None else packet.dts
        pts = pts if pts is not None else self._next
        if pts is None:
            self.lost += 1
            return
        dts = packet.dts if packet.dts is not None else pts
        self._next = pts + packet.duration if packet.duration else None
        if self._origin:
            if pts * packet.time_base < self._origin:
                return
            shift = round(self._origin / packet.time_base)
            pts, dts = pts - shift, dts - shift
        if self._last is not None and dts <= self._last:  # a muxer refuses to go back
            self.lost += 1
            return
        self._last = dts
        packet.pts, packet.dts = max(pts, dts), dts
        packet.stream = self._track
        self._output.mux_one(packet)

    def close(self) -> None:
        """Nothing is held back."""


class Encoder:
    """A track that is decoded and encoded as AAC, each sample at its time.

    Args:
        output: the mp4; nothing has been written to it yet.
        stream: of the source.
        channels, rate: of its decoded samples, rate in samples a second.
        origin: second of the source that is 0 in the mp4.
        end: second of the source at which the video ends.
    """

    def __init__(
        self,
        output: av.container.OutputContainer,
        stream: AudioStream,
        channels: int,
        rate: int,
        origin: Fraction,
        end: Fraction,
    ) -> None:
        self.codec = codec_of(stream)
        self.rate = rate if rate in _AAC_RATES else 48000
        self.lost = 0
        self._output, self._origin = output, origin
        self._context = stream.codec_context
        self._layout = layout_of(channels)
        channels = {layout: count for count, layout in _KEPT_LAYOUTS.items()}[self._layout]
        self._track = output.add_stream(
            "aac", rate=self.rate, layout=self._layout, bit_rate=_BITS_A_CHANNEL * channels
        )
        self._track.time_base = Fraction(1, self.rate)
        _keep_language(stream, self._track)
        self._resampler: AudioResampler | None = None
        self._form: tuple[str, str, int] | None = None
        self._held = np.zeros((channels, 0), np.float32)
        self._at: int | None = None  # of the first sample held, in samples of the mp4
        self._end = round((end - origin) * self.rate)

    def write(self, packet: Packet | None) -> None:
        try:
            frames = self._context.decode(packet)
        except av.FFmpegError:
            self.lost += packet is not None
            return
        for frame in frames:
            start = None
            if frame.pts is not None and frame.time_base:
                start = round((frame.pts * frame.time_base - self._origin) * self.rate)
            self._keep_step(start)
            self._append(self._resample(frame))

    def close(self) -> None:
        """Writes the last samples."""
        self.write(None)
        if self._resampler is not None:
            self._append(_joined(self._resampler.resample(None), len(self._held)))
        if self._at is not None and self._held.shape[1]:
            self._append(np.zeros((len(self._held), -self._held.shape[1] % AAC_FRAME), "f4"), True)
        self._output.mux(self._track.encode(None))

    def _keep_step(self, start: int | None) -> None:
        """Leaves room before samples that come later than the ones so far end."""
        if self._at is None:
            self._at = start or 0
            if self._at < 0:  # before the video begins
                return
        elif start is not None:
            gap = start - self._at - self._held.shape[1]
            if gap <= _OUT_OF_STEP_S * self.rate:
                return
            channels = len(self._held)
            if gap > _SILENT_FRAMES * AAC_FRAME:
                fill = -self._held.shape[1] % AAC_FRAME
                self._append(np.zeros((channels, fill), np.float32))
                skipped = (gap - fill) // AAC_FRAME * AAC_FRAME
                self._at += skipped
                gap -= fill + skipped
            self._append(np.zeros((channels, gap), np.float32))

    def _resample(self, frame: AudioFrame) -> np.ndarray:
        """Samples float32 [channels, samples] in the track's layout and rate."""
        layout = frame.layout.name
        form = (frame.format.name, layout, frame.sample_rate)
        left = np.zeros((len(self._held), 0), np.float32)
        if form != self._form or self._resampler is None:
            if self._resampler is not None:
                left = _joined(self._resampler.resample(None), len(self._held))
            self._form = form
            self._resampler = AudioResampler(format="fltp", layout=self._layout, rate=self.rate)
        frame = with_named_channels(frame)
        frame.pts = None
        return np.hstack([left, _joined(self._resampler.resample(frame), len(self._held))])

    def _append(self, samples: np.ndarray, last: bool = False) -> None:
        assert self._at is not None
        if self._at < 0:
            cut = min(-self._at, samples.shape[1])
            samples, self._at = samples[:, cut:], self._at + cut
        if not last:
            samples = samples[:, : max(self._end - self._at - self._held.shape[1], 0)]
        self._held = np.hstack([self._held, samples])
        while self._held.shape[1] >= AAC_FRAME:
            block, self._held = np.split(self._held, [AAC_FRAME], axis=1)
            frame = AudioFrame.from_ndarray(
                np.ascontiguousarray(block), format="fltp", layout=self._layout
            )
            frame.sample_rate, frame.pts = self.rate, self._at
            frame.time_base = Fraction(1, self.rate)
            self._output.mux(self._track.encode(frame))
            self._at += AAC_FRAME


def with_named_channels(frame: AudioFrame) -> AudioFrame:
    """The frame with the usual layout of its number of channels where it has none."""
    count = frame.layout.nb_channels
    if not frame.layout.name.endswith(" channels"):
        return frame
    if count not in _LAYOUTS:
        raise ValueError(f"{count} channels without a layout")
    named = AudioFrame.from_ndarray(
        frame.to_ndarray(), format=frame.format.name, layout=_LAYOUTS[count]
    )
    named.sample_rate = frame.sample_rate
    return named


def _joined(frames: list[AudioFrame], channels: int) -> np.ndarray:
    arrays = [frame.to_ndarray() for frame in frames]
    return np.hstack(arrays) if arrays else np.zeros((channels, 0), np.float32)


def _keep_language(stream: AudioStream, track: AudioStream) -> None:
    for name in ("language", "title"):
        if value := stream.metadata.get(name):
            track.metadata[name] = value
