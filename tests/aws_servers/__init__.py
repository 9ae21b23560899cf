"""Servers that answer for SQS, SNS and EventBridge, as processes on free ports: ElasticMQ and moto's.

`make aws-servers` fetches them. Neither keeps anything over its end.
"""

from __future__ import annotations

import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from brokers import free_port
from waiting import eventually

FOLDER = Path(__file__).parents[2] / "build" / "aws-servers"
ACCOUNT, REGION = "123456789012", "us-east-1"
KEYS = {"aws_access_key_id": "any", "aws_secret_access_key": "any", "region_name": REGION}
ANSWERS_WITHIN = 60.0
"""Seconds; a Java machine takes two where nothing else wants the processor."""

CONFIGURATION = """
include classpath("application.conf")
node-address {{ protocol = http, host = "127.0.0.1", port = {port}, context-path = "" }}
rest-sqs {{ enabled = true, bind-hostname = "127.0.0.1", bind-port = {port}, sqs-limits = strict }}
rest-stats {{ enabled = false }}
aws {{ region = {region}, accountId = {account} }}
queues {{ }}
"""


class ServersUnavailable(Exception):  # noqa: N818 - reads as what it says
    """They were not fetched."""


class Server:
    """One process; `stop` ends it."""

    def __init__(self, port: int, command: Sequence[str | Path], log: Path) -> None:
        self.address = f"127.0.0.1:{port}"
        self.url = f"http://{self.address}"
        with log.open("wb") as file:
            self._process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        try:
            eventually(self._answers, timeout=ANSWERS_WITHIN, what=f"an answer of {self.url}, see {log}")
        except BaseException:
            self.stop()
            raise

    def client(self, service: str) -> Any:
        return boto3.client(service, endpoint_url=self.url, config=Config(retries={"total_max_attempts": 1}), **KEYS)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def _answers(self) -> bool:
        assert self._process.poll() is None, "the server ended by itself"
        try:
            urllib.request.urlopen(self.url, timeout=5).close()
        except urllib.error.HTTPError as error:  # it speaks HTTP
            error.close()
        except OSError:
            return False
        return True


def elasticmq(folder: Path) -> Server:
    """A server of SQS; its configuration and log go to the folder."""
    jars = FOLDER / "jars"
    java = shutil.which("java")
    if java is None or not jars.is_dir():
        raise ServersUnavailable("ElasticMQ is not there: make aws-servers fetches it")
    port = free_port()
    file = folder / "elasticmq.conf"
    file.write_text(CONFIGURATION.format(port=port, region=REGION, account=ACCOUNT))
    options = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Dconfig.file={file}", "-cp", f"{jars}/*"]
    return Server(port, [java, *options, "org.elasticmq.server.Main"], folder / "elasticmq.log")


def moto(folder: Path) -> Server:
    """A server of SNS and EventBridge, and of queues for what they send; its log goes to the folder."""
    python = FOLDER / "moto" / "bin" / "python"
    if not python.exists():
        raise ServersUnavailable("moto is not there: make aws-servers fetches it")
    port = free_port()
    return Server(port, [python, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], folder / "moto.log")
