"""Output folders on object storage: what is there, what is cleared, what is refused."""

import pytest

from raydepth.errors import JobError
from raydepth.output.folder import OutputFolder
from tests.storage.conftest import Bucket
from tests.storage.proxy import Proxy


def test_files(bucket: Bucket) -> None:
    folder = OutputFolder.at(f"{bucket.uri}/runs/one/")
    folder.prepare()
    assert folder.files("frames") == {}
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
    folder.clear(["frames", "job.yaml", "images"])
    assert set(bucket.sizes()) == {"runs/other"}


def test_removing_temporaries_lists_nothing(bucket: Bucket, proxy: Proxy) -> None:
    OutputFolder.at(bucket.uri).delete_temporaries()
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
