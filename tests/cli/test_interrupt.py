"""Ctrl-C ends the program at once, with its line and its exit code, whatever it is at."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from raydepth.cli import FAILED
from raydepth.interrupt import ANSWER

pytestmark = pytest.mark.timeout(120)

BUSY_S = 300
"""What the program would take without Ctrl-C."""
AT_ONCE_S = 20
"""A second, on a machine that does nothing else."""

PHASES = {
    "a call of the main thread": "time.sleep(300)",
    "a call that hears no signals": "hashlib.pbkdf2_hmac('sha512', b'a', b'b', 2 * 10**9)",
    "a wait for threads": """
with ThreadPoolExecutor(2) as pool: list(pool.map(time.sleep, [300] * 4))
""",
    "code that catches everything": """
for _ in range(300):
    try: time.sleep(1)
    except BaseException: pass
""",
    "putting things back": """
try: time.sleep(300)
finally: time.sleep(300)
""",
    "a child": "subprocess.run([sys.executable, '-c', 'import time; time.sleep(300)'])",
}
AT_WORK = f"""
import hashlib, subprocess, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from raydepth import interrupt
threading.Thread(target=time.sleep, args=[{BUSY_S}]).start()  # the interpreter would wait for it
with interrupt.answered({FAILED}, lambda line: print(line, flush=True)):
    print("at work", flush=True)
"""


def indented(code: str) -> str:
    return "\n".join("    " + line for line in code.splitlines())


def begin(code: str, *arguments: object, folder: Path | None = None) -> subprocess.Popen[str]:
    """A program that has said that it is at work."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
    )
    assert process.stdout is not None
    assert "at work\n" in process.stdout  # behind the phases that the program names
    time.sleep(0.3)
    return process


def end_of(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit code, and what it has said since it was at work."""
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert time.monotonic() - began < AT_ONCE_S
    return process.returncode, said


@pytest.mark.parametrize("phase", PHASES)
def test_whatever_the_main_thread_is_at(phase: str):
    process = begin(AT_WORK + indented(PHASES[phase]))
    children = psutil.Process(process.pid).children()
    assert end_of(process) == (FAILED, f"{ANSWER}\n")
    assert not psutil.wait_procs(children, timeout=10)[1]


def test_one_that_is_expected_is_left_alone_and_the_next_one_ends_the_program():
    code = """
with interrupt.expected() as only_once:
    try: time.sleep(300)
    except KeyboardInterrupt:
        only_once()
        print("finishing", flush=True)
    time.sleep(300)
"""
    process = begin(AT_WORK + indented(code))
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None and process.stdout.readline() == "finishing\n"
    time.sleep(1.5)
    assert process.poll() is None
    assert end_of(process) == (FAILED, f"{ANSWER}\n")


PROGRAM = """
import sys, time
import {module} as module
def busy(*arguments, **named):
    if not said:
        said.append(print("at work", flush=True))
    time.sleep(300)
said = []
module.{name} = busy
from raydepth.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("place", "command"),
    [
        ("raydepth.job.load_job", "run"),
        ("raydepth.frames.find.probe_once", "run"),  # by threads, one a source
        ("raydepth.run.estimate.find_segments", "plan"),
        ("raydepth.run.summary.rebuild", "report"),
        ("raydepth.output.ledger.status", "status"),
    ],
)
def test_every_command_in_every_phase(tmp_path: Path, place: str, command: str):
    for number in range(3):
        (tmp_path / f"{number}.mp4").write_bytes(b"no video")
    (tmp_path / "job.yaml").write_text(
        "schema_version: 1\ninput: {paths: '*.mp4'}\noutput: {path: out}\ncompose: {method: paste}"
    )
    module, _, name = place.rpartition(".")
    what = "job.yaml" if command in ("run", "plan") else "out"
    process = begin(PROGRAM.format(module=module, name=name), command, what, folder=tmp_path)
    code, said = end_of(process)
    assert (code, said) == (FAILED, f"raydepth: {ANSWER}\n")
    assert not (tmp_path / "out").exists()
