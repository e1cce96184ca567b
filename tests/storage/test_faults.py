"""Object storage that throttles, resets, stalls and refuses: what survives it, and what it costs
where nothing helps.
"""

import pickle
from pathlib import Path

import numpy as np
import pytest

from raydepth.files import ranges, storage
from raydepth.files.ranges import StorageError
from raydepth.frames.decode import decode
from raydepth.frames.probe import probe
from raydepth.frames.segments import plan_segments
from raydepth.frames.sources import SourceError
from raydepth.output.folder import OutputFolder
from tests.frames.barcodes import barcode, make_clip, read_barcode
from tests.storage.conftest import Bucket
from tests.storage.proxy import Fault, Proxy, Request

BIG = np.random.default_rng(1).bytes(21 << 20)
"""More than two parts of a multipart upload."""


def every(n: int, fault: Fault, method: str = ""):
    """Each n-th request (with this method) suffers the fault; retries are requests too, and come
    through.
    """
    seen = []

    def judge(request: Request) -> Fault:
        if method and request.method != method:
            return ""
        seen.append(request)
        return fault if len(seen) % n == 0 else ""

    return judge


@pytest.mark.parametrize("fault", ["slow down", "reset", "stall"])
def test_reading_survives(
    bucket: Bucket, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    uri = bucket.put("big", BIG)
    once = [True]
    judge = every(4, fault, "GET")
    # a stall costs its timeout, so there is one of them
    proxy.fault = lambda r: (
        "" if fault == "stall" and not once else (judge(r) and (once.clear() or fault)) or ""
    )
    with storage.open_file(uri) as file:
        assert file.read(100) == BIG[:100]
        file.seek(-9, 2)
        assert file.read() == BIG[-9:]
        file.seek(0)
        pieces = list(iter(lambda: file.read(1 << 20), b""))
    assert b"".join(pieces) == BIG
    assert storage.read_bytes(uri) == BIG
    assert sum(request.fault == fault for request in proxy.requests) >= (
        1 if fault == "stall" else 2
    )


@pytest.mark.parametrize("fault", ["slow down", pytest.param("stall", marks=pytest.mark.slow)])
def test_writing_survives(bucket: Bucket, proxy: Proxy, fault: Fault) -> None:
    stalls = [3]
    judge = every(3, fault)
    proxy.fault = (
        judge
        if fault == "slow down"
        else lambda r: fault if stalls and r.number == stalls[0] else ""
    )
    folder = OutputFolder.at(f"{bucket.uri}/out")
    folder.write("frames/big", BIG)
    folder.write("frames/small", b"small")
    folder.write("frames/none", b"")
    assert any(request.fault for request in proxy.requests)
    proxy.fault = lambda request: ""
    assert bucket.get("out/frames/big") == BIG
    assert folder.files("frames") == {"frames/big": len(BIG), "frames/none": 0, "frames/small": 5}


def test_an_upload_that_fails_leaves_nothing_new(bucket: Bucket, proxy: Proxy) -> None:
    folder = OutputFolder.at(f"{bucket.uri}/out")
    folder.write("old", b"whole")
    proxy.fault = lambda request: "broken" if "partNumber=2" in request.path else ""
    for name in ("new", "old"):
        with pytest.raises(OSError, match="UploadPart"):
            folder.write(name, BIG)
    proxy.fault = lambda request: "denied" if request.method == "PUT" else ""
    with pytest.raises(OSError, match="ACCESS_DENIED"):
        folder.write("new", b"small")
    assert bucket.sizes() == {"out/old": 5}
    assert bucket.get("out/old") == b"whole"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 frames in 5 groups; a megabyte, so that what a failed read costs can be told from the
    rest.
    """
    return make_clip(
        tmp_path_factory.mktemp("clip") / "clip.mp4",
        60,
        size=(256, 256),
        options={"g": "12", "qp": "0"},
        picture=_noisy_barcode,
    )


def _noisy_barcode(number: int) -> np.ndarray:
    noise = np.random.default_rng(number).integers(-20, 20, (256, 256, 3))
    return (barcode(number, 256, 256) + noise).astype(np.uint8)


def test_decoding_under_throttling_and_resets(
    clip: Path, bucket: Bucket, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "READ_MOST", 512 << 10)
    uri = bucket.put("clip.mp4", clip.read_bytes())
    throttled, broken = every(12, "slow down"), every(7, "reset", "GET")
    proxy.fault = lambda request: throttled(request) or broken(request)
    local, remote = probe(str(clip)), probe(uri)
    assert remote.video == local.video
    for a, b in zip(plan_segments(local, size=None), plan_segments(remote, size=None), strict=True):
        for left, right in zip(decode(a), decode(b), strict=True):
            assert np.array_equal(left.rgb, right.rgb)
    assert {request.fault for request in proxy.requests} == {"", "slow down", "reset"}


def test_what_a_read_that_fails_for_good_costs(
    clip: Path, bucket: Bucket, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames that were read stay good, the others are error rows with the reason, and nothing is
    raised.
    """
    monkeypatch.setattr(ranges, "READ_MOST", 256 << 10)
    uri = bucket.put("clip.mp4", clip.read_bytes())
    (segment,) = plan_segments(probe(uri), size=None)
    gets: list[Request] = []

    def judge(request: Request) -> Fault:
        if request.method != "GET":
            return ""
        gets.append(request)
        return "broken" if len(gets) > 4 else ""

    proxy.fault = judge
    found = list(decode(segment))
    assert [frame.frame_index for frame in found] == list(range(60))
    good = [frame.frame_index for frame in found if frame.rgb is not None]
    assert good == list(range(len(good))) and 0 < len(good) < 60
    assert all(read_barcode(found[i].rgb) == i for i in good)
    assert {frame.error_type for frame in found[len(good) :]} <= {"DecodeError", "Unreadable"}
    assert all("HTTP status 400" in frame.error_message for frame in found[len(good) :])
    proxy.fault = lambda request: ""
    assert [frame.rgb is not None for frame in decode(segment)] == [True] * 60


def test_probing_that_fails_half_way_is_no_shorter_video(
    clip: Path, bucket: Bucket, proxy: Proxy
) -> None:
    uri = bucket.put("clip.mp4", clip.read_bytes())
    probe(uri)
    gets = sum(request.method == "GET" for request in proxy.requests)
    for last in range(0, gets, 2):
        seen: list[Request] = []
        proxy.fault = lambda r, seen=seen, last=last: (
            "broken" if r.method == "GET" and (seen.append(r) or len(seen) > last) else ""
        )
        with pytest.raises(SourceError, match="HTTP status 400") as raised:
            probe(uri)
        assert raised.value.error_type == "Unreadable"


def test_an_object_that_vanishes_after_the_probe(clip: Path, bucket: Bucket) -> None:
    uri = bucket.put("clip.mp4", clip.read_bytes())
    (segment,) = plan_segments(probe(uri), size=None)
    frames = decode(segment)
    assert next(frames).rgb is not None
    bucket.client.delete_object(Bucket=bucket.name, Key="clip.mp4")
    assert len(list(frames)) == 59  # what was fetched already is good, nothing is raised
    found = list(decode(segment))
    assert {(frame.error_type, frame.rgb is None) for frame in found} == {("Missing", True)}
    assert len(found) == 60


def test_a_server_that_is_away(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "ATTEMPTS", 2)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(
        StorageError, match="the server does not answer: check the network, and AWS_ENDPOINT_URL"
    ):
        storage.open_file(f"{bucket.uri}/a")


def test_folders_travel_without_their_connection(bucket: Bucket) -> None:
    folder = pickle.loads(pickle.dumps(OutputFolder.at(f"{bucket.uri}/out/")))
    folder.write("a", b"1")
    assert folder.read("a") == b"1"
    assert bucket.sizes() == {"out/a": 1}
