"""Pictures after a seek are those of decoding straight through, also where earlier packets carried
what they need.
"""

import struct
from dataclasses import replace
from pathlib import Path

import av
import pytest

from raydepth.frames.carried import Carried, parameter_sets
from raydepth.frames.decode import decode
from raydepth.frames.probe import probe
from raydepth.frames.proof import with_proven_seeks
from raydepth.frames.segments import plan_segments
from raydepth.frames.source import Source
from tests.frames.barcodes import FRAMES, barcode, make_clip, read_barcode


def numbers(source: Source, min_frames: int = 10) -> list[int | None]:
    segments = plan_segments(source, size=None, min_frames=min_frames)
    frames = [frame for segment in segments for frame in decode(segment)]
    return [None if frame.rgb is None else read_barcode(frame.rgb) for frame in frames]


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def palette_avi(path: Path, frames: int, height: int = 48, width: int = 64) -> Path:
    """Uncompressed pictures of 8 bits whose grey levels stand in a palette in the header."""
    palette = b"".join(bytes((i, i, i, 0)) for i in range(256))
    header = struct.pack(
        "<IiiHHIIiiII", 40, width, height, 1, 8, 0, width * height, 0, 0, 256, 0
    )  # fmt: skip
    main = struct.pack("<14I", 40000, 0, 0, 16, frames, 0, 1, 0, width, height, 0, 0, 0, 0)
    stream = b"vidsDIB " + struct.pack(
        "<IHHIIIIIIIIhhhh", 0, 0, 0, 0, 1, 25, 0, frames, 0, 0xFFFFFFFF, 0, 0, 0, width, height
    )
    pictures = [barcode(i, height, width)[::-1, :, 0].tobytes() for i in range(frames)]
    lists = chunk(b"LIST", b"strl" + chunk(b"strh", stream) + chunk(b"strf", header + palette))
    movie = b"".join(chunk(b"00db", picture) for picture in pictures)
    length = len(chunk(b"00db", pictures[0]))
    index = b"".join(
        b"00db" + struct.pack("<III", 16, 4 + i * length, length - 8) for i in range(frames)
    )
    body = chunk(b"LIST", b"hdrl" + chunk(b"avih", main) + lists)
    path.write_bytes(
        chunk(b"RIFF", b"AVI " + body + chunk(b"LIST", b"movi" + movie) + chunk(b"idx1", index))
    )
    return path


def flv_video(path: Path, shift_ms: int) -> bytes:
    """The video tags of an .flv, so many milliseconds later."""
    data, at, tags = path.read_bytes(), 13, b""
    while at + 11 <= len(data):
        end = at + 11 + int.from_bytes(data[at + 1 : at + 4], "big") + 4
        time = int.from_bytes(data[at + 4 : at + 7], "big") + shift_ms
        if data[at] == 9:
            tags += data[at : at + 4] + time.to_bytes(3, "big") + data[at + 7 : end]
        at = end
    return tags


def test_a_palette_in_the_header(tmp_path: Path) -> None:
    source = probe(str(palette_avi(tmp_path / "cells.avi", FRAMES)))
    assert numbers(source) == list(range(FRAMES))
    (segment,) = plan_segments(source, size=None)
    assert [read_barcode(frame.rgb) for frame in decode(segment.take([40, 59]))] == [40, 59]


def test_pictures_disprove_a_seek(tmp_path: Path) -> None:
    """Also where no side data told it: every packet's time stamps are right after this seek."""
    source = probe(str(palette_avi(tmp_path / "cells.avi", FRAMES)))
    assert not with_proven_seeks(replace(source, seekable=True)).seekable
    good = probe(str(make_clip(tmp_path / "good.mp4", FRAMES, options={"g": "12", "bf": "2"})))
    assert with_proven_seeks(good).seekable


@pytest.mark.parametrize("size", [(48, 64), (64, 64)])
def test_a_second_decoder_header_in_an_flv(tmp_path: Path, size: tuple[int, int]) -> None:
    options = {"g": "12", "bf": "0"}
    first = make_clip(tmp_path / "a.flv", FRAMES, options=options)
    other = make_clip(
        tmp_path / "b.flv",
        FRAMES,
        options=options | {"profile": "baseline"},
        size=size,
        picture=lambda i: barcode(i + FRAMES, *size),
    )
    joined = tmp_path / "joined.flv"
    joined.write_bytes(
        first.read_bytes()[:13] + flv_video(first, 0) + flv_video(other, FRAMES * 40)
    )
    source = probe(str(joined))
    found = numbers(source)
    assert found[:FRAMES] == list(range(FRAMES))
    if size == (48, 64):
        assert found[FRAMES:] == list(range(FRAMES, 2 * FRAMES))
        assert not source.remarks
    else:  # what is fitted in with bars has no clean barcode
        assert len(found) == 2 * FRAMES
        assert "first at frame 60 (2.40 s): 64x64 pixels in a clip of 64x48" in source.remarks[0]


