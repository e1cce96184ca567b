"""gs:// goes through the same code as s3://: input, output and lease against an emulator on
loopback.
"""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from raydepth.errors import JobError
from raydepth.frames.decode import decode
from raydepth.frames.probe import probe
from raydepth.frames.segments import plan_segments
from raydepth.frames.sources import expand
from raydepth.output.folder import OutputFolder
from tests.support.clips import write_clip


@pytest.fixture(scope="module")
def options() -> Iterator[str]:
    """What a URI needs to reach the emulator, which has a bucket called ``bucket``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "gcp_storage_emulator",
        "start",
        "--host=127.0.0.1",
        f"--port={port}",
    ]
    emulator = subprocess.Popen(
        [*command, "--in-memory", "--default-bucket=bucket"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(100):
            with socket.socket() as there:
                if there.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"?scheme=http&endpoint_override=127.0.0.1:{port}&anonymous=true"
    finally:
        emulator.kill()
        emulator.wait()


def test_output(options: str) -> None:
    folder = OutputFolder.at(f"gs://bucket/out{options}")
    folder.prepare()
    big = bytes(range(256)) * (
        1 << 10
    )  # the emulator sends whole objects, whatever range is asked for: keep them small
    folder.write("frames/a/big", big)
    with folder.lock() as lock, pytest.raises(JobError, match="in use by another run"):
        assert folder.files("") == {"frames/a/big": len(big)}
        assert not lock.lost()
        folder.lock()
    assert folder.read("frames/a/big") == big
    folder.delete(folder.files("frames"))
    assert folder.files("") == {}
    with pytest.raises(JobError, match=r"^output\.path: "):
        OutputFolder.at(f"gs://no-bucket/out{options}").prepare()


def test_input(options: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    clip = write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=24)
    OutputFolder.at(f"gs://bucket/in{options}").write("clip.mp4", clip.read_bytes())
    (uri,) = expand([f"gs://bucket/in/*.mp4{options}"])
    source = probe(uri)
    assert source.video == probe(str(clip)).video
    (segment,) = plan_segments(source, size=None)
    assert [frame.rgb is not None for frame in decode(segment)] == [True] * 24
    with pytest.raises(JobError, match="there is no such bucket"):
        expand([f"gs://no-bucket/a.mp4{options}"])
