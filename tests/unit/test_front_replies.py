"""What a function returned, as an HTTP response (A.5, A.6)."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.fronts.replies import NoResponse, Reply, compact, inferred, proxied

JSON = ("content-type", "application/json")


def returned(value: Any) -> bytes:
    """As Python's runtime writes it, with blanks."""
    return json.dumps(value).encode()


@pytest.mark.statement(16)
@pytest.mark.parametrize(
    ("value", "body"),
    [({"hello": "world"}, b'{"hello":"world"}'), (["hello", 3, True], b'["hello",3,true]'), (3, b"3"), (3.1, b"3.1"),
     (True, b"true"), (None, b"null"), ("hello", b"hello"), ("", b""), ({}, b"{}"),
     ({"body": "x"}, b'{"body":"x"}'), ({"a": "b c, d: e"}, b'{"a":"b c, d: e"}')],
)  # fmt: skip
def test_what_has_no_status_code_is_compact_json_and_a_text_has_no_quotes(value: Any, body: bytes) -> None:  # A.5
    """G 16."""
    assert inferred(returned(value)) == Reply(200, (JSON,), body)


def test_what_is_no_json_is_a_body_as_it_is() -> None:
    assert inferred(b"\xff{") == Reply(200, (("content-type", "application/octet-stream"),), b"\xff{")


def test_a_response_says_status_headers_body_and_cookies() -> None:  # A.5
    value = {
        "statusCode": 201,
        "headers": {"X-One": "1", "Content-Type": "text/html", "x-number": 7, "x-flag": True, "x-none": None},
        "cookies": ["a=1; Path=/", "b=2"],
        "body": "<p>ä</p>",
    }
    assert inferred(returned(value)) == Reply(
        201,
        (("x-one", "1"), ("content-type", "text/html"), ("x-number", "7"), ("x-flag", "true"),
         ("set-cookie", "a=1; Path=/"), ("set-cookie", "b=2")),
        "<p>ä</p>".encode(),
    )  # fmt: skip


@pytest.mark.parametrize("read", [inferred, proxied])
def test_a_base64_body_is_decoded(read: Any) -> None:
    value = {"statusCode": 200, "body": base64.b64encode(b"\x00\xff").decode(), "isBase64Encoded": True}
    assert read(returned(value)).body == b"\x00\xff"


@pytest.mark.parametrize(("status", "shown"), [(200, 200), ("404", 404), (599, 599), (200.0, 200)])
def test_a_status_may_be_written_in_several_ways(status: Any, shown: int) -> None:
    assert inferred(returned({"statusCode": status})).status == shown


def test_a_type_that_is_not_named_is_the_front_s() -> None:
    assert inferred(returned({"statusCode": 200}), "text/plain").headers == (("content-type", "text/plain"),)
    assert inferred(returned("x"), "text/plain").headers == (JSON,)


@pytest.mark.parametrize("status", [204, 205, 304])
def test_a_status_without_a_body_has_none(status: int) -> None:
    assert inferred(returned({"statusCode": status, "body": "x"})).body == b""


def test_headers_of_the_connection_are_the_front_s_own() -> None:
    headers = {
        "Content-Length": "1",
        "Transfer-Encoding": "chunked",
        "Connection": "close",
        "X-Amzn-RequestId": "mine",
        "Date": "x",
    }
    assert inferred(returned({"statusCode": 200, "headers": headers})).headers == (JSON,)


def test_payload_1_has_headers_with_several_values() -> None:  # A.6
    value = {"statusCode": 200, "headers": {"X-A": "lost", "X-B": "2"}, "multiValueHeaders": {"x-a": ["1", "2"]}}
    assert proxied(returned(value)).headers == (("x-a", "1"), ("x-a", "2"), ("x-b", "2"), JSON)


@pytest.mark.parametrize("value", [{"hello": "world"}, "text", None, [], 3])
def test_payload_1_infers_nothing(value: Any) -> None:  # A.6
    with pytest.raises(NoResponse, match="no object with a statusCode"):
        proxied(returned(value))


def test_payload_1_that_is_no_json_is_no_response() -> None:
    with pytest.raises(NoResponse, match="not JSON"):
        proxied(b"\xff")


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"statusCode": 99}, "no number from 100 to 599"),
        ({"statusCode": 600}, "no number from 100 to 599"),
        ({"statusCode": "ok"}, "no number from 100 to 599"),
        ({"statusCode": True}, "no number from 100 to 599"),
        ({"statusCode": None}, "no number from 100 to 599"),
        ({"statusCode": 101}, "waits for another response"),
        ({"body": {"a": 1}}, "its body is an object, not a text: encode it as JSON"),
        ({"body": 3}, "its body is 3, not a text"),
        ({"body": "%", "isBase64Encoded": True}, "no base64"),
        ({"headers": []}, "headers: a list, not an object"),
        ({"headers": {"a b": "1"}}, "'a b' is no header's name"),
        ({"headers": {"": "1"}}, "is no header's name"),
        ({"headers": {"x": "1\r\nset-cookie: stolen=1"}}, "holds a line's end"),
        ({"headers": {"x": ["1"]}}, "the header 'x' is a list"),
        ({"cookies": "a=1"}, 'cookies: "a=1", not a list'),
        ({"cookies": ["a=1\n"]}, "a cookie holds a line's end"),
        ({"multiValueHeaders": {"x": "1"}}, "not a list"),
    ],
)  # fmt: skip
def test_a_response_that_cannot_be_sent_is_refused_with_the_reason(wrong: dict[str, Any], reason: str) -> None:
    for read in (inferred, proxied):
        with pytest.raises(NoResponse, match=reason):
            read(returned({"statusCode": 200, **wrong}))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20))  # fmt: skip
def test_compact_json_means_the_same_and_has_no_blanks(value: Any) -> None:
    text = json.dumps(value, indent=2)
    assert json.loads(compact(text)) == value
    assert compact(text) == json.dumps(value, separators=(",", ":"))


@given(st.dictionaries(st.sampled_from(["statusCode", "headers", "multiValueHeaders", "cookies", "body", "isBase64Encoded"]),
                       st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5)))  # fmt: skip
def test_whatever_is_returned_is_a_response_or_refused(value: dict[str, Any]) -> None:
    for read in (inferred, proxied):
        try:
            reply = read(returned(value))
        except NoResponse:
            continue
        assert 200 <= reply.status <= 599
        for name, text in reply.headers:
            assert name == name.lower()
            assert not set("\r\n\0") & set(name + text)
