"""The events of HTTP requests: payload 2.0 and 1.0, to the letter (A.5, A.6)."""

from __future__ import annotations

import base64
import json

import pytest
from front_requests import TRACE, front_request

from poller.fronts.events import Target, encoded, matches, payload_1, payload_2, rest_event

URL = Target("anonymous", "u123", "u123.lambda-url.eu-west-1.on.aws")
ROUTE = Target(
    "123456789012",
    "id",
    "id.execute-api.eu-west-1.amazonaws.com",
    route_key="GET /a/{id}",
    resource="/a/{id}",
    path_parameters={"id": "7"},
    decoded=True,
)
FORWARDED = {
    "x-amzn-trace-id": TRACE,
    "x-forwarded-for": "203.0.113.9",
    "x-forwarded-port": "443",
    "x-forwarded-proto": "https",
}


def test_payload_2_is_the_one_of_the_specification() -> None:  # A.5
    headers = [
        ("Content-Type", "application/json"), ("X-Multi", "1"), ("x-multi", "2"), ("Cookie", "k=v"), ("User-Agent", "curl/8"),
    ]  # fmt: skip
    request = front_request("POST", "/a/b", query="x=1&x=2&y=3", headers=headers, body=b'{"k":1}')
    assert payload_2(request, URL) == {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/a/b",
        "rawQueryString": "x=1&x=2&y=3",
        "cookies": ["k=v"],
        "headers": {"content-type": "application/json", "x-multi": "1,2", "user-agent": "curl/8", **FORWARDED},
        "queryStringParameters": {"x": "1,2", "y": "3"},
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "u123",
            "authentication": None,
            "authorizer": None,
            "domainName": "u123.lambda-url.eu-west-1.on.aws",
            "domainPrefix": "u123",
            "http": {
                "method": "POST",
                "path": "/a/b",
                "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.9",
                "userAgent": "curl/8",
            },
            "requestId": "the-id",
            "routeKey": "$default",
            "stage": "$default",
            "time": "25/Nov/2025:10:00:00 +0000",
            "timeEpoch": 1764064800000,
        },
        "body": '{"k":1}',
        "pathParameters": None,
        "isBase64Encoded": False,
        "stageVariables": None,
    }


def test_what_is_empty_is_left_out_of_payload_2() -> None:  # A.5
    event = payload_2(front_request(), URL)
    assert not {"cookies", "queryStringParameters", "body"} & event.keys()
    assert event["rawQueryString"] == ""


def test_a_route_has_its_key_and_its_parameters_in_payload_2() -> None:  # A.6
    event = payload_2(front_request(path="/a/7"), ROUTE)
    assert event["routeKey"] == event["requestContext"]["routeKey"] == "GET /a/{id}"
    assert event["pathParameters"] == {"id": "7"}


def test_payload_1_is_the_one_of_the_specification() -> None:  # A.6
    headers = [("X-H", "first"), ("x-h", "last"), ("User-Agent", "ua")]
    request = front_request(path="/a/7", query="q=1&q=2", headers=headers)
    event = payload_1(request, ROUTE)
    forwarded = {
        name: event["headers"].pop(name) for name in list(event["headers"]) if name.startswith("X-") and name != "X-H"
    }
    assert {name.lower(): value for name, value in forwarded.items()} == FORWARDED
    assert event["multiValueHeaders"]["X-H"] == ["first", "last"]
    del event["multiValueHeaders"]
    assert event == {
        "version": "1.0",
        "resource": "/a/{id}",
        "path": "/a/7",
        "httpMethod": "GET",
        "headers": {"X-H": "last", "User-Agent": "ua"},
        "queryStringParameters": {"q": "2"},
        "multiValueQueryStringParameters": {"q": ["1", "2"]},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "id",
            "authorizer": {"claims": None, "scopes": None},
            "domainName": "id.execute-api.eu-west-1.amazonaws.com",
            "domainPrefix": "id",
            "extendedRequestId": "the-id",
            "httpMethod": "GET",
            "identity": {
                "sourceIp": "203.0.113.9",
                "userAgent": "ua",
                "accessKey": None,
                "accountId": None,
                "caller": None,
                "cognitoAuthenticationProvider": None,
                "cognitoAuthenticationType": None,
                "cognitoIdentityId": None,
                "cognitoIdentityPoolId": None,
                "principalOrgId": None,
                "user": None,
                "userArn": None,
            },
            "path": "/a/7",
            "protocol": "HTTP/1.1",
            "requestId": "the-id",
            "requestTime": "25/Nov/2025:10:00:00 +0000",
            "requestTimeEpoch": 1764064800000,
            "resourceId": None,
            "resourcePath": "/a/{id}",
            "stage": "$default",
        },
        "pathParameters": {"id": "7"},
        "stageVariables": None,
        "body": None,
        "isBase64Encoded": False,
    }


def test_the_event_of_a_rest_api_has_no_version_and_its_path_no_stage() -> None:  # A.6
    target = Target("1", "id", "id.x", stage="Prod", resource="/a", stage_variables={"k": "v"}, staged_path="/Prod/a")
    event = rest_event(front_request(path="/a"), target)
    assert "version" not in event
    assert (event["path"], event["requestContext"]["path"]) == ("/a", "/Prod/a")
    assert (event["requestContext"]["stage"], event["stageVariables"]) == ("Prod", {"k": "v"})
    assert event["queryStringParameters"] is event["multiValueQueryStringParameters"] is event["pathParameters"] is None


