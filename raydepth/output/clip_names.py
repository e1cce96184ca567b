"""What the outputs of a clip are called: after its source, with the video id where two would clash.

A name, once listed (``output.names.Listed``), stays the clip's own.
"""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping

from raydepth.files import storage
from raydepth.frames.segments import Segment

MAX_BYTES = 120
"""Of a source's name in UTF-8: with id, ending and what a temporary file adds, file systems hold
255."""

_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$"]
    + [f"{port}{number}" for port in ("com", "lpt") for number in "0123456789\u00b9\u00b2\u00b3"]
)
"""Names that Windows keeps for devices, with any ending."""
_OWN = re.compile(r"(?:^|-)[0-9a-f]{16}$", re.IGNORECASE)
"""How names with a video id end: no other name may, or two clips could come to the same one."""


def name_clips(segments: Iterable[Segment], listed: Mapping[str, str]) -> dict[str, str]:
    """The names of a job's clips: what their files and folders in the output folder are called.

    They depend on which sources there are, not on their order. Names that differ in case only, or
    in how their letters are put together, clash, as some file systems tell them not apart.

    Args:
        segments: of all clips of the job.
        listed: names that earlier runs have given, by video id, of clips that are gone too.

    Returns:
        Name by video id, of the job's clips. They are unlike each other and all listed ones.
    """
    wanted = {segment.video: source_name(segment) for segment in segments}
    new = {video: name for video, name in wanted.items() if video not in listed}
    taken = Counter(map(_alike, [*listed.values(), *new.values()]))
    return {
        video: listed.get(video)
        or (name if name and taken[_alike(name)] == 1 else f"{name}-{video}".lstrip("-"))
        for video, name in wanted.items()
    }


def source_name(segment: Segment) -> str:
    """What a clip's source is called, without its ending where it is a video; safe everywhere.

    Empty where nothing of the name can be kept, or where it ends like a name with a video id.
    """
    base = os.path.basename(storage.plain(segment.path).rstrip("/"))
    name = safe_name(os.path.splitext(base)[0] if segment.kind == "video" else base)
    return "" if _OWN.search(_alike(name)) else name


def safe_name(text: str) -> str:
    """The text as a file may be called on Linux, macOS and Windows, and in object storage.

    Unicode is composed (NFC); what separates folders, steers terminals or cannot be encoded
    becomes ``_``. No dot, dash or space at its ends hides it or makes it an option. At most
    ``MAX_BYTES`` bytes.
    """
    composed = unicodedata.normalize("NFC", text)
    kept = "".join("_" if _steers(char) else char for char in _FORBIDDEN.sub("_", composed))
    name = kept.lstrip(". -")
    if name.split(".")[0].rstrip().lower() in _DEVICES:
        name = f"_{name}"
    return name.encode()[:MAX_BYTES].decode(errors="ignore").rstrip(". ")


def is_name(text: object) -> bool:
    """Whether a name is one that ``name_clips`` may have given."""
    if not isinstance(text, str):
        return False
    own = _OWN.search(text)
    return (
        bool(text)
        and safe_name(text[: own.start()] if own else text) + (own[0] if own else "") == text
    )


def _steers(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def _alike(name: str) -> str:
    """The same for names that a file system may take for one."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
