"""``videos.json``: what became of each clip's video, and what it was made of, so that a run writes
only what is missing or stale.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from raydepth.files.text import utf8
from raydepth.output.folder import OutputFolder
from raydepth.output.plan import Part
from raydepth.output.shards import FRAMES

VIDEOS = "videos"
ENDING = ".mp4"
RECORD = "videos.json"
_RECIPE = 2
"""Changes with how videos are made: those of another recipe are made again."""


@dataclass(frozen=True)
class ClipVideo:
    """What became of a clip's video."""

    video: str
    """Id of the clip."""
    path: str
    """The source."""
    made_of: str = ""
    """Hash of all that it was made of."""
    size: int | None = None
    """Bytes; None: there is no file."""
    outcome: str = ""
    """In words; empty: it is still to be written."""
    failed: bool = False
    """Whether something went wrong; the next run tries again."""
    name: str = ""
    """What the clip's outputs are called; empty in records that are older than such names."""

    @property
    def file(self) -> str:
        """Its name in the output folder."""
        return video_name(self.name or self.video)


def video_name(name: str) -> str:
    """The file of a clip's video inside the output folder."""
    return f"{VIDEOS}/{name}{ENDING}"


def clip_videos(
    folder: OutputFolder,
    parts: Sequence[Part],
    names: Mapping[str, str],
    *,
    crf: int,
    into: OutputFolder | None = None,
) -> list[ClipVideo]:
    """What became of the videos of these clips, in order.

    Those that are not there as they should be have no outcome, or that of the try that failed.

    Args:
        folder: the output of the run.
        parts: of the clips, in order.
        names: what each clip is called, by video id; others go by that.
        crf: of the videos.
        into: where the videos are; None: there.

    Raises:
        OSError: the storage fails.
    """
    target = into or folder
    known, sizes = read_record(target), target.files(VIDEOS)
    shards = _shards(folder)
    found = []
    for video, group in groupby(parts, key=lambda part: part.segment.video):
        clip = list(group)
        path, made_of = utf8(clip[0].segment.path), _made_of(clip, shards.get(video, []), crf)
        name = names.get(video, video)
        there = replace(known.get(video, ClipVideo(video, path)), name=name)
        size = sizes.get(there.file)
        same = there.made_of == made_of and there.size == size
        outcome = there.outcome if same or there.failed else ""
        found.append(ClipVideo(video, path, made_of, size, outcome, there.failed, name))
    return found


def recorded_videos(
    folder: OutputFolder, plan: pa.Table, names: Mapping[str, str]
) -> list[ClipVideo]:
    """What the last run said of the video of every clip of a plan (``output.plan.read_plan``)."""
    known, sizes = read_record(folder), folder.files(VIDEOS)
    clips = dict(zip(plan["video"].to_pylist(), plan["path"].to_pylist(), strict=True))
    found = []
    for video, path in clips.items():
        if video is not None:  # not of a source that can't be read
            new = ClipVideo(video, path, name=names.get(video, video))
            clip = replace(known.get(video, new), name=new.name)
            found.append(clip if clip.size == sizes.get(clip.file) else new)
    return found


def read_record(folder: OutputFolder) -> dict[str, ClipVideo]:
    """Video id -> what became of it; what can't be read is written again."""
    try:
        clips = [ClipVideo(**row) for row in json.loads(folder.read(RECORD))]
        for clip in clips:
            texts = (clip.video, clip.path, clip.made_of, clip.outcome, clip.name)
            if not all(isinstance(text, str) for text in texts):
                raise ValueError("its fields are others")
        return {clip.video: clip for clip in clips}
    except (FileNotFoundError, ValueError, TypeError, RecursionError):
        return {}


def write_record(folder: OutputFolder, videos: dict[str, ClipVideo]) -> None:
    rows: list[dict[str, Any]] = [asdict(clip) for _, clip in sorted(videos.items())]
    folder.write(RECORD, json.dumps(rows, indent=1).encode())


def _made_of(parts: Sequence[Part], shards: Sequence[str], crf: int) -> str:
    """What a clip's video is made of, as a hash: frames, shards as they are now, and settings."""
    made_of = hashlib.sha256("\n".join([f"{_RECIPE} {crf}", *shards]).encode())
    for part in parts:
        made_of.update(part.segment.pts[part.start : part.stop].tobytes())
    return made_of.hexdigest()


def _shards(folder: OutputFolder) -> dict[str, list[str]]:
    """Video id -> name, size and time of writing of each of its shards."""
    selector = pafs.FileSelector(folder.path(FRAMES), recursive=True, allow_not_found=True)
    found: dict[str, list[str]] = defaultdict(list)
    for info in sorted(folder.filesystem.get_file_info(selector), key=lambda info: info.path):
        if info.type == pafs.FileType.File:
            video = info.path.removeprefix(folder.path(FRAMES)).lstrip("/").split("/")[0]
            found[video].append(f"{info.base_name} {info.size} {info.mtime_ns}")
    return found
