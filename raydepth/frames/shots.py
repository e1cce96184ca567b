"""Where the shots of a source begin: at seconds that the job names, or at hard cuts.

Cuts are found by PySceneDetect's AdaptiveDetector on small frames: a frame that differs from the
one before far more than its neighbours do. Encoders put keyframes on cuts, and fixed groups of
pictures are short. So keyframes are compared first, and only stretches between two that differ are
decoded whole. What is shown twice within one stretch with another shot between is missed where both
its keyframes look alike; so are fades and dissolves, in which no frame differs much from the one
before. Flashes and noise are no cuts.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise

import cv2
import numpy as np

from raydepth.frames.decode import decode
from raydepth.frames.keyframes import decode_keyframes
from raydepth.frames.known_probes import cuts_once
from raydepth.frames.segments import Segment, plan_segments
from raydepth.frames.source import Source

SIDE = 96
"""Short side in pixels of the frames that are compared."""
DIFFERENT = 15.0
"""Mean change of hue, saturation and value, in levels, from which on two frames may be of two
shots; ``min_content_val`` of AdaptiveDetector by default."""
ALIKE = 10.0
"""Below it two keyframes are of one shot, or of one place that is shown again."""
SHORTEST_S = 0.25
"""Seconds of the shortest shot between two others: what passes sooner is a flash."""
FEWEST = 6
"""Frames of it."""
LONGEST_GAP_S = 12.0
"""Stretches between keyframes of more seconds are decoded whole: an encoder that sets keyframes so
seldom may set none on cuts."""
NEAR = 32
"""Frames within which the keyframes of streams that have many are looked at once."""
_WINDOW = 2
"""Frames before and after one whose changes its own is compared with (AdaptiveDetector)."""


def shots_of(
    source: Source, asked: Sequence[float] | str, *, threads: int = 1
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Where the second shot of a source and later ones begin.

    Args:
        source: what probe() found.
        asked: ``input.shots``.
        threads: of FFmpeg's decoder, where cuts are looked for.

    Returns:
        Frame indices in the source, increasing, and what a user should know: seconds at which no
        shot can begin.
    """
    if asked == "off" or (asked == "auto" and source.kind == "images"):
        return (), ()
    if isinstance(asked, str):
        return cuts_once(source, partial(find_cuts, threads=threads)), ()
    # Half a frame, as seconds written with few digits mean the frame whose time is next to them.
    begins = np.searchsorted(source.time_s, np.array(asked) - 0.5 / source.fps)
    inside = (begins > 0) & (begins < len(source.pts))
    beyond = [f"{seconds:g}" for seconds, there in zip(asked, inside, strict=True) if not there]
    last = f"{source.time_s[-1]:.2f}"
    note = f"no shot begins at {', '.join(beyond)} s (input.shots): its last frame is at {last} s"
    return tuple(np.unique(begins[inside]).tolist()), (note,) if beyond else ()


def find_cuts(source: Source, *, threads: int = 1) -> tuple[int, ...]:
    """The hard cuts of a video: frame indices of the first frames behind them."""
    (whole,) = plan_segments(source, size=SIDE, min_frames=len(source.pts) + 1)
    cuts: list[int] = []
    for start, stop in _stretches(source, whole):
        for cut in _cuts_in(source, whole.take(slice(start, stop)), threads):
            if not cuts or cut - cuts[-1] >= _shortest(source):
                cuts.append(cut)
    return tuple(cuts)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """How far two pictures uint8 [H,W,3] in HSV differ, in levels, as ContentDetector measures
    it.
    """
    return float(cv2.absdiff(a, b).mean())


def _shortest(source: Source) -> int:
    return max(FEWEST, round(SHORTEST_S * source.fps))


def _stretches(source: Source, whole: Segment) -> Iterator[tuple[int, int]]:
    """Rows start and stop of what is to be decoded: stretches between keyframes that differ, with
    the frames behind them that tell whether the second one is on a cut.
    """
    count, keyframes = len(whole), np.flatnonzero(source.keyframe)
    if not source.seekable or not len(keyframes):
        yield 0, count
        return
    looked = [0]
    for keyframe in keyframes.tolist():
        if keyframe - looked[-1] >= NEAR:
            looked.append(keyframe)
    pictures = decode_keyframes(whole, looked)
    stretches: list[tuple[int, int]] = []
    before = next(pictures)
    for (start, stop), after in zip(pairwise(looked), pictures, strict=True):
        seldom = (stop - start) / source.fps > LONGEST_GAP_S
        if seldom or before is None or after is None or _differ(before, after):
            stretches.append((start, stop))
        before = after
    # Nothing behind the last keyframe says whether its stretch has a cut.
    stretches.append((looked[-1], count))
    begin, end = stretches[0]
    for start, stop in stretches[1:]:
        if start != end:
            yield begin, min(end + _shortest(source) + _WINDOW, count)
            begin = start
        end = stop
    yield begin, end


def _differ(a: np.ndarray, b: np.ndarray) -> bool:
    return difference(_hsv(a), _hsv(b)) >= ALIKE


def _hsv(rgb: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)


def _cuts_in(source: Source, stretch: Segment, threads: int) -> Iterator[int]:
    """Frame indices of the cuts within a stretch, in order."""
    from scenedetect.common import FrameTimecode
    from scenedetect.detectors import AdaptiveDetector

    detector = AdaptiveDetector(min_scene_len=0, min_content_val=DIFFERENT, window_width=_WINDOW)
    reach = _shortest(source)
    recent: dict[int, np.ndarray] = {}  # by row, the pictures that a cut is proved with
    candidates: list[int] = []
    last, shown = -1, None

    def look(at: int, rgb: np.ndarray) -> None:
        found = detector.process_frame(FrameTimecode(at + _WINDOW, source.fps), rgb[..., ::-1])
        candidates.extend(cut.frame_num - _WINDOW for cut in found)

    for row, frame in enumerate(decode(stretch, threads=threads)):
        if frame.rgb is None:  # damage is no cut: the frame before stands for it
            continue
        if shown is None:
            for at in range(row - _WINDOW, row):
                look(at, frame.rgb)
        last, shown = row, frame.rgb
        look(row, shown)
        recent[row] = _hsv(shown)
        recent.pop(row - 2 * reach - 2 * _WINDOW - 1, None)
        while candidates and row >= candidates[0] + reach:
            if _is_cut(recent, candidates[0], reach):
                yield int(stretch.frame_index[candidates[0]])
            del candidates[0]
    if shown is not None:
        for at in range(last + 1, last + 1 + _WINDOW):
            look(at, shown)
    for cut in candidates:
        if _is_cut(recent, cut, reach):
            yield int(stretch.frame_index[cut])


def _is_cut(recent: dict[int, np.ndarray], cut: int, reach: int) -> bool:
    """Whether a detector's cut is one: what is before it is not shown again right behind it, as
    with a flash, and both sides differ by more than each changes by itself, unlike noise.
    """
    before = [row for row in recent if cut - reach <= row < cut]
    after = [row for row in recent if cut <= row < cut + reach]
    if not before or not after:
        return False
    a, b = recent[max(before)], recent[min(after)]
    across = [difference(a, recent[row]) for row in after]
    across += [difference(recent[row], b) for row in before]
    within = [difference(a, recent[row]) for row in before[:-1]]
    within += [difference(recent[row], b) for row in after[1:]]
    own = float(np.mean(within)) if within else 0.0
    return min(across) >= max(ALIKE, difference(a, b) / 2) and min(across) > own