@pytest.mark.parametrize(
    ("content_type", "body", "is_base64"),
    [
        ("application/json", b"{}", False),
        ("application/json; charset=utf-8", '{"ä": 1}'.encode(), False),
        ("application/vnd.api+json", b"{}", False),
        ("image/svg+xml", b"<svg/>", False),
        ("text/csv", b"a,b", False),
        ("TEXT/PLAIN", b"a", False),
        (None, b"plain", False),
        (None, b"\xff\x00", True),
        ("text/plain", b"\xff", True),
        ("application/octet-stream", b"text all the same", True),
        ("application/x-www-form-urlencoded", b"a=1", True),
        ("image/png", b"\x89PNG", True),
    ],
)  # fmt: skip
def test_a_body_is_text_or_base64_by_its_type(content_type: str | None, body: bytes, is_base64: bool) -> None:  # A.5
    headers = [] if content_type is None else [("content-type", content_type)]
    event = payload_2(front_request("POST", headers=headers, body=body), URL)
    assert event["isBase64Encoded"] is is_base64
    assert (base64.b64decode(event["body"]) if is_base64 else event["body"].encode()) == body


@pytest.mark.statement(18)
def test_a_multipart_body_is_base64() -> None:
    """G 18."""
    body = b'--b\r\ncontent-disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\n'
    headers = [("content-type", "multipart/form-data; boundary=b")]
    for event in (
        payload_2(front_request("POST", headers=headers, body=body), URL),
        payload_1(front_request("POST", headers=headers, body=body), ROUTE),
    ):
        assert event["isBase64Encoded"] is True
        assert base64.b64decode(event["body"]) == body


def test_a_compressed_body_is_base64() -> None:
    headers = [("content-type", "application/json"), ("content-encoding", "gzip")]
    assert payload_2(front_request(headers=headers, body=b"x"), URL)["isBase64Encoded"] is True


@pytest.mark.parametrize(
    ("types", "is_base64"), [((), False), (("image/png",), True), (("image/*",), True), (("image~1png",), True),
                             (("*/*",), True), (("text/*",), False)],
)  # fmt: skip
def test_a_rest_api_has_base64_for_its_binary_media_types_only(types: tuple[str, ...], is_base64: bool) -> None:  # A.6
    request = front_request("POST", headers=[("Content-Type", "image/png")], body=b"ab\xff")
    event = rest_event(request, ROUTE, types)
    assert event["isBase64Encoded"] is is_base64
    assert event["body"] == ("YWL/" if is_base64 else "ab\N{REPLACEMENT CHARACTER}")


def test_paths_are_as_they_were_sent_but_for_http_apis() -> None:
    request = front_request(path="/a%2Fb%20c/%FF")
    assert payload_2(request, URL)["rawPath"] == "/a%2Fb%20c/%FF"
    assert rest_event(request, Target("1", "a", "a.b"))["path"] == "/a%2Fb%20c/%FF"
    assert payload_2(request, ROUTE)["rawPath"] == "/a/b c/\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("query", "parameters"),
    [("a", {"a": ""}), ("a=&b=%20+", {"a": "", "b": "  "}), ("a=%FF", {"a": "\N{REPLACEMENT CHARACTER}"}),
     ("a=1&A=2", {"a": "1", "A": "2"}), ("a=x%2Cy&a=z", {"a": "x,y,z"})],
)  # fmt: skip
def test_query_parameters_are_decoded_and_the_raw_string_is_not(query: str, parameters: dict[str, str]) -> None:
    event = payload_2(front_request(query=query), URL)
    assert event["queryStringParameters"] == parameters
    assert event["rawQueryString"] == query


def test_a_client_cannot_say_for_whom_the_front_speaks() -> None:
    headers = [("X-Forwarded-For", "198.51.100.1"), ("x-forwarded-proto", "ftp"), ("X-Amzn-Trace-Id", "mine")]
    found = payload_2(front_request(headers=headers), URL)["headers"]
    assert found == {**FORWARDED, "x-forwarded-for": "198.51.100.1, 203.0.113.9"}


def test_several_cookies_are_several_items_and_no_header() -> None:
    event = payload_2(front_request(headers=[("cookie", "a=1; b=2"), ("Cookie", "c=3;")]), URL)
    assert event["cookies"] == ["a=1", "b=2", "c=3"]
    assert "cookie" not in event["headers"]


def test_an_event_is_utf_8_json_without_blanks() -> None:
    assert encoded({"a": ["ä", None]}) == '{"a":["ä",null]}'.encode()
    assert json.loads(encoded(payload_2(front_request(), URL)))["version"] == "2.0"


@pytest.mark.parametrize(
    ("media", "patterns", "found"),
    [("", ["*/*"], True), ("", ["image/*"], False), ("image/png", ["IMAGE/PNG"], True), ("image/png", ["image/gif"], False)],
)  # fmt: skip
def test_media_types_match_whole_or_by_their_kind(media: str, patterns: list[str], found: bool) -> None:
    assert matches(media, patterns) is found
