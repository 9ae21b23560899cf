"""Signed calls (AWS Signature Version 4): AWS's own client signs, and whoever changes anything is refused."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from poller.api.call import Call, Memory
from poller.api.signatures import Signatures
from poller.api_errors import ApiError

KEYS = {"AKIDEXAMPLE": "secret", "AKIDOTHER": "other"}
PATH = "/2015-03-31/functions/f%3A1/invocations"


class Signed:
    """A request as botocore signs it, whose parts a test changes before it arrives."""

    def __init__(self, key: str = "AKIDEXAMPLE", secret: str = "secret", region: str = "us-east-1", service: str = "lambda", query: str = "Qualifier=1") -> None:  # fmt: skip
        self.body = b'{"a": 1}'
        self.path, self.query = PATH, query
        url = f"http://127.0.0.1:9001{PATH}" + (f"?{query}" if query else "")
        headers = {"X-Amz-Log-Type": "Tail", "Host": "127.0.0.1:9001", "User-Agent": "test"}
        request = AWSRequest("POST", url, headers, self.body)
        SigV4Auth(Credentials(key, secret), service, region).add_auth(request)
        self.headers = {name.lower(): value for name, value in request.headers.items()}

    @property
    def time(self) -> float:
        return datetime.strptime(self.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()

    def check(self, later: float = 0.0) -> None:
        scope: Any = {
            "method": "POST",
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": self.query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in self.headers.items()],
        }
        call = Call(scope, None, None, "r", Memory())  # type: ignore[arg-type]
        Signatures(KEYS, "us-east-1", now=lambda: self.time + later).check(call, self.body)

    def refused(self, later: float = 0.0) -> str:
        with pytest.raises(ApiError) as caught:
            self.check(later)
        assert caught.value.status == 403
        return caught.value.type


@pytest.mark.parametrize("query", ["Qualifier=1", "", "b=2&a=1&a=0", "Marker="])
def test_a_request_that_is_signed_with_a_known_key_is_let_in(query: str) -> None:
    Signed(query=query).check()
    Signed("AKIDOTHER", "other", query=query).check()


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("body", b'{"a": 2}'),
        ("path", "/2015-03-31/functions/g/invocations"),
        ("query", "Qualifier=2"),
        ("query", ""),
    ],
)
def test_a_request_that_was_changed_on_its_way_is_refused(part: str, value: Any) -> None:
    request = Signed()
    setattr(request, part, value)
    assert request.refused() == "InvalidSignatureException"


@pytest.mark.parametrize(("name", "value"), [("x-amz-log-type", "None"), ("host", "evil.example")])
def test_a_signed_header_that_was_changed_is_refused(name: str, value: str) -> None:
    request = Signed()
    request.headers[name] = value
    assert request.refused() == "InvalidSignatureException"


def test_a_header_of_aws_s_that_is_not_signed_is_refused() -> None:
    request = Signed()
    request.headers["x-amz-invocation-type"] = "DryRun"
    assert request.refused() == "IncompleteSignatureException"


def test_a_wrong_secret_and_an_unknown_key_are_refused() -> None:
    assert Signed(secret="guessed").refused() == "InvalidSignatureException"
    assert Signed("AKIDNOBODY").refused() == "UnrecognizedClientException"


@pytest.mark.parametrize(("region", "service"), [("eu-west-1", "lambda"), ("us-east-1", "s3")])
def test_a_signature_for_elsewhere_is_refused(region: str, service: str) -> None:
    assert Signed(region=region, service=service).refused() == "InvalidSignatureException"


def test_clocks_may_differ_by_five_minutes() -> None:
    Signed().check(later=300)
    Signed().check(later=-300)
    assert Signed().refused(later=301) == "InvalidSignatureException"
    assert Signed().refused(later=-301) == "InvalidSignatureException"


def test_a_digest_in_the_header_has_to_be_the_body_s() -> None:
    request = Signed()
    request.headers["x-amz-content-sha256"] = "UNSIGNED-PAYLOAD"
    request.headers["authorization"] = request.headers["authorization"].replace(
        "x-amz-date;", "x-amz-content-sha256;x-amz-date;"
    )
    assert request.refused() == "InvalidSignatureException"


@pytest.mark.parametrize(
    "given",
    ["", "Bearer token", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE", "AWS4-HMAC-SHA256 " + "é" * 10],
)
def test_what_is_no_signature_is_refused(given: str) -> None:
    request = Signed()
    request.headers["authorization"] = given
    assert request.refused() == "IncompleteSignatureException"
    del request.headers["authorization"]
    assert request.refused() == "MissingAuthenticationTokenException"


@pytest.mark.parametrize("date", ["", "yesterday", "20251125", "99999999T999999Z"])
def test_a_date_that_is_none_is_refused(date: str) -> None:
    request = Signed()
    now = request.time
    request.headers["x-amz-date"] = date
    scope: Any = {"method": "POST", "path": PATH, "headers": [(n.encode(), v.encode()) for n, v in request.headers.items()]}  # fmt: skip
    call = Call(scope, None, None, "r", Memory())  # type: ignore[arg-type]
    with pytest.raises(ApiError) as caught:
        Signatures(KEYS, "us-east-1", now=lambda: now).check(call, request.body)
    assert caught.value.type == "InvalidSignatureException"


def test_the_signer_is_used_without_its_log_of_secrets(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    request = Signed()
    caplog.clear()
    request.check()
    assert caplog.messages == []


class Presigned:
    """A URL as botocore presigns it, whose parts a test changes before it is fetched."""

    def __init__(self, url: str = "http://127.0.0.1:9001/2015-03-31/functions?MaxItems=3", expires: int = 900) -> None:
        request = AWSRequest("GET", url)
        SigV4QueryAuth(Credentials("AKIDEXAMPLE", "secret"), "lambda", "us-east-1", expires).add_auth(request)
        self.url: str = request.url
        self.method = "GET"
        self.headers = {"host": "127.0.0.1:9001"}
        self._date = re.findall(r"X-Amz-Date=(\w+)", self.url)[0]

    def check(self, later: float = 0.0) -> str:
        parts = urlsplit(self.url)
        scope: Any = {
            "method": self.method,
            "path": parts.path,
            "query_string": parts.query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in self.headers.items()],
        }
        call = Call(scope, None, None, "r", Memory())  # type: ignore[arg-type]
        signed = datetime.strptime(self._date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        return Signatures(KEYS, "us-east-1", now=lambda: signed + later).check(call, b"")

    def refused(self, later: float = 0.0) -> str:
        with pytest.raises(ApiError) as caught:
            self.check(later)
        assert caught.value.status == 403
        return caught.value.type


def test_a_presigned_url_is_let_in_for_as_long_as_it_says() -> None:
    assert Presigned().check() == "AKIDEXAMPLE"
    assert Presigned().check(later=900) == "AKIDEXAMPLE"
    assert Presigned().refused(later=901) == "InvalidSignatureException"
    assert Presigned().refused(later=-301) == "InvalidSignatureException"
    assert Presigned(expires=604_801).refused() == "InvalidSignatureException"


@pytest.mark.parametrize(
    ("part", "other"),
    [
        ("MaxItems=3", "MaxItems=4"),
        ("Expires=900", "Expires=901"),
        ("/functions", "/layers"),
        ("us-east-1", "eu-west-1"),
    ],
)
def test_a_presigned_url_that_was_changed_is_refused(part: str, other: str) -> None:
    request = Presigned()
    assert part in request.url
    request.url = request.url.replace(part, other)
    assert request.refused() == "InvalidSignatureException"


def test_a_presigned_url_is_for_one_method_and_host_and_has_no_further_headers_of_aws_s() -> None:
    request = Presigned()
    request.method = "DELETE"
    assert request.refused() == "InvalidSignatureException"
    request = Presigned()
    request.headers["host"] = "evil.example"
    assert request.refused() == "InvalidSignatureException"
    request = Presigned()
    request.headers["x-amz-invocation-type"] = "Event"
    assert request.refused() == "IncompleteSignatureException"


@pytest.mark.parametrize("name", ["Credential", "SignedHeaders", "Signature", "Date", "Expires"])
def test_a_presigned_url_that_lacks_a_part_is_refused(name: str) -> None:
    request = Presigned()
    request.url = re.sub(f"X-Amz-{name}=[^&]*&?", "", request.url).rstrip("&")
    wanted = "InvalidSignatureException" if name in {"Date", "Expires"} else "IncompleteSignatureException"
    assert request.refused() == wanted


def test_what_is_presigned_here_is_let_in_here_and_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    request = Presigned()
    caplog.clear()
    request.url = Signatures(KEYS, "us-east-1").presigned("http://127.0.0.1:9001/_code/a%20b.zip", 600)
    assert caplog.messages == []
    request._date = re.findall(r"X-Amz-Date=(\w+)", request.url)[0]
    assert request.check(later=600) == "AKIDEXAMPLE"
    assert request.refused(later=601) == "InvalidSignatureException"