@pytest.mark.parametrize(
    ("heads", "lost", "changed"),
    [
        (["A", "", "A", ""], False, []),  # repeated or not, they stay the same
        (["A", "A", "B", "B"], False, [2]),  # each keyframe has its own
        (["A", "B", ""], True, [1]),  # a decoder that starts at the last takes A
    ],
)
def test_parameter_sets_that_keyframes_lack(
    heads: list[str], lost: bool, changed: list[int]
) -> None:
    carried = Carried("h264")
    for number, head in enumerate(heads):
        sets = f"\0\0\1\x67{head}" if head else ""
        packet = av.Packet((sets + "\0\0\1\x65slice").encode("latin-1"))
        packet.is_keyframe = True
        carried.see(packet, number)
    assert (carried.lost_by_seeks, carried.changed) == (lost, changed)


def test_a_picture_that_is_turned_in_the_middle(tmp_path: Path) -> None:
    """As in a WebRTC recording: later frames keep their shape, between bars."""
    parts = [
        make_clip(
            tmp_path / f"{number}.webm",
            FRAMES,
            codec="libvpx",
            options={"g": "12", "b": "300k"},
            size=size,
            picture=lambda i, number=number, size=size: barcode(i + number * FRAMES, *size),
        )
        for number, size in enumerate([(48, 64), (96, 48)])
    ]
    turned = tmp_path / "turned.webm"
    with av.open(str(turned), "w") as target:
        stream = None
        for number, part in enumerate(parts):
            with av.open(str(part)) as source:
                stream = stream or target.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(video=0):
                    if packet.size:
                        packet.pts += number * FRAMES * 40
                        packet.dts, packet.stream = packet.pts, stream
                        target.mux(packet)
    source = probe(str(turned))
    note = "48x96 pixels in a clip of 64x48, scaled and fitted in with black bars"
    assert source.remarks == (f"its picture changes its size, first at frame 60 (2.40 s): {note}",)
    for size, inner in ((48, slice(20, 44)), (96, slice(40, 88))):
        (segment,) = plan_segments(source, size=size)
        frames = list(decode(segment))
        assert [frame.note for frame in frames] == [""] * FRAMES + [note] * FRAMES
        assert [read_barcode(frame.rgb) for frame in frames[:FRAMES]] == list(range(FRAMES))
        for number, frame in enumerate(frames[FRAMES:], FRAMES):
            assert read_barcode(frame.rgb[:, inner]) == number
            assert not frame.rgb[:, : inner.start].any()
            assert not frame.rgb[:, inner.stop :].any()


@pytest.mark.parametrize(
    ("codec", "head", "sets"),
    [
        ("h264", b"\0\0\0\1\x09\xf0\0\0\0\1\x67SPS\0\0\1\x68PPS\0\0\1\x65slice", b"\x67SPS\x68PPS"),
        ("h264", b"\0\0\0\4\x67SPS\0\0\0\4\x68PPS\0\0\0\6\x65slice", b"\x67SPS\x68PPS"),
        ("h264", b"\0\0\0\6\x65slice\0\0\0\4\x67SPS", b""),
        ("hevc", b"\0\0\1\x42\1SPS\0\0\1\x26\1slice", b"\x42\1SPS"),
        ("vp8", b"\x10\2\0\x9d\1\x2a\x40\0\x30\0rest", b"\x40\0\x30\0"),
        (
            "mpeg2video",
            b"\0\0\1\xb3size\0\0\1\xb5more\0\0\1\xb8gop",
            b"\0\0\1\xb3size\0\0\1\xb5more",
        ),
        ("mpeg4", b"\0\0\1\0\0\0\1\x20vol\0\0\1\xb6", b"\0\0\1\x20vol"),
        ("ffv1", b"anything", b""),
    ],
)
def test_parameter_sets(codec: str, head: bytes, sets: bytes) -> None:
    assert parameter_sets(codec, head) == sets
