"""Secrets that AWS Secrets Manager holds: asked through AWS's own client, at what answers in its stead."""

from __future__ import annotations

import base64
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from poller import settings
from poller.errors import ConfigError
from poller.secrets_manager import secret_value
from poller.settings import Settings, Sources

ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:login-AbCdEf"
LOGIN = {"username": "u", "password": "top-secret"}


class Manager(HTTPServer):
    """Answers GetSecretValue as the service does."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.secrets: dict[str, dict[str, Any]] = {
            "login": {"SecretString": json.dumps(LOGIN)},
            ARN: {"SecretString": json.dumps(LOGIN)},
            "binary": {"SecretBinary": base64.b64encode(b"top-secret").decode()},
            "no text": {"SecretBinary": base64.b64encode(b"\xff\xfe").decode()},
            "forbidden": {"Error": "AccessDeniedException"},
            "strange": {"Error": "SomethingElse"},
        }
        self.asked: list[tuple[str, str]] = []
        """Secret, and the region that its request was signed for."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Manager

    def do_POST(self) -> None:
        assert self.headers["X-Amz-Target"] == "secretsmanager.GetSecretValue"
        name = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["SecretId"]
        region = self.headers["Authorization"].split("Credential=")[1].split("/")[2]
        self.server.asked.append((name, region))
        held = self.server.secrets.get(name, {"Error": "ResourceNotFoundException"})
        status = 400 if "Error" in held else 200
        body = {"__type": held["Error"], "Message": "refused"} if "Error" in held else {"Name": name, **held}
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Manager]:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with Manager() as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", running.url)
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def load(folder: Path, secrets: dict[str, Any]) -> Settings:
    sources = Sources(template=folder / "template.yaml", file=None, environment={}, options={})
    return settings.load({"Region": "ap-south-1", "Secrets": secrets}, sources)


def test_a_secret_is_read_whole_or_as_one_value_and_asked_for_once(tmp_path: Path, manager: Manager) -> None:
    loaded = load(
        tmp_path,
        {"whole": {"SecretsManager": "login"}, "again": {"SecretsManager": "login"}}
        | {"part": {"username": "u", "password": {"SecretsManager": "binary"}}},
    )
    for arn in ("whole", "again", "part"):
        assert {key: value.get_secret_value() for key, value in loaded.Secrets[arn].items()} == LOGIN
    assert sorted(manager.asked) == [("binary", "ap-south-1"), ("login", "ap-south-1")]
    assert "top-secret" not in repr(loaded)


def test_a_rotated_secret_is_asked_for_again_and_no_other(tmp_path: Path, manager: Manager) -> None:
    loaded = load(tmp_path, {"rotated": {"SecretsManager": "login"}, "other": {"SecretsManager": ARN}})
    manager.secrets["login"] = {"SecretString": json.dumps({**LOGIN, "password": "rotated"})}
    manager.asked.clear()
    renewed = loaded.with_secrets_read_anew(["rotated", "unknown"])
    assert renewed.Secrets["rotated"]["password"].get_secret_value() == "rotated"
    assert renewed.Secrets["other"] == loaded.Secrets["other"]
    assert loaded.Secrets["rotated"]["password"].get_secret_value() == "top-secret"
    assert manager.asked == [("login", "ap-south-1")]
    del manager.secrets["login"]
    with pytest.raises(ConfigError, match=r"the secret login cannot be read: .*there is no such secret"):
        loaded.with_secrets_read_anew(["rotated"])


def test_an_arn_says_its_region_itself_and_a_name_is_looked_for_where_aws_s_variables_say(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert json.loads(secret_value(ARN, "us-east-1")) == LOGIN
    monkeypatch.setenv("AWS_DEFAULT_REGION", "ca-central-1")
    assert json.loads(secret_value("login", "us-east-1")) == LOGIN
    assert manager.asked == [(ARN, "eu-west-1"), ("login", "ca-central-1")]


@pytest.mark.usefixtures("manager")
def test_what_cannot_be_read_is_told_all_at_once_and_without_any_secret(tmp_path: Path) -> None:
    names = ["absent", "forbidden", "strange", "no text"]
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, {name: {"SecretsManager": name} for name in names} | {"text": {"SecretsManager": "binary"}})
    assert [str(problem) for problem in caught.value.problems] == [
        (
            "Metadata.Poller.Secrets.absent: the secret absent cannot be read: "
            "Secrets Manager refuses: there is no such secret"
        ),
        (
            "Metadata.Poller.Secrets.forbidden: the secret forbidden cannot be read: "
            "Secrets Manager refuses: these credentials may not read it"
        ),
        "Metadata.Poller.Secrets.strange: the secret strange cannot be read: Secrets Manager refuses: SomethingElse",
        "Metadata.Poller.Secrets.no text: the secret no text cannot be read: it is not UTF-8 text",
        (
            "Metadata.Poller.Secrets.text: must be a mapping such as {username: …, password: {Env: VARIABLE}}, "
            "or a JSON object from {Env: …}, {File: …} or {SecretsManager: …}"
        ),
    ]


@pytest.mark.usefixtures("manager")
def test_missing_credentials_and_a_silent_address_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:1")
    with pytest.raises(ValueError, match="Secrets Manager cannot be asked: Could not connect"):
        secret_value("login", "us-east-1")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(ValueError, match="Secrets Manager cannot be asked: Unable to locate credentials"):
        secret_value("login", "us-east-1")


def test_without_aws_s_client_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(ValueError, match=r"boto3 is not installed \(pip install 'poller\[aws\]'\)"):
        secret_value("login", "us-east-1")


def test_aws_s_client_is_not_loaded_where_no_secret_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)  # to import it would fail
    assert load(tmp_path, {"s": LOGIN}).Secrets["s"]["username"].get_secret_value() == "u"
