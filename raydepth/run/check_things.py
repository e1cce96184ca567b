"""What a job says of its things, held against the frames that there are, before anything starts."""

from collections.abc import Iterator, Mapping, Sequence

from raydepth.errors import JobError
from raydepth.files.text import printable
from raydepth.frames.segments import Segment
from raydepth.frames.sources import SourceNote
from raydepth.job import Job
from raydepth.layers.things.files import MaskFiles
from raydepth.layers.things.said import Said, said
from raydepth.run.calibrator import frames_by_shot
from raydepth.run.things import clicked_row, mask_path


def check_things(job: Job, segments: Sequence[Segment]) -> list[SourceNote]:
    """Looks for the frames that were clicked, and for mask files.

    Returns:
        What is not as it was said in some of several sources.

    Raises:
        JobError: a click lies in no shot of any source that it is for, a thing has no mask file at
            all, or its files are of another shape than the frames.
    """
    shots = frames_by_shot(segments)
    notes: list[SourceNote] = []
    for one in said(job.layers.things):
        own = {shot: frames for shot, frames in shots.items() if one.of(frames[0].path)}
        if one.thing.masks:
            _check_masks(one, own)
        elif not one.thing.text:
            notes += _check_click(one, own)
    return notes


def _check_click(one: Said, shots: Mapping[str, list[Segment]]) -> Iterator[SourceNote]:
    thing = one.thing
    paths = dict.fromkeys(frames[0].path for frames in shots.values())
    hit = {frames[0].path for frames in shots.values() if clicked_row(thing, frames) is not None}
    said = [f"at_s {thing.at_s:g}"] if thing.at_s is not None else []
    said += [f"shot {thing.shot}"] if thing.shot is not None else []
    where = " and ".join(said) or "its first frame"
    if not hit and one.source and not paths:
        yield SourceNote(one.source, f"{one.place}: {thing.name} is for a source the job lacks")
    elif not hit:
        ends = [_extent(path, shots) for path in list(paths)[:3]]
        raise JobError(
            f"{one.place}: {thing.name} is in no shot of any source: {where} was clicked, but "
            f"{'; '.join(ends) or 'there is no source'}"
        )
    for path in paths:
        if path not in hit:
            yield SourceNote(
                path,
                f"{thing.name} is not clicked in it ({one.place}: {where}; {_extent(path, shots)}),"
                " so its frames are without it",
            )


def _extent(path: str, shots: Mapping[str, list[Segment]]) -> str:
    """In words, which times and shots of a source the job covers."""
    own = [frames for frames in shots.values() if frames[0].path == path]
    start, end = own[0][0].time_s[0], own[-1][-1].time_s[-1]
    numbers = [int(frames[0].shots[0]) for frames in own]
    which = f"shot {numbers[0]}" if len(own) == 1 else f"shots {numbers[0]} to {numbers[-1]}"
    return printable(f"{path} has frames from {start:.2f} to {end:.2f} s in {which}")


def _check_masks(one: Said, shots: Mapping[str, list[Segment]]) -> None:
    files, looked = MaskFiles(one.thing), ""
    for frames in shots.values():
        for segment in frames:
            for row in range(len(segment)):
                path = mask_path(files, segment, row)
                try:
                    files.read(path, segment.height, segment.width)
                except FileNotFoundError:
                    looked = looked or path
                    continue
                except (OSError, ValueError) as error:
                    raise JobError(f"{one.place}.masks: {one.thing.name}: {error}") from error
                return
    raise JobError(
        f"{one.place}.masks: {one.thing.name} has no mask file for any frame; looked for "
        f"{looked or one.thing.masks} and on"
    )
