"""A real S3 server for tests: Versity's gateway as a process, with its objects in a folder.

`containers/s3_gateway.sh` builds it. The fixture `s3_gateway` gives one that tells nobody of what happens in it; a test
that wants its notifications starts one of its own, since there is one receiver for a server.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from brokers import free_port, unique
from waiting import eventually

BINARY = Path(__file__).parents[1] / "build" / "s3-gateway" / "versitygw-v1.8.0"
ACCESS_KEY, SECRET_KEY, REGION = "gateway", "gateway-secret", "us-east-1"
START_TIMEOUT = 30.0


class S3GatewayUnavailable(Exception):  # noqa: N818 - reads as what it says
    """It was not built: `make s3gateway` does that."""


def start_s3_gateway(folder: Path, notifications: Mapping[str, str] | None = None) -> S3Gateway:
    """A server for a test, which uses it as a context. Skips where there is none; in CI there has to be."""
    try:
        return S3Gateway(folder, notifications)
    except S3GatewayUnavailable as error:
        if os.environ.get("CI"):
            pytest.fail(f"in CI every test has to run: {error}")
        pytest.skip(str(error))


class S3Gateway:
    """One server. Use it as a context: at the end it is stopped.

    Args:
        folder: for its objects and its log; kept.
        notifications: options that say who is told, such as `{"event-webhook-url": "http://…"}`. A webhook has to
            answer by then: the server sends it a test event first.
    """

    def __init__(self, folder: Path, notifications: Mapping[str, str] | None = None) -> None:
        if not BINARY.exists():
            raise S3GatewayUnavailable(f"there is no {BINARY.name}: `make s3gateway` builds it")
        for name in ("objects", "sidecar"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self.url = f"http://127.0.0.1:{free_port()}"
        self._log = folder / "gateway.log"
        told = [part for name, value in (notifications or {}).items() for part in (f"--{name}", value)]
        # Metadata beside the objects: not every file system has extended attributes.
        backend = ["posix", "--sidecar", str(folder / "sidecar"), str(folder / "objects")]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [BINARY, "--port", self.url.removeprefix("http://"), "--quiet", *told, *backend],
                env={**os.environ, "ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY, "VGW_REGION": REGION},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.client: Any = boto3.session.Session().client("s3", config=_config(), **self._login())
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which AWS's clients find it, and may use it."""
        return {
            "AWS_ENDPOINT_URL_S3": self.url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def _login(self) -> dict[str, str]:
        return {
            "endpoint_url": self.url,
            "region_name": REGION,
            "aws_access_key_id": ACCESS_KEY,
            "aws_secret_access_key": SECRET_KEY,
        }

    def create_bucket(self, name: str | None = None) -> str:
        """A new bucket, by default of a name that is not taken; returns the name."""
        bucket = name or unique("bucket")
        self.client.create_bucket(Bucket=bucket)
        return bucket

    def put(self, bucket: str, key: str, body: bytes = b"content") -> None:
        self.client.put_object(Bucket=bucket, Key=key, Body=body)

    def objects(self, bucket: str) -> dict[str, bytes]:
        """Every object of a bucket, by key."""
        listed = self.client.list_objects_v2(Bucket=bucket).get("Contents", ())
        found = {}
        for entry in listed:
            with self.client.get_object(Bucket=bucket, Key=entry["Key"])["Body"] as body:
                found[entry["Key"]] = body.read()
        return found

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def _wait_until_ready(self) -> None:
        eventually(self._answers, timeout=START_TIMEOUT, what="an answer of the S3 server")

    def _answers(self) -> bool:
        assert self._process.poll() is None, f"the S3 server ended:\n{self.log()}"
        try:
            self.client.list_buckets()
        except (BotoCoreError, ClientError):
            return False
        return True

    def stop(self) -> None:
        self.client.close()
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _config() -> Config:
    return Config(
        retries={"total_max_attempts": 1},
        connect_timeout=5,
        read_timeout=30,
        proxies={},
        s3={"addressing_style": "path"},
    )
