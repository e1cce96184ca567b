"""A job's things on a worker: tracked over a shot when it is calibrated, read when it is edited."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from raydepth.batch import Batch, shot_id, take_rows
from raydepth.frames.segments import Segment, working_size
from raydepth.job import Job
from raydepth.layers.things.files import MaskFiles
from raydepth.layers.things.place import measure_depth, steady_depth
from raydepth.layers.things.prompts import clicked_prompt
from raydepth.layers.things.protocol import Picture, Prompt, Segmenter, TextFinder
from raydepth.layers.things.rows import Click, Keep, Rows, View
from raydepth.layers.things.said import said, thing_names
from raydepth.layers.things.settings import Thing
from raydepth.layers.things.stage import ABSENT, HIDDEN, SEEN, ReadThings, ThingFrame
from raydepth.layers.things.track import track
from raydepth.output.folder import OutputFolder
from raydepth.output.record import ThingsRecord
from raydepth.output.things import PIECE, MaskWriter, ThingTracks, Track

SIZE = 480
"""Short side of the pictures that things are tracked in, at most."""
_BATCH = 4
_HELD = 96
"""Frames that are held to be gone through in reverse: 120 MB of them."""
_LOOKED = (1 / 2, 1 / 3, 2 / 3, 1 / 6, 5 / 6)
"""Where in a shot a thing is looked for that a word names."""

Decode = Callable[[Segment, int], Iterator[Batch]]
Depth = Callable[[Batch], np.ndarray]
"""Normalised inverse depth float32 [H,W] of a batch of one frame."""


class Stopped(Exception):
    """The run is stopping; a track of half of the frames must not be kept."""


class SmallShot:
    """The frames of a shot, decoded small."""

    def __init__(self, segments: Sequence[Segment], decode: Decode, depth: Depth) -> None:
        """Keeps what it is given.

        Args:
            segments: the shot's frames.
            decode: gives the frames of a segment in batches of so many.
            depth: gives their depth.
        """
        self._segments = [_small(segment) for segment in segments]
        self._decode, self._depth = decode, depth
        counts = [len(segment) for segment in self._segments]
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(int)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pictures; masks of all frames are of one size."""
        return self._segments[0].height, self._segments[0].width

    def forward(self, start: int) -> Iterator[View]:
        """Frames from a row on to the end."""
        yield from self._between(start, len(self))

    def backward(self, start: int) -> Iterator[View]:
        """Frames from a row on to the beginning, in reverse; a few are held at a time."""
        stop = start + 1
        while stop > 0:
            begin = max(0, (stop - 1) // _HELD * _HELD)
            yield from reversed(list(self._between(begin, stop)))
            stop = begin

    def at(self, rows: Sequence[int]) -> Iterator[View]:
        """Single frames, in order."""
        for row in rows:
            yield from self._between(row, row + 1)

    def _between(self, start: int, stop: int) -> Iterator[View]:
        for segment, first in zip(self._segments, self._starts, strict=False):
            inside = slice(max(start - first, 0), max(min(stop - first, len(segment)), 0))
            row = first + inside.start
            if inside.start >= inside.stop:
                continue
            for batch in self._decode(segment.take(inside), _BATCH):
                for i in range(len(batch["status"])):
                    yield View(int(row), self._picture(take_rows(batch, np.array([i]))))
                    row += 1

    def _picture(self, batch: Batch) -> Picture | None:
        if batch["status"][0] != "ok":
            return None
        return Picture(batch["rgb"][0], lambda: self._depth(batch))


def _small(segment: Segment) -> Segment:
    if min(segment.height, segment.width) <= SIZE:
        return segment
    height, width = working_size(segment.height, segment.width, SIZE)
    return replace(segment, height=height, width=width)


@dataclass(frozen=True)
class ThingTracker:
    """Tracks a job's things through shots, with a worker's models."""

    job: Job
    segmenter: Segmenter
    finder: TextFinder | None = None

    def __call__(self, segments: Sequence[Segment], decode: Decode, depth: Depth) -> ThingsRecord:
        """Tracks the things of one shot and keeps their masks.

        Args:
            segments: the shot's frames.
            decode: gives the frames of a segment in batches of so many; may raise ``Stopped``.
            depth: gives the normalised depth of a frame.
        """
        shot = SmallShot(segments, decode, depth)
        here = [one.thing for one in said(self.job.layers.things) if one.of(segments[0].path)]
        notes: dict[str, str] = {}
        clicks = clicks_of(here, segments, shot.size)
        for thing in here:
            if thing.text:
                found = self._look_for(thing, shot)
                clicks += found
                if not found:
                    notes[thing.name] = f"{thing.text!r} was not found in this shot"
        filed = {thing.name: MaskFiles(thing) for thing in here if thing.masks}
        folder = OutputFolder.at(self.job.output.path)
        name = shot_id(segments[0].video, int(segments[0].shots[0]))
        writer, index = MaskWriter(folder, name), _joined(segments, "frame_index")

        def keep(row: int, thing: str, mask: np.ndarray) -> None:
            writer.put(int(index[row]), thing, mask)

        names = [one for one in dict.fromkeys(click.name for click in clicks) if one not in filed]
        rows = track(
            shot,
            names,
            [click for click in clicks if click.name in names],
            self.segmenter,
            keep,
        )
        read = _read_files(filed, segments, shot, self.segmenter.every, keep)
        both = Rows(
            *(
                np.concatenate([getattr(one, what) for one in (rows, read)], axis=1)
                for what in ("state", "iou", "depth")
            )
        )
        depths = [steady_depth(both.depth[:, i]) for i in range(both.state.shape[1])]
        inv_depth = np.stack(depths, 1) if depths else np.zeros((len(shot), 0), np.float32)
        kept = Track((*names, *filed), index, both.state, inv_depth, both.iou)
        writer.finish(kept)
        counts = ThingTracks(folder, name).counts()
        for thing_name in thing_names(self.job.layers.things):
            if thing_name not in counts:
                counts[thing_name] = {ABSENT: len(shot)}
                notes.setdefault(thing_name, "nothing was clicked in this shot")
        return ThingsRecord(self.segmenter.name, counts, notes)

    def _look_for(self, thing: Thing, shot: SmallShot) -> list[Click]:
        """What a word names, in the frame that shows it best; empty where it is nowhere."""
        best: tuple[float, int, list[np.ndarray]] | None = None
        if self.finder is None or not thing.text:
            return []
        looked = dict.fromkeys(int(part * len(shot)) for part in _LOOKED)
        for view in shot.at(list(looked)):
            if view.picture is None:
                continue
            found = self.finder(view.picture, thing.text)
            if found:
                score, boxes = chosen(found, thing.which, view.picture)
                if best is None or score > best[0]:
                    best = score, view.row, boxes
        if best is None:
            return []
        _, row, boxes = best
        names = [thing.name]
        if len(boxes) > 1:
            names = [f"{thing.name}{PIECE}{i}" for i in range(len(boxes))]
        return [Click(name, row, Prompt(box=box)) for name, box in zip(names, boxes, strict=True)]


def chosen(
    found: Sequence[tuple[np.ndarray, float]], which: str, picture: Picture
) -> tuple[float, list[np.ndarray]]:
    """The boxes of those that ``which`` means, and the score of the best of them.

    Args:
        found: boxes float32 [4] and scores, at least one.
        which: ``largest``, ``nearest`` or ``all``.
        picture: where they were found.
    """
    if which == "all":
        return max(score for _, score in found), [box for box, _ in found]
    if which == "nearest":
        inv_depth = picture.inv_depth()

        def rank(box: np.ndarray) -> float:
            x0, y0, x1, y1 = np.rint(box).astype(int).clip(0)
            inside = inv_depth[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
            return float(np.median(inside)) if inside.size else -np.inf
    else:

        def rank(box: np.ndarray) -> float:
            return float((box[2] - box[0]) * (box[3] - box[1]))

    box, score = max(found, key=lambda one: rank(one[0]))
    return score, [box]


def clicks_of(
    things: Sequence[Thing], segments: Sequence[Segment], size: tuple[int, int]
) -> list[Click]:
    """The clicks that lie in a shot, in pixels of its pictures (height, width).

    Those of one thing in one frame make one prompt.
    """
    rows: dict[tuple[str, int], list[Thing]] = {}
    for thing in things:
        row = clicked_row(thing, segments)
        if row is not None:
            rows.setdefault((thing.name, row), []).append(thing)
    return [
        Click(name, row, clicked_prompt(together, *size)) for (name, row), together in rows.items()
    ]


def clicked_row(thing: Thing, segments: Sequence[Segment]) -> int | None:
    """The frame of a shot that was clicked; None where the click is not in it, or there is none."""
    if thing.masks or thing.text:
        return None
    shot, times = int(segments[0].shots[0]), _joined(segments, "time_s")
    if thing.shot is not None and thing.shot != shot:
        return None
    if thing.at_s is None:
        return 0 if thing.shot is not None or shot == segments[0].first_shot else None
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1 / 25
    if not times[0] - step / 2 <= thing.at_s < times[-1] + step / 2:
        return None
    return int(np.argmin(np.abs(times - thing.at_s)))


def _joined(segments: Sequence[Segment], column: str) -> np.ndarray:
    return np.concatenate([getattr(segment, column) for segment in segments])


def _read_files(
    filed: Mapping[str, MaskFiles],
    segments: Sequence[Segment],
    shot: SmallShot,
    every: int,
    keep: Keep,
) -> Rows:
    """What mask files say of every frame; depth is measured in every n-th."""
    rows = Rows.empty(len(shot), len(filed))
    if not filed:
        return rows
    row = 0
    for segment in segments:
        for i in range(len(segment)):
            for column, (name, files) in enumerate(filed.items()):
                mask = _file_mask(files, segment, i, shot.size)
                if mask is None:
                    continue
                rows.state[row, column] = SEEN if mask.any() else HIDDEN
                if not mask.any():
                    continue
                keep(row, name, mask)
                if row % every == 0:
                    for view in shot.at([row]):
                        if view.picture is not None:
                            depth = measure_depth(view.picture.inv_depth(), mask)
                            rows.depth[row, column] = depth
            row += 1
    return rows


def _file_mask(
    files: MaskFiles, segment: Segment, row: int, size: tuple[int, int]
) -> np.ndarray | None:
    """The mask of a frame, bool [h,w]; None where its file is gone or can't be read, which the
    frame itself says when it is edited.
    """
    try:
        return files.read(mask_path(files, segment, row), *size) >= 0.5
    except (OSError, ValueError):
        return None


def mask_path(files: MaskFiles, segment: Segment, row: int) -> str:
    """The mask file of a segment's frame."""
    return files.files.path(
        segment.path,
        frame_index=int(segment.frame_index[row]),
        pts=int(segment.pts[row]),
        image=segment.images[row] if segment.images else None,
    )


def read_things(job: Job, folder: OutputFolder, shot: str) -> ReadThings:
    """What gives the things of a shot's frames.

    Raises:
        JobError: the shot's table is gone or damaged.
    """
    tracks = ThingTracks(folder, shot)
    filed = [(one, MaskFiles(one.thing)) for one in said(job.layers.things) if one.thing.masks]

    def read(batch: Batch) -> Mapping[str, ThingFrame]:
        things = tracks(int(batch["frame_index"][0]))
        for one, files in filed:
            known = things.get(one.thing.name, ThingFrame(ABSENT))
            things[one.thing.name] = _from_file(files, batch, known)
        return things

    return read


def _from_file(files: MaskFiles, batch: Batch, known: ThingFrame) -> ThingFrame:
    """A thing as its file has it, soft and at the frame's own size."""
    path = files.path(batch)
    try:
        mask = files.read(path, *batch["rgb"].shape[1:3])
    except FileNotFoundError:
        return ThingFrame(ABSENT)
    except (OSError, ValueError) as error:
        return ThingFrame(ABSENT, error=str(error))
    state = SEEN if mask.max() >= 0.5 else HIDDEN
    return replace(known, state=state, mask=mask if state == SEEN else None)
