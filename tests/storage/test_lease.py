"""One run at a time in an output folder on object storage, whatever becomes of the other."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from raydepth.errors import JobError
from raydepth.output import lease
from raydepth.output.folder import OutputFolder
from raydepth.output.lease import Lock
from tests.storage.conftest import Bucket
from tests.storage.proxy import Proxy

ELSEWHERE = {
    "host": "elsewhere",
    "process": 7,
    "started": "2026-01-01T00:00:00+00:00",
    "space": "another boot",
}


def leases(bucket: Bucket) -> list[str]:
    return [name for name in bucket.sizes() if "/.raydepth.lock/" in name]


def wait_until(true: object, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def test_a_second_run_is_refused_until_the_first_ends(bucket: Bucket) -> None:
    folder = OutputFolder.at(f"{bucket.uri}/out")
    first = folder.lock()
    with pytest.raises(
        JobError, match=rf"in use by another run \(process {os.getpid()} on .* ends in \d+ s"
    ):
        folder.lock()
    assert len(leases(bucket)) == 1
    assert not first.lost()
    first.close()
    assert leases(bucket) == []
    with folder.lock():
        pass


def test_of_many_at_once_at_most_one_runs(bucket: Bucket) -> None:
    folder = OutputFolder.at(f"{bucket.uri}/out")

    def take(_: int) -> Lock | None:
        try:
            return folder.lock()
        except JobError:
            return None

    with ThreadPoolExecutor(6) as pool:
        for _ in range(5):
            held = [lock for lock in pool.map(take, range(6)) if lock]
            assert len(held) <= 1
            assert len(leases(bucket)) == len(held)
            for lock in held:
                lock.close()


def test_a_killed_run_on_this_machine_does_not_block(bucket: Bucket) -> None:
    code = f"""
import sys, time
from raydepth.output.folder import OutputFolder
lock = OutputFolder.at({bucket.uri + "/out"!r}).lock()
print("held", flush=True)
time.sleep(60)
"""
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        folder = OutputFolder.at(f"{bucket.uri}/out")
        with pytest.raises(JobError, match=f"process {other.pid} "):
            folder.lock()
    finally:
        other.kill()
        other.wait()
    assert len(leases(bucket)) == 1
    with folder.lock():
        assert len(leases(bucket)) == 1


def test_a_dead_run_elsewhere_blocks_until_its_lease_has_aged(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "DEAD_S", 1.0)
    folder = OutputFolder.at(f"{bucket.uri}/out")
    bucket.put("out/.raydepth.lock/dead", json.dumps(ELSEWHERE).encode())
    with pytest.raises(JobError, match="process 7 on elsewhere since 2026-01-01"):
        folder.lock()
    time.sleep(2.2)  # the storage's times are whole seconds
    with folder.lock():
        assert leases(bucket) != ["out/.raydepth.lock/dead"] and len(leases(bucket)) == 1


def test_a_live_lease_is_renewed(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_S", 0.2)
    monkeypatch.setattr(lease, "DEAD_S", 2.0)
    folder = OutputFolder.at(f"{bucket.uri}/out")
    with folder.lock() as lock:
        time.sleep(3.2)
        assert not lock.lost()
        with pytest.raises(JobError, match="in use"):
            folder.lock()


def test_a_deleted_lease_is_lost_and_stays_deleted(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEW_S", 0.1)
    with OutputFolder.at(f"{bucket.uri}/out").lock() as lock:
        (name,) = leases(bucket)
        bucket.client.delete_object(Bucket=bucket.name, Key=name)
        assert wait_until(lock.lost)
        assert leases(bucket) == []


def test_a_lease_that_cannot_be_renewed_is_lost(
    bucket: Bucket, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEW_S", 0.1)
    monkeypatch.setattr(lease, "LOST_S", 1.0)
    with OutputFolder.at(f"{bucket.uri}/out").lock() as lock:
        proxy.fault = lambda request: "denied"
        assert not lock.lost()
        assert wait_until(lock.lost)
        proxy.fault = lambda request: ""


def test_storage_that_fails_refuses_the_run(bucket: Bucket, proxy: Proxy) -> None:
    proxy.fault = lambda request: "denied" if request.method == "GET" else ""
    with pytest.raises(JobError, match="cannot be locked: access denied"):
        OutputFolder.at(f"{bucket.uri}/out").lock()
    assert leases(bucket) == []


def test_a_local_lock_is_never_lost(tmp_path: object) -> None:
    with OutputFolder.at(str(tmp_path)).lock() as lock:
        assert not lock.lost()
