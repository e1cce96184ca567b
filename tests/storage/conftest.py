"""A real S3 server on loopback (moto's), a fresh bucket for each test, and a proxy before it that
misbehaves when asked.
"""

import itertools
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.config import Config
from moto.server import ThreadedMotoServer

from raydepth.files import storage
from tests.storage.proxy import Proxy

_NUMBERS = itertools.count()


@dataclass(frozen=True)
class Bucket:
    """A bucket, looked into by another client than raydepth's."""

    name: str
    client: Any

    @property
    def uri(self) -> str:
        return f"s3://{self.name}"

    def put(self, key: str, data: bytes = b"") -> str:
        """Stores an object and returns its URI."""
        self.client.put_object(Bucket=self.name, Key=key, Body=data)
        return f"{self.uri}/{key}"

    def get(self, key: str) -> bytes:
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def sizes(self) -> dict[str, int]:
        """Size of every object; the empty ones that stand for folders are left out."""
        found = self.client.list_objects_v2(Bucket=self.name, EncodingType="url").get(
            "Contents", []
        )
        return {
            object["Key"]: object["Size"] for object in found if not object["Key"].endswith("/")
        }


@pytest.fixture(scope="session")
def server() -> Iterator[tuple[str, int]]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    yield moto.get_host_and_port()
    moto.stop()


@pytest.fixture
def bucket(
    server: tuple[str, int], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Bucket:
    """A new bucket; the environment has what it takes to reach it, for Ray's workers too."""
    url = f"http://{server[0]}:{server[1]}"
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true", "AWS_ENDPOINT_URL": url,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=url, config=Config(s3={"addressing_style": "path"}))
    name = (
        re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:40].strip("-") + f"-{next(_NUMBERS)}"
    )
    client.create_bucket(Bucket=name)
    return Bucket(name, client)


@pytest.fixture
def proxy(
    bucket: Bucket, server: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Proxy]:
    """What raydepth reaches the bucket through; a connection counts as dead after a second."""
    between = Proxy(server)
    monkeypatch.setenv("AWS_ENDPOINT_URL", between.url)
    monkeypatch.setattr(storage, "REQUEST_TIMEOUT_S", 1.0)
    yield between
    between.close()
