"""What some packets carry and later ones need: palettes, decoder headers, parameter sets.

A seek goes past it. So the probe asks here whether a seek can lose something, and where the shape
of the picture may change.
"""

import re
from dataclasses import dataclass, field

from av.packet import Packet

HEAD = 4 << 10
"""Bytes of a keyframe's packet in which its parameter sets stand."""

_KEPT_BY_DECODER = frozenset({"palette", "new_extradata", "param_change"})
"""Side data that FFmpeg gives with one packet only. Decoders keep it for those that follow."""

_MPEG2 = re.compile(rb"\0\0\x01\xb3.*?(?=\0\0\x01[\0\xb8])", re.DOTALL)
_MPEG4 = re.compile(rb"\0\0\x01[\x20-\x2f].*?(?=\0\0\x01)", re.DOTALL)
_JPEG_SIZE = re.compile(rb"\xff[\xc0-\xc2]..(.{5})", re.DOTALL)
_VOP = b"\0\0\1\xb6"


@dataclass
class Carried:
    """Follows a video's packets in decoding order.

    Attributes:
        lost_by_seeks: whether packets need what a seek to them goes past.
        changed: numbers of packets at which the coded picture's size may change.
        packed: whether a packet holds several pictures, as DivX packs B-frames.
    """

    codec: str
    lost_by_seeks: bool = False
    changed: list[int] = field(default_factory=list)
    packed: bool = False
    _first: bytes = b""
    _last: bytes = b""

    def see(self, packet: Packet, number: int) -> None:
        """Takes note of the next packet."""
        if any(data.data_type in _KEPT_BY_DECODER for data in packet.iter_sidedata()):
            self.lost_by_seeks = True
            self.changed += [number] if number else []
        if self.codec == "mpeg4" and not self.packed:
            self.packed = bytes(packet).count(_VOP) > 1
        if packet.is_keyframe:
            self._see_head(parameter_sets(self.codec, bytes(memoryview(packet)[:HEAD])), number)

    def _see_head(self, head: bytes, number: int) -> None:
        if not head:  # it needs the sets that came last; a decoder starts with the first ones
            self.lost_by_seeks |= self._last != self._first
            return
        if self._last and head != self._last:
            self.changed.append(number)
        self._first, self._last = self._first or head, head


def parameter_sets(codec: str, head: bytes) -> bytes:
    """What a keyframe's packet says at its beginning on how pictures are coded, size included.

    Empty where it says nothing, or where the codec is not known here.
    """
    if codec in ("h264", "hevc"):
        return _nal_sets(codec, head)
    if codec == "vp8":
        return head[6:10]
    if codec == "vp9":
        return head[:10]
    for name, pattern in (("mpeg2video", _MPEG2), ("mpeg1video", _MPEG2), ("mpeg4", _MPEG4)):
        if codec == name:
            return found[0] if (found := pattern.search(head)) else b""
    if codec == "mjpeg":
        return found[1] if (found := _JPEG_SIZE.search(head)) else b""
    return b""


def _nal_sets(codec: str, head: bytes) -> bytes:
    """The parameter sets (VPS, SPS, PPS) ahead of the first slice."""
    sets = b""
    for unit in _nal_units(head):
        kind = unit[0] & 31 if codec == "h264" else unit[0] >> 1 & 63
        if kind in ((7, 8) if codec == "h264" else (32, 33, 34)):
            sets += unit
        elif kind in ((1, 2, 5) if codec == "h264" else range(32)):
            break
    return sets


def _nal_units(head: bytes) -> list[bytes]:
    """Units behind start codes (Annex B), or behind lengths of four bytes."""
    if head[:3] == b"\0\0\1" or head[:4] == b"\0\0\0\1":
        return [unit.rstrip(b"\0") for unit in head.split(b"\0\0\1") if unit.rstrip(b"\0")]
    units, at = [], 0
    while at + 5 <= len(head):
        size = int.from_bytes(head[at : at + 4], "big")
        if not size:
            break
        units.append(head[at + 4 : at + 4 + size])
        at += 4 + size
    return units
