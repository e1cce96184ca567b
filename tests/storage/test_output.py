"""Output folders on object storage: what is there, what is cleared, what is refused; files that no
run wrote are never changed.
"""

import itertools

import pytest
from hypothesis import HealthCheck, example, given, settings

from raydepth.errors import JobError
from raydepth.output.folder import LOCK, OutputFolder
from raydepth.output.names import Listed, delete_temporaries
from tests.storage.conftest import Bucket
from tests.storage.proxy import Proxy
from tests.support.folders import VIDEOS, Model, Run, do_run, stories

_PREFIXES = itertools.count()


def test_files(bucket: Bucket) -> None:
    folder = OutputFolder.at(f"{bucket.uri}/runs/one/")
    folder.prepare()
    assert folder.files("frames") == {}
    names = ["frames/b/1.parquet", "frames/a/2.parquet", "job.yaml"]
    for name in ("frames/b/1.parquet", "frames/a/2.parquet", "job.yaml", "frames/a/.hidden"):
        folder.write(name, name.encode())
    with folder.lock():
        assert folder.files("") == {
            "frames/a/2.parquet": 18,
            "frames/b/1.parquet": 18,
            "job.yaml": 8,
        }
    assert list(folder.files("frames")) == ["frames/a/2.parquet", "frames/b/1.parquet"]
    assert folder.exists("job.yaml") and not folder.exists("frames") and not folder.exists("none")
    assert folder.read("job.yaml") == b"job.yaml"
    with pytest.raises(FileNotFoundError):
        folder.read("none")
    bucket.put("runs/other", b"stays")
    assert folder.entries("") == {"frames": True, "job.yaml": False} | dict.fromkeys(
        (".raydepth.json", ".raydepth.lock"), False
    ) | {".raydepth.lock": True}
    folder.delete([*names, "images/none.png"])
    left = {"runs/other", "runs/one/frames/a/.hidden", "runs/one/.raydepth.json"}
    assert set(bucket.sizes()) == left


def test_removing_temporaries_lists_nothing(bucket: Bucket, proxy: Proxy) -> None:
    delete_temporaries(OutputFolder.at(bucket.uri), Listed(frozenset({"frames/x"})))
    assert not proxy.requests


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("s3://no-such-bucket/out", "there is no such bucket, and none is made"),
        ("s3://no-such-bucket", "there is no such bucket, and none is made"),
        ("s3://{bucket}/file", "is a file; name a folder"),
        ("s3://", "names no bucket"),
        ("hdfs://host/out", "hdfs:// is not known"),
        ("s3://key:secret@{bucket}/out", "AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_folders_that_cannot_be(bucket: Bucket, uri: str, message: str) -> None:
    bucket.put("file", b"x")
    with pytest.raises(JobError, match=r"^output\.path: ") as raised:
        OutputFolder.at(uri.format(bucket=bucket.name)).prepare()
    assert message in str(raised.value)
    assert ":secret" not in str(raised.value)


@pytest.mark.parametrize("methods", [("PUT",), ("HEAD", "GET", "PUT")])
def test_access_denied(bucket: Bucket, proxy: Proxy, methods: tuple[str, ...]) -> None:
    proxy.fault = lambda request: "denied" if request.method in methods else ""
    with pytest.raises(JobError, match=r"^output\.path: .*access denied: check AWS_ACCESS_KEY_ID"):
        OutputFolder.at(f"{bucket.uri}/out").prepare()


@pytest.mark.parametrize("prefix", ["", "/runs", "/runs/one/"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_prefix_of_somebodys_is_refused(bucket: Bucket, prefix: str, overwrite: bool) -> None:
    mine = {"runs/one/videos/a.mp4": b"mine", "runs/one/job.yaml": b"mine", "videos/b.mp4": b"mine"}
    for key, data in mine.items():
        bucket.put(key, data)
    with pytest.raises(JobError, match=r"output\.path: .* holds files .*name a new or empty"):
        do_run(bucket.uri + prefix, Run(VIDEOS[:1], overwrite=overwrite))
    assert {key: bucket.get(key) for key in bucket.sizes()} == mine


@settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(stories)
@example([Run(VIDEOS[:2], video=True), "videos/mine.mp4", Run(VIDEOS[:1], overwrite=True)])
@example([Run(VIDEOS[:2]), "frames/mine.parquet", Run(VIDEOS[1:]), Run(VIDEOS, dies_after=4)])
def test_whatever_runs_do(bucket: Bucket, story: list[str | Run]) -> None:
    """In a prefix of its own each; as on disks (tests/output/test_names.py)."""
    below = f"{next(_PREFIXES)}/out/"

    def read() -> dict[str, bytes]:
        keys = [key for key in bucket.sizes() if key.startswith(below) and LOCK not in key]
        return {key.removeprefix(below): bucket.get(key) for key in keys}

    Model(f"{bucket.uri}/{below}", read, lambda name, data: bucket.put(below + name, data)).play(
        story
    )
