"""`POST /_events/s3`: what it takes, from whom, and what it answers (B.6)."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import Mapping

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from trigger_rig import AsyncQueue, intake, notification

from poller.api.endpoint import Door, Endpoint
from poller.api.s3_webhook import S3Webhook
from poller.api.signatures import Signatures
from poller.triggers.s3_notifications import LARGEST_BODY

KEYS = {"AKIDEXAMPLE": "secret:with:colons"}


class Service:
    """The endpoint with a webhook and nothing else."""

    def __init__(self, door: Door | None = None) -> None:
        self.queue = AsyncQueue()
        self.endpoint = Endpoint(Starlette(), "no functions", door, S3Webhook(intake(self.queue)))

    def ask(
        self, content: bytes, headers: Mapping[str, str] | None = None, method: str = "POST", path: str = "/_events/s3"
    ) -> httpx.Response:
        async def run() -> httpx.Response:
            transport = httpx.ASGITransport(self.endpoint)  # type: ignore[arg-type]
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9001") as client:
                return await client.request(method, path, headers=headers, content=content)

        return asyncio.run(run())


def told(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["message" if "message" in answer.json() else "Message"]


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}


# --- what it takes --------------------------------------------------------------------------------------------------


def test_every_function_that_wants_an_object_gets_an_event_of_its_own() -> None:  # B.6: one record each
    service = Service()
    answer = service.ask(notification("a.jpg", "b.txt"))
    assert (answer.status_code, answer.json()) == (200, {"Events": 3})
    assert service.queue.keys == [("Thumbnail", "a.jpg"), ("Audit", "a.jpg"), ("Audit", "b.txt")]
    assert all(len(event["Records"]) == 1 for _, event in service.queue.accepted)
    configurations = [event["Records"][0]["s3"]["configurationId"] for _, event in service.queue.accepted]
    assert configurations == ["Thumbnail.Upload", "Audit.Any", "Audit.Any"]


def test_what_nobody_wants_is_taken_all_the_same() -> None:
    service = Service()
    for content in (notification("a", bucket="other"), b'{"Event":"s3:TestEvent"}', b'{"Records":[]}'):
        assert service.ask(content).json() == {"Events": 0}
    assert service.queue.accepted == []


def test_a_function_that_is_gone_does_not_make_the_server_send_for_ever() -> None:
    assert Service().ask(notification("a", bucket="old")).json() == {"Events": 0}


def test_while_the_disk_does_not_work_the_server_is_told_to_send_again() -> None:
    service = Service()
    service.queue.left = 1
    answer = service.ask(notification("a.jpg"))
    assert told(answer)[0] == 503
    assert "again later" in told(answer)[1]
    service.queue.left = 10
    assert service.ask(notification("a.jpg")).json() == {"Events": 2}
    assert service.queue.keys.count(("Audit", "a.jpg")) == 1, "at least once: the first function may get it twice"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "No notification of S3: The body is not JSON"),
        (b"{}", "No notification of S3: The body has no list Records."),
        (b'{"Records":[{"eventSource":"aws:sqs"}]}', 'Records[0].eventSource is "aws:sqs"; it would be aws:s3.'),
    ],
)
def test_what_is_no_notification_is_refused_with_a_text(content: bytes, text: str) -> None:
    service = Service()
    assert told(service.ask(content))[0] == 400
    assert text in told(service.ask(content))[1]


def test_one_wrong_record_refuses_all_so_that_nothing_is_half_taken() -> None:
    service = Service()
    content = json.loads(notification("a.jpg", "b.jpg"))
    content["Records"][1]["s3"] = None
    assert service.ask(json.dumps(content).encode()).status_code == 400
    assert service.queue.accepted == []


def test_a_body_that_no_server_sends_is_refused_by_its_size() -> None:
    assert Service().ask(b" " * (LARGEST_BODY + 1)).status_code == 413


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_other_methods_are_refused(method: str) -> None:
    assert Service().ask(b"", method=method).status_code == 405


def test_where_notifications_cannot_be_taken_there_is_no_such_path() -> None:
    endpoint = Endpoint(Starlette(), "no functions")

    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(endpoint)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9001") as client:
            return await client.post("/_events/s3", content=b"{}")

    assert asyncio.run(run()).status_code == 404


TEXTS = st.text(max_size=10)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
RECORDS = st.fixed_dictionaries(
    {"eventSource": st.just("aws:s3") | VALUES, "eventName": st.just("s3:ObjectCreated:Put") | VALUES},
    optional={
        "s3": VALUES
        | st.fixed_dictionaries(
            {
                "bucket": VALUES | st.just({"name": "photos"}),
                "object": VALUES | st.fixed_dictionaries({"key": TEXTS | VALUES}, optional={"size": VALUES}),
            }
        ),
        "eventTime": VALUES,
        "userIdentity": VALUES,
    },
)


@settings(deadline=None, max_examples=60)
@given(
    st.binary(max_size=40)
    | st.lists(RECORDS, max_size=3).map(lambda records: json.dumps({"Records": records}).encode())
)
def test_no_body_is_a_fault_of_the_service(content: bytes) -> None:
    service = Service()
    answer = service.ask(content)
    assert answer.status_code in {200, 400}
    assert (answer.status_code == 200) or not service.queue.accepted


# --- from whom ------------------------------------------------------------------------------------------------------


def test_a_web_page_may_send_none() -> None:
    service = Service()
    assert service.ask(notification("a.jpg"), {"Origin": "https://elsewhere.example"}).status_code == 403
    assert service.ask(notification("a.jpg"), {"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert service.queue.accepted == []


def test_a_name_that_anybody_could_point_here_is_refused() -> None:
    assert Service().ask(notification("a.jpg"), {"Host": "evil.example"}).status_code == 403
    assert Service(Door(["poller.internal"])).ask(notification("a.jpg"), {"Host": "poller.internal"}).status_code == 200


@pytest.fixture
def signed() -> Service:
    """A service with RequireSignature."""
    pytest.importorskip("botocore")
    return Service(Door(signatures=Signatures(KEYS, "us-east-1"), passwords=KEYS))


def test_where_calls_are_signed_a_server_sends_a_key_as_its_login(signed: Service) -> None:
    answer = signed.ask(notification("a.jpg"), basic("AKIDEXAMPLE", "secret:with:colons"))
    assert answer.json() == {"Events": 2}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic("AKIDEXAMPLE", "wrong"),
        basic("AKIDEXAMPLE", ""),
        basic("unknown", "secret:with:colons"),
        basic("unknown", ""),
        {"Authorization": "Basic"},
        {"Authorization": "Basic ???"},
        {"Authorization": "Basic /w=="},
        {"Authorization": "Basic ZQ=="},
        {"Authorization": "Bearer secret:with:colons"},
    ],
)
def test_nobody_else_may_send_any_then(signed: Service, headers: dict[str, str]) -> None:
    answer = signed.ask(notification("a.jpg"), headers)
    assert answer.status_code == 403
    assert "SignatureKeys" in answer.json()["Message"]
    assert signed.queue.accepted == []
