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
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.packet import Packet
from av.stream import Discard

from raydepth.files.ranges import reason
from raydepth.frames.container import open_container
from raydepth.frames.sources import SourceError
from raydepth.output.sound_tracks import (
    AAC_FRAME,
    MUXING_ERRORS,
    Copy,
    Encoder,
    codec_of,
    layout_of,
    with_named_channels,
)

Way = Literal["copy", "encode", "leave out"]

WAYS: tuple[Way, ...] = ("copy", "encode", "leave out")
"""How sound gets into a video, the best first."""


_TRIED_PACKETS = 4
_MOST_READ = 2000
"""Packets read to find the first ones of every stream."""


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
        self._tracks: dict[int, Copy | Encoder] = {}
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
                self._notes.append(f"subtitles ({codec_of(stream)}) left out")
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
        copied = sum(isinstance(track, Copy) for track in self._tracks.values())
        said = []
        if copied:
            said.append("audio copied" + (f" ({copied} streams)" if copied > 1 else ""))
        said += [
            f"audio encoded as AAC from {track.codec}"
            for track in self._tracks.values()
            if isinstance(track, Encoder)
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
        codec = codec_of(stream)
        copies = best == "copy" and not tried.not_copied
        # An mp4 holds PCM, but few players play it there.
        if copies and not (codec.startswith("pcm_") and tried.channels):
            self._tracks[stream.index] = Copy(self._output, stream, self._origin)
        elif tried.channels:
            self._tracks[stream.index] = Encoder(
                self._output, stream, tried.channels, tried.rate, self._origin, self._end
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
            resampler = AudioResampler(format="fltp", layout=layout_of(channels), rate=48000)
            resampler.resample(with_named_channels(frame))
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
                packet.pts = packet.dts = number * AAC_FRAME
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
