"""A source's sound in an edited video: copied as it is, encoded as AAC, or left out in words.

An mp4 does not hold every codec, and players do not play all that it holds. So each stream is tried
first: its header and its first packets in a file of their own.
"""

import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import av
import av.container
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.packet import Packet
from av.stream import Discard, Stream

from raydepth.files.ranges import reason
from raydepth.frames.container import open_container
from raydepth.frames.sources import SourceError

Way = Literal["copy", "encode", "leave out"]

WAYS: tuple[Way, ...] = ("copy", "encode", "leave out")
"""How sound gets into a video, the best first."""

MUXING_ERRORS = (av.FFmpegError, ValueError, ArithmeticError, RuntimeError)
"""What PyAV raises where a file does not take a stream or a packet."""

_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
_AAC_FRAME = 1024
"""Samples in a frame of AAC."""
_BITS_A_CHANNEL = 96_000
_OUT_OF_STEP_S = 0.05
"""A time stamp that is later than the samples so far by more than this is a gap."""
_SILENT_FRAMES = 16
"""Longer gaps are left in the time stamps, shorter ones filled with silence."""

_TRIED_PACKETS = 4
_MOST_READ = 2000
"""Packets read to find the first ones of every stream."""

_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
"""What channels without names are taken for, as FFmpeg does."""
_KEPT_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}
"""Layouts that are encoded as they are; others are mixed to stereo."""


class Sound:
    """The sound of a source on its way into an open mp4.

    Args:
        output: the mp4; nothing has been written to it yet.
        path: the source.
        best: the best way to try; the ways behind it are taken where it does not do.
        origin: second of the source that is 0 in the mp4. Where it isn't 0, what comes before is
            cut.
        end: second of the source at which the video ends.
    """

    def __init__(
        self,
        output: av.container.OutputContainer,
        path: str,
        best: Way,
        origin: Fraction,
        end: Fraction,
    ) -> None:
        self._output, self._origin, self._end = output, origin, end
        self._tracks: dict[int, _Copy | _Encoder] = {}
        self._notes: list[str] = []
        self._packets: Iterator[Packet] = iter(())
        self._ahead: Packet | None = None
        self._source: av.container.InputContainer | None = None
        if best == "leave out":
            return
        try:
            tried = _try_streams(path)
            self._source = open_container(path)
        except (SourceError, av.FFmpegError, OSError) as error:
            self._notes.append(f"sound can't be read: {reason(error)}")
            return
        for stream in self._source.streams:
            if isinstance(stream, AudioStream):
                self._add(stream, tried.get(stream.index, _Tried()), best)
            elif stream.type == "subtitle":
                self._notes.append(f"subtitles ({_codec(stream)}) left out")
            if stream.index not in self._tracks:
                stream.discard = Discard.all
        if self._tracks:
            self._packets = self._source.demux(
                [self._source.streams[index] for index in self._tracks]
            )

    @property
    def rates(self) -> list[int]:
        """Samples a second of every track."""
        return [track.rate for track in self._tracks.values()]

    def write(self, before: Fraction) -> None:
        """Writes what comes before a second of the source, so that the muxer never waits for one
        of its streams; raises one of ``MUXING_ERRORS`` where the mp4 does not take it.
        """
        before = min(before, self._end)
        while packet := self._ahead or self._next(before):
            self._ahead = None
            time = packet.dts if packet.pts is None else packet.pts
            if time is not None and time * packet.time_base >= before:
                self._ahead = packet
                return
            self._tracks[packet.stream.index].write(packet)

    def close(self) -> str:
        """Writes what encoders hold back, and says in words what became of the sound."""
        for track in self._tracks.values():
            track.close()
        copied = sum(isinstance(track, _Copy) for track in self._tracks.values())
        said = []
        if copied:
            said.append("audio copied" + (f" ({copied} streams)" if copied > 1 else ""))
        said += [
            f"audio encoded as AAC from {track.codec}"
            for track in self._tracks.values()
            if isinstance(track, _Encoder)
        ]
        if lost := sum(track.lost for track in self._tracks.values()):
            self._notes.append(f"{lost} damaged packets of audio left out")
        return ", ".join([*(said or ["no audio"]), *self._notes])

    def release(self) -> None:
        """Closes the source."""
        if self._source is not None:
            self._source.close()
            self._source = None

    def _add(self, stream: AudioStream, tried: "_Tried", best: Way) -> None:
        codec = _codec(stream)
        copies = best == "copy" and not tried.not_copied
        # An mp4 holds PCM, but few players play it there.
        if copies and not (codec.startswith("pcm_") and tried.channels):
            self._tracks[stream.index] = _Copy(self._output, stream, self._origin)
        elif tried.channels:
            self._tracks[stream.index] = _Encoder(
                self._output, stream, tried, self._origin, self._end
            )
        else:
            why = "; ".join(filter(None, (tried.not_copied, tried.not_decoded)))
            self._notes.append(f"{codec} left out ({why or 'it could not be copied'})")

    def _next(self, before: Fraction) -> Packet | None:
        try:
            return next((packet for packet in self._packets if packet.size), None)
        except (av.FFmpegError, OSError) as error:
            self._packets = iter(())
            at = float(before - self._origin)
            self._notes.append(f"audio breaks off at {at:.1f} s ({reason(error)})")
            return None


