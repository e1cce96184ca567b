"""Peak memory of a whole run (driver, Ray and workers together) at 100 and at 1,000 frames of one
4K clip.

    python -m benchmarks.memory            about six minutes on two cores

Prints the peaks and their ratio, and keeps them in benchmarks/results/memory.json. The clip is made
here: 50 encoded 4K pictures, their packets repeated, so that writing 1,000 frames takes seconds.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np
import psutil
import yaml

from raydepth.output.record import environment

HEIGHT, WIDTH, GOP = 2160, 3840, 50


def write_4k(path: Path, frames: int) -> None:
    """H.264, 3840 x 2160, noisy enough that a frame takes about as many bytes as a camera's."""
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 255, (HEIGHT // 4, WIDTH // 4 + GOP, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {
            "preset": "ultrafast",
            "crf": "30",
            "g": str(GOP),
            "bf": "0",
            "tune": "zerolatency",
        }
        packets = []
        for i in range(GOP):
            picture = np.repeat(np.repeat(texture[:, i : i + WIDTH // 4], 4, axis=0), 4, axis=1)
            packets += stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24"))
        packets += stream.encode()
        tick, time_base = packets[1].pts - packets[0].pts, packets[0].time_base
        coded = [(bytes(packet), packet.is_keyframe) for packet in packets]
        for i in range(frames):
            data, keyframe = coded[i % GOP]
            packet = av.Packet(data)
            packet.stream, packet.time_base = stream, time_base
            packet.pts = packet.dts = i * tick
            packet.is_keyframe = keyframe
            container.mux(packet)


def peak_of(job: Path, log: Path) -> tuple[float, float]:
    """Runs a job in a process of its own; peak MB of its process tree (shared pages counted once),
    and seconds.
    """
    began = time.monotonic()
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "raydepth", "run", str(job)], stdout=stream, stderr=stream
        )
        peak = 0.0
        while process.poll() is None:
            total = 0
            for member in [
                psutil.Process(process.pid),
                *psutil.Process(process.pid).children(recursive=True),
            ]:
                try:
                    total += member.memory_full_info().pss
                except psutil.Error:
                    continue  # it ended while we looked
            peak = max(peak, total / 1e6)
            time.sleep(0.5)
    if process.returncode:
        raise SystemExit(f"the run failed with {process.returncode}:\n{log.read_text()}")
    return peak, time.monotonic() - began


def main() -> None:
    """Measures and stores."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, nargs=2, default=[100, 1000])
    parser.add_argument("--decode", choices=["stream", "in_actor"], default="stream")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for frames in arguments.frames:
            clip, out = Path(scratch, f"{frames}.mp4"), Path(scratch, f"out{frames}")
            write_4k(clip, frames)
            job = {
                "schema_version": 1,
                "input": {"paths": [str(clip)], "size": 128},
                "depth": {"calibration_frames": 4},
                "compose": {"method": "paste"},
                "output": {"path": str(out), "keep": ["edited"]},
                "run": {"decode": arguments.decode, "object_store_gb": 0.3},
                "evaluate": {"reestimate_every": 0},
            }
            file = Path(scratch, f"{frames}.yaml")
            file.write_text(yaml.safe_dump(job))
            peak, seconds = peak_of(file, Path(scratch, f"{frames}.log"))
            row = {"frames": frames, "file_mb": round(clip.stat().st_size / 1e6, 1)}
            row |= {"peak_mb": round(peak, 1), "seconds": round(seconds, 1)}
            rows.append(row)
            print(row, flush=True)
    ratio = rows[-1]["peak_mb"] / rows[0]["peak_mb"]
    print(
        f"peak memory x {ratio:.3f} from {rows[0]['frames']} to {rows[-1]['frames']} frames "
        f"({arguments.decode})"
    )
    result = {
        "decode": arguments.decode,
        "rows": rows,
        "ratio": ratio,
        "environment": environment(),
    }
    file = Path(__file__).parent / "results" / "memory.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
