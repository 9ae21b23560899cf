"""The calls on function URL configurations, with the answers and errors that the service was recorded with (A.5)."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from front_requests import Account

from poller.account.documents import Change, ForgettingDocuments
from poller.api_errors import ApiError
from poller.errors import StateError
from poller.fronts.function_urls import FunctionUrls
from poller.fronts.url_config import KIND, FunctionUrl, UrlConfig, derived_id

ARN = "arn:aws:lambda:us-east-1:123456789012:function:f"
BASE = "http://127.0.0.1:9001"
NONE = {"AuthType": "NONE"}
QUALIFIER_TEXT = (
    "1 validation error detected: Value '{}' at 'qualifier' failed to satisfy constraint: Member must satisfy "
    r"regular expression pattern: ((?!^\d+$)^[0-9a-zA-Z-_]+$)"
)


def urls_of(
    documents: Any = None, declared: tuple[FunctionUrl, ...] = (), *, allow_drift: bool = False, account: Any = None
) -> FunctionUrls:
    seconds = itertools.count(1_764_064_800)
    return FunctionUrls(
        declared,
        documents or ForgettingDocuments(),
        account or Account(),
        allow_drift=allow_drift,
        now=lambda: float(next(seconds)),
    )


def declared_url(name: str = "f", auth_type: Any = "NONE") -> FunctionUrl:
    return FunctionUrl("declared", name, "", UrlConfig(AuthType=auth_type), 0, 0, declared=True)


def refused(error: pytest.ExceptionInfo[ApiError]) -> tuple[int, str, str]:
    return error.value.status, error.value.type, error.value.text


def test_a_url_is_made_looked_at_changed_and_deleted() -> None:
    urls = urls_of()
    made = urls.create("f", None, {**NONE, "Cors": {"AllowOrigins": ["*"], "MaxAge": 5}}, BASE)
    address = made["FunctionUrl"]
    url_id = address.removeprefix(f"{BASE}/_url/").removesuffix("/")
    assert len(url_id) == 32
    assert made == {
        "FunctionUrl": address,
        "FunctionArn": ARN,
        "AuthType": "NONE",
        "Cors": {"AllowOrigins": ["*"], "MaxAge": 5},
        "CreationTime": "2025-11-25T10:00:01.000000Z",
    }
    shown = urls.get("f", None, BASE)
    assert shown == {**made, "InvokeMode": "BUFFERED", "LastModifiedTime": made["CreationTime"]}
    changed = urls.update("f", None, {"AuthType": "AWS_IAM"}, BASE)
    assert changed == {**made, "AuthType": "AWS_IAM", "LastModifiedTime": "2025-11-25T10:00:02.000000Z"}
    streamed = urls.update("f", None, {"InvokeMode": "RESPONSE_STREAM", "Cors": {}}, BASE)
    assert (streamed["InvokeMode"], streamed["Cors"], streamed["AuthType"]) == ("RESPONSE_STREAM", {}, "AWS_IAM")
    found = urls.find(url_id)
    assert found is not None
    assert found.config.InvokeMode == "RESPONSE_STREAM"
    urls.delete("f", None)
    assert urls.find(url_id) is None
    with pytest.raises(ApiError) as error:
        urls.get("f", None, BASE)
    assert refused(error) == (404, "ResourceNotFoundException", "The resource you requested does not exist.")


def test_an_alias_has_a_url_of_its_own_and_keeps_it() -> None:
    urls = urls_of()
    own = urls.create("f", None, NONE, BASE)
    alias = urls.create(f"{ARN}:live", "live", NONE, BASE)
    assert alias["FunctionArn"] == f"{ARN}:live"
    assert alias["FunctionUrl"] != own["FunctionUrl"]
    urls.delete("f", None)
    assert urls.get("f", "live", BASE)["FunctionUrl"] == alias["FunctionUrl"]


def test_what_hangs_on_a_function_goes_with_it_and_comes_back_if_it_could_not_go() -> None:
    urls = urls_of(declared=(declared_url("g"),))
    urls.create("f", None, NONE, BASE)
    urls.create("f", "live", NONE, BASE)
    before = urls.all()
    assert urls.gone("f", "2") == []
    assert urls.gone("f", "live") == [Change(KIND, "f:live", None)]
    assert [url.key for url in urls.all()] == ["g", "f"]
    urls.recall()
    assert {url.key for url in urls.all()} == {url.key for url in before}
    assert urls.gone("f") == [Change(KIND, "f", None), Change(KIND, "f:live", None)]
    assert urls.gone("g") == []
    assert urls.all() == []


def test_a_second_url_is_refused_with_aws_s_text() -> None:
    urls = urls_of()
    urls.create("f", None, NONE, BASE)
    with pytest.raises(ApiError) as error:
        urls.create("f", None, NONE, BASE)
    text = (
        f"Failed to create function url config for [functionArn = {ARN}]. Error message:  "
        "FunctionUrlConfig exists for this Lambda function"
    )
    assert refused(error) == (409, "ResourceConflictException", text)


CALLS = {
    "create": lambda urls, name, qualifier: urls.create(name, qualifier, NONE, BASE),
    "get": lambda urls, name, qualifier: urls.get(name, qualifier, BASE),
    "update": lambda urls, name, qualifier: urls.update(name, qualifier, NONE, BASE),
    "delete": lambda urls, name, qualifier: urls.delete(name, qualifier),
}
DOES_NOT_EXIST = "Function does not exist"
GONE = {"create": DOES_NOT_EXIST, "update": DOES_NOT_EXIST}
DIFFERENT = "The derived qualifier from the function name does not match the specified qualifier."
ELSEWHERE = "Functions from 'eu-west-1' are not reachable in this region ('us-east-1')"
NO_RESOURCE = "The resource you requested does not exist."


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("name", "qualifier", "expected"),
    [
        ("nowhere", None, (404, "ResourceNotFoundException", GONE)),
        (ARN.replace(":f", ":nowhere"), None, (404, "ResourceNotFoundException", GONE)),
        ("f", "gone", (404, "ResourceNotFoundException", GONE)),
        ("nowhere", "1", (400, "ValidationException", QUALIFIER_TEXT.format("1"))),
        ("f", "2", (400, "ValidationException", QUALIFIER_TEXT.format("2"))),
        ("f", "$LATEST", (400, "ValidationException", QUALIFIER_TEXT.format("$LATEST"))),
        ("f:$LATEST", None, (400, "ValidationException", QUALIFIER_TEXT.format("$LATEST"))),
        ("f:1", None, (400, "ValidationException", QUALIFIER_TEXT.format("1"))),
        (f"{ARN}:other", "live", (400, "InvalidParameterValueException", DIFFERENT)),
        (ARN.replace("us-east-1", "eu-west-1"), None, (404, "ResourceNotFoundException", ELSEWHERE)),
    ],
)  # fmt: skip
def test_a_function_that_cannot_be_meant_is_refused_as_it_was_recorded(
    call: str, name: str, qualifier: str | None, expected: tuple[int, str, Any]
) -> None:
    with pytest.raises(ApiError) as error:
        CALLS[call](urls_of(), name, qualifier)
    status, kind, text = expected
    shown = text if isinstance(text, str) else text.get(call, NO_RESOURCE)
    assert refused(error) == (status, kind, shown)


@pytest.mark.parametrize("call", ["get", "update", "delete"])
def test_a_function_without_a_url_has_none(call: str) -> None:
    with pytest.raises(ApiError) as error:
        CALLS[call](urls_of(), "f", None)
    assert refused(error) == (404, "ResourceNotFoundException", NO_RESOURCE)


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({}, "1 validation error detected: Value null at 'authType' failed to satisfy constraint: Member must not be null"),
        ({"AuthType": "SOME"}, "Value 'SOME' at 'authType' failed to satisfy constraint: Member must satisfy enum value set: [NONE, AWS_IAM]"),
        ({**NONE, "InvokeMode": "X"}, "enum value set: [BUFFERED, RESPONSE_STREAM]"),
        ({**NONE, "Cors": {"MaxAge": 86401}}, "Value '86401' at 'cors.maxAge' failed to satisfy constraint: Member must have value less than or equal to 86400"),
        ({**NONE, "Cors": {"AllowMethods": ["GET"] * 7}}, "Member must have length less than or equal to 6"),
        ({**NONE, "Cors": []}, "Cors: a list is not a mapping"),
        ({**NONE, "Corse": {}}, "unknown parameter: Corse"),
    ],
)  # fmt: skip
def test_a_wrong_configuration_is_refused(request_: dict[str, Any], text: str) -> None:
    urls = urls_of()
    with pytest.raises(ApiError) as error:
        urls.create("f", None, request_, BASE)
    assert error.value.status == 400
    assert text in error.value.text
    assert urls.all() == []


def test_urls_are_listed_in_pages_the_function_s_own_first() -> None:
    urls = urls_of()
    assert urls.listed("f", None, None, BASE) == {"FunctionUrlConfigs": []}
    urls.create("f", "live", NONE, BASE)
    urls.create("f", None, NONE, BASE)
    urls.create("g", None, NONE, BASE)
    every = urls.listed(ARN, None, 50, BASE)["FunctionUrlConfigs"]
    assert [item["FunctionArn"] for item in every] == [ARN, f"{ARN}:live"]
    assert every[0]["InvokeMode"] == "BUFFERED"
    first = urls.listed("f", None, 1, BASE)
    assert first["FunctionUrlConfigs"] == every[:1]
    second = urls.listed("f", first["NextMarker"], 1, BASE)
    assert second == {"FunctionUrlConfigs": every[1:]}
    with pytest.raises(ApiError) as error:
        urls.listed("nowhere", None, None, BASE)
    assert refused(error) == (404, "ResourceNotFoundException", "Function does not exist")


@pytest.mark.parametrize("count", [0, 51])
def test_a_page_has_1_to_50_items(count: int) -> None:
    with pytest.raises(ApiError, match="at 'maxItems' failed to satisfy constraint"):
        urls_of().listed("f", None, count, BASE)


def test_what_calls_made_is_there_after_a_restart_as_it_was() -> None:
    documents = ForgettingDocuments()
    urls = urls_of(documents)
    urls.create("f", "live", {**NONE, "Cors": {"AllowOrigins": ["*"]}}, BASE)
    urls.create("g", None, NONE, BASE)
    urls.delete("g", None)
    assert urls_of(documents).all() == urls.all()


def test_a_document_that_is_none_of_ours_is_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    documents = ForgettingDocuments()
    documents.change([Change(KIND, "f", {"UrlId": "x"}), Change(KIND, "g", {})])
    assert urls_of(documents).all() == []
    assert "the function URL of f is left out" in caplog.text


def test_what_is_not_on_the_disk_is_not_made() -> None:
    class Full(ForgettingDocuments):
        def change(self, changes: Any) -> None:
            raise StateError("the disk is full")

    urls = urls_of(Full())
    with pytest.raises(StateError):
        urls.create("f", None, NONE, BASE)
    assert urls.all() == []


@pytest.mark.parametrize("call", ["update", "delete"])
def test_what_the_template_declares_is_the_template_s(call: str) -> None:
    urls = urls_of(declared=(declared_url(),))
    with pytest.raises(ApiError) as error:
        CALLS[call](urls, "f", None)
    text = "The function URL of f is declared by the template: change it there, or run with --allow-drift."
    assert refused(error) == (409, "ResourceConflictException", text)
    assert urls.find("declared") is not None


def test_with_drift_it_may_be_changed_until_the_next_start() -> None:
    documents = ForgettingDocuments()
    urls = urls_of(documents, (declared_url(),), allow_drift=True)
    urls.update("f", None, {"AuthType": "AWS_IAM"}, BASE)
    assert urls.get("f", None, BASE)["AuthType"] == "AWS_IAM"
    urls.delete("f", None)
    assert urls.find("declared") is None
    assert urls_of(documents, (declared_url(),)).get("f", None, BASE)["AuthType"] == "NONE"


def test_the_template_s_url_stands_in_place_of_one_that_a_call_made() -> None:
    documents = ForgettingDocuments()
    urls_of(documents).create("f", None, {"AuthType": "AWS_IAM"}, BASE)
    urls = urls_of(documents, (declared_url(),))
    assert [url.url_id for url in urls.all()] == ["declared"]


def test_the_url_of_a_function_that_is_gone_is_not_found() -> None:
    account = Account()
    urls = urls_of(declared=(declared_url(),), account=account)
    account.there.clear()
    assert urls.find("declared") is None


def test_a_declared_url_has_the_same_id_at_every_start_and_another_for_another_function() -> None:
    first = derived_id("123456789012", "us-east-1", "f", "")
    assert first == derived_id("123456789012", "us-east-1", "f", "")
    assert (
        len(
            {
                first,
                derived_id("123456789012", "us-east-1", "g", ""),
                derived_id("123456789012", "us-east-1", "f", "live"),
            }
        )
        == 3
    )
    assert len(first) == 32
    assert first.isalnum()
    assert first == first.lower()