@dataclass
class _Tried:
    """What the first packets of a stream showed."""

    packets: list[bytes] = field(default_factory=list)
    channels: int = 0
    """0: it can't be decoded."""
    rate: int = 0
    not_copied: str = ""
    """Why an mp4 does not hold it; empty where it does."""
    not_decoded: str = "no packet was found"


def _try_streams(path: str) -> dict[int, _Tried]:
    """Reads the first packets of every audio stream, decodes them and puts them into an mp4."""
    tried: dict[int, _Tried] = {}
    with open_container(path) as source:
        streams = [stream for stream in source.streams if isinstance(stream, AudioStream)]
        tried = {stream.index: _Tried() for stream in streams}
        for stream in source.streams:
            if stream.index not in tried:
                stream.discard = Discard.all
        if not streams:
            return tried
        try:
            for packet in itertools.islice(source.demux(streams), _MOST_READ):
                outcome = tried[packet.stream.index]
                if packet.size and len(outcome.packets) < _TRIED_PACKETS:
                    outcome.packets.append(bytes(packet))
                    _try_decoding(outcome, packet)
                if all(len(outcome.packets) == _TRIED_PACKETS for outcome in tried.values()):
                    break
        except (av.FFmpegError, OSError) as error:
            for outcome in tried.values():
                outcome.not_decoded += f" before reading stopped: {reason(error)}"
        for stream in streams:
            tried[stream.index].not_copied = _why_not_copied(stream, tried[stream.index].packets)
    return tried


def _try_decoding(outcome: _Tried, packet: Packet) -> None:
    context = packet.stream.codec_context
    if context is None:
        outcome.not_decoded = "there is no decoder for it"
        return
    try:
        for frame in context.decode(packet):
            channels = frame.layout.nb_channels
            resampler = AudioResampler(format="fltp", layout=_layout(channels), rate=48000)
            resampler.resample(_with_named_channels(frame))
            outcome.channels, outcome.rate = channels, frame.sample_rate
        outcome.not_decoded = "no sample came out of its decoder"
    except MUXING_ERRORS as error:
        outcome.not_decoded = f"decoding it: {reason(error)}"


def _why_not_copied(stream: AudioStream, packets: list[bytes]) -> str:
    """Why an mp4 does not hold a stream, or gives it back as nothing readable; empty: it does."""
    if stream.codec_context is None:
        return "its codec is not known"
    if not stream.time_base or not stream.rate:
        return "it says no sample rate" if stream.time_base else "it says no time base"
    file = io.BytesIO()
    try:
        with av.open(file, "w", format="mp4") as output:
            track = output.add_stream_from_template(stream)
            output.start_encoding()
            for number, data in enumerate(packets):
                packet = Packet(data)
                packet.pts = packet.dts = number * _AAC_FRAME
                packet.time_base, packet.stream = Fraction(1, stream.rate), track
                output.mux_one(packet)
        if packets:
            file.seek(0)
            with av.open(file) as made:
                if not made.streams.audio or made.streams.audio[0].codec_context is None:
                    return "an mp4 does not give it back"
    except (*MUXING_ERRORS, OSError) as error:
        return f"copying it to mp4: {reason(error)}"
    return ""


def _layout(channels: int) -> str:
    """The layout that so many channels are encoded in."""
    return _KEPT_LAYOUTS.get(channels, "stereo")


def _codec(stream: Stream) -> str:
    return stream.codec_context.name if stream.codec_context is not None else "an unknown codec"


class _Copy:
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


class _Encoder:
    """A track that is decoded and encoded as AAC, each sample at its time."""

    def __init__(
        self,
        output: av.container.OutputContainer,
        stream: AudioStream,
        tried: _Tried,
        origin: Fraction,
        end: Fraction,
    ) -> None:
        self.codec = _codec(stream)
        self.rate = tried.rate if tried.rate in _AAC_RATES else 48000
        self.lost = 0
        self._output, self._origin = output, origin
        self._context = stream.codec_context
        self._layout = _layout(tried.channels)
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
            self._append(np.zeros((len(self._held), -self._held.shape[1] % _AAC_FRAME), "f4"), True)
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
            if gap > _SILENT_FRAMES * _AAC_FRAME:
                fill = -self._held.shape[1] % _AAC_FRAME
                self._append(np.zeros((channels, fill), np.float32))
                skipped = (gap - fill) // _AAC_FRAME * _AAC_FRAME
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
        frame = _with_named_channels(frame)
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
        while self._held.shape[1] >= _AAC_FRAME:
            block, self._held = np.split(self._held, [_AAC_FRAME], axis=1)
            frame = AudioFrame.from_ndarray(
                np.ascontiguousarray(block), format="fltp", layout=self._layout
            )
            frame.sample_rate, frame.pts = self.rate, self._at
            frame.time_base = Fraction(1, self.rate)
            self._output.mux(self._track.encode(frame))
            self._at += _AAC_FRAME


def _with_named_channels(frame: AudioFrame) -> AudioFrame:
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
