"""What looking for cuts costs, beside decoding the same clips once.

    python -m benchmarks.shots CLIP [CLIP ...]

Processor seconds of one thread, each the least of three. ``4k`` is the first clip enlarged to
3840x2160 and coded by FFmpeg's x264 at its defaults (keyframes on cuts, 250 frames apart at most).
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from raydepth.frames.decode import decode
from raydepth.frames.probe import probe
from raydepth.frames.segments import plan_segments
from raydepth.frames.shots import find_cuts

RESULTS = Path(__file__).parent / "results" / "shots.json"
REPEATS = 3
MOST = 300
"""Frames of the enlarged clip."""


def seconds(work: Callable[[], Any]) -> float:
    """The least processor time of some calls."""
    taken = []
    for _ in range(REPEATS):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return min(taken)


def measure(clip: str) -> dict[str, Any]:
    """A clip's figures."""
    source = probe(clip)
    (whole,) = plan_segments(source, size=512, min_frames=len(source.pts) + 1)
    plain = seconds(lambda: sum(1 for _ in decode(whole)))
    search = seconds(lambda: find_cuts(source))
    return {
        "frames": len(source.pts),
        "size": f"{source.width}x{source.height}",
        "keyframes": int(np.count_nonzero(source.keyframe)),
        "cuts": list(find_cuts(source)),
        "cut_search_over_decode": round(search / plain, 3),
    }


def enlarged(clip: str, path: Path) -> str:
    """The clip at 3840x2160."""
    with av.open(clip) as given, av.open(str(path), "w") as made:
        stream = made.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 3840, 2160, "yuv420p"
        stream.time_base = Fraction(1, 25)
        for number, frame in enumerate(given.decode(video=0)):
            if number == MOST:
                break
            large = frame.reformat(width=3840, height=2160, format="yuv420p")
            large.pts, large.time_base = number, Fraction(1, 25)
            made.mux(stream.encode(large))
        made.mux(stream.encode())
    return str(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="+")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        large = enlarged(arguments.clips[0], Path(scratch, "4k.mp4"))
        found = {Path(clip).stem: measure(clip) for clip in [*arguments.clips, large]}
    for name, figures in found.items():
        print(name, figures)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
