"""Functions that calls have made, through AWS's own client (boto3) on the real service (A.1, A.7, B.1)."""

from __future__ import annotations

import hashlib
import json
import os
import urllib.request
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_service import RUNTIME, arn, aws_client, served, template_of
from async_rig import lines
from botocore.exceptions import ClientError
from packages import DESCRIBE, ROLE, describing, zip_of
from waiting import eventually

from poller.account.store import AccountFile
from poller.api.functions import LONGEST_CODE

NOTE = """
import json, os
def handler(event, context):
    with open(os.environ["NOTES"], "a") as file:
        print(json.dumps([event, context.function_version, context.invoked_function_arn]), file=file)
    if event.get("fail"):
        raise ValueError("no")
    return context.function_version
"""
QUEUE = "arn:aws:sqs:us-east-1:123456789012:dead"
FUNCTIONS = {"declared": {"Handler": "basic.echo"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[Any]:
    with served(template_of(folder, FUNCTIONS, TimeScale=600, Endpoints={QUEUE: "file:dead.jsonl"})) as url:
        made = aws_client(url)
        yield made
        made.close()


def create(client: Any, name: str, content: bytes | None = None, **more: Any) -> dict[str, Any]:
    content = describing("first") if content is None else content
    values = {"Role": ROLE, "Runtime": RUNTIME, "Handler": "app.handler", "Code": {"ZipFile": content}, **more}
    answer: dict[str, Any] = client.create_function(FunctionName=name, **values)
    client.get_waiter("function_active_v2").wait(FunctionName=name)
    return answer


def told(client: Any, name: str, qualifier: str | None = None) -> Any:
    """What a describing function says, and the version that was executed."""
    answer = client.invoke(FunctionName=name, **({} if qualifier is None else {"Qualifier": qualifier}))
    return json.loads(answer["Payload"].read()) | {"executed": answer["ExecutedVersion"]}


def refusal(call: Any, **arguments: Any) -> tuple[int, dict[str, Any]]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return caught.value.response["ResponseMetadata"]["HTTPStatusCode"], caught.value.response["Error"]


def test_each_qualifier_runs_its_code_with_its_configuration(client: Any) -> None:
    created = create(client, "versions", Environment={"Variables": {"MODE": "one"}})
    assert (created["ResponseMetadata"]["HTTPStatusCode"], created["State"]) == (201, "Pending")
    assert client.publish_version(FunctionName="versions")["Version"] == "1"
    updated = client.update_function_code(FunctionName="versions", ZipFile=describing("second"))
    assert (updated["ResponseMetadata"]["HTTPStatusCode"], updated["LastUpdateStatus"]) == (200, "InProgress")
    client.get_waiter("function_updated_v2").wait(FunctionName="versions")
    client.update_function_configuration(FunctionName="versions", Environment={"Variables": {"MODE": "two"}})
    alias = client.create_alias(FunctionName="versions", Name="live", FunctionVersion="1")
    assert (alias["ResponseMetadata"]["HTTPStatusCode"], alias["AliasArn"]) == (201, f"{arn('versions')}:live")
    for qualifier, code, version, mode in (
        (None, "second", "$LATEST", "two"),
        ("$LATEST", "second", "$LATEST", "two"),
        ("1", "first", "1", "one"),
        ("live", "first", "1", "one"),
    ):
        answer = told(client, "versions", qualifier)
        called = arn("versions") if qualifier is None else f"{arn('versions')}:{qualifier}"
        assert (answer["code"], answer["mode"], answer["arn"]) == (code, mode, called)
        assert answer["version"] == answer["variable"] == answer["executed"] == version
        assert f"/[{version}]" in answer["stream"]
    tail = client.invoke(FunctionName="versions:live", LogType="Tail")
    assert b"Version: 1\n" in b64decode(tail["LogResult"])
    assert tail["Payload"].read()
    streamed = client.invoke_with_response_stream(FunctionName="versions", Qualifier="live")
    assert streamed["ExecutedVersion"] == "1"
    assert [*next(iter(streamed["EventStream"]))] == ["PayloadChunk"]
    streamed["EventStream"].close()
    dry = client.invoke(FunctionName="versions", Qualifier="1", InvocationType="DryRun")
    assert (dry["StatusCode"], dry["Payload"].read()) == (204, b"")
    client.update_alias(FunctionName="versions", Name="live", FunctionVersion="$LATEST")
    assert told(client, "versions", "live")["code"] == "second"
    status, error = refusal(client.invoke, FunctionName="versions", Qualifier="7")
    assert (status, error["Message"]) == (404, f"Function not found: {arn('versions')}:7")


def test_the_package_can_be_had_back_as_it_was_sent(client: Any) -> None:
    content = describing("back")
    create(client, "back", content)
    code = client.get_function(FunctionName="back")["Code"]
    assert code["RepositoryType"] == "S3"
    with urllib.request.urlopen(code["Location"]) as answer:
        assert hashlib.sha256(answer.read()).digest() == hashlib.sha256(content).digest()


def test_a_deleted_function_is_gone_at_once(client: Any) -> None:
    create(client, "gone")
    assert told(client, "gone")["code"] == "first"
    assert client.delete_function(FunctionName="gone")["ResponseMetadata"]["HTTPStatusCode"] == 204
    for call in (client.invoke, client.get_function):
        assert refusal(call, FunctionName="gone")[0] == 404
    create(client, "gone", describing("again"))
    assert told(client, "gone")["code"] == "again"


def test_what_the_template_declares_is_listed_and_not_changed(client: Any) -> None:
    names = [
        item["FunctionName"] for page in client.get_paginator("list_functions").paginate() for item in page["Functions"]
    ]
    assert "declared" in names
    status, error = refusal(client.delete_function, FunctionName="declared")
    assert (status, error["Code"]) == (409, "ResourceConflictException")


def test_events_run_with_their_qualifier_and_the_records_say_so(client: Any, folder: Path) -> None:
    notes = folder / "notes"
    content = zip_of(("app.py", NOTE))
    create(client, "async", content, Environment={"Variables": {"NOTES": str(notes)}})
    client.publish_version(FunctionName="async")
    client.create_alias(FunctionName="async", Name="live", FunctionVersion="1")
    for number, qualifier in enumerate((None, "1", "live")):
        named = {} if qualifier is None else {"Qualifier": qualifier}
        answer = client.invoke(FunctionName="async", InvocationType="Event", Payload=json.dumps({"n": number}), **named)
        assert (answer["StatusCode"], answer["Payload"].read()) == (202, b"")
    found = eventually(lambda: len(lines(notes)) == 3 and lines(notes))
    assert sorted(found, key=lambda line: line[0]["n"]) == [
        [{"n": 0}, "$LATEST", arn("async")],
        [{"n": 1}, "1", f"{arn('async')}:1"],
        [{"n": 2}, "1", f"{arn('async')}:live"],
    ]
    status, _ = refusal(client.invoke, FunctionName="async", Qualifier="2", InvocationType="Event")
    assert status == 404


def test_an_event_that_keeps_failing_goes_to_the_function_s_dead_letter_queue(client: Any, folder: Path) -> None:
    variables = {"NOTES": str(folder / "failures")}
    dead = {"TargetArn": QUEUE}
    create(client, "failing", zip_of(("app.py", NOTE)), Environment={"Variables": variables}, DeadLetterConfig=dead)
    client.invoke(FunctionName="failing", InvocationType="Event", Payload='{"fail": true}')["Payload"].read()
    assert eventually(lambda: lines(folder / "dead.jsonl")) == [{"fail": True}]
    assert len(lines(folder / "failures")) == 3
    status, error = refusal(
        client.update_function_configuration, FunctionName="failing", DeadLetterConfig={"TargetArn": "arn:aws:s3:::b"}
    )
    assert status == 400
    assert "is not the ARN of an SQS queue or SNS topic" in error["Message"]


def test_a_request_above_the_limit_is_refused_by_what_it_says_of_itself(client: Any) -> None:
    from http.client import HTTPConnection

    host = client.meta.endpoint_url.removeprefix("http://")
    connection = HTTPConnection(host)
    connection.putrequest("POST", "/2015-03-31/functions")
    connection.putheader("Content-Length", str(LONGEST_CODE + 1))
    connection.endheaders()
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("x-amzn-ErrorType")) == (413, "RequestEntityTooLargeException")
    assert (
        json.loads(answer.read())["message"]
        == "Request must be smaller than 70167211 bytes for the CreateFunction operation"
    )
    connection.close()


def test_a_large_package_may_be_signed_and_is_fetched_from_where_the_answer_says(tmp_path: Path) -> None:
    content = zip_of(("app.py", DESCRIBE % "large"), ("data", os.urandom(7 * 1024 * 1024)))
    keys = {"AKIDEXAMPLE": "example"}
    with served(template_of(tmp_path, FUNCTIONS, RequireSignature=True, SignatureKeys=keys)) as url:
        client = aws_client(url)
        create(client, "large", content)
        assert told(client, "large")["code"] == "large"
        location = client.get_function(FunctionName="large")["Code"]["Location"]
        assert httpx.get(location).content == content  # as it is, by whoever has the answer
        assert httpx.get(location.partition("?")[0]).status_code == 403
        client.close()


def test_what_is_no_request_is_refused(client: Any) -> None:
    url = client.meta.endpoint_url + "/2015-03-31/functions"
    for body, kind in ((b"{", "InvalidRequestContentException"), (b"[]", "SerializationException")):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(url, body, method="POST"))
        assert (caught.value.code, caught.value.headers["x-amzn-ErrorType"]) == (400, kind)
        caught.value.close()


def test_a_restart_brings_everything_back_with_the_same_answers(tmp_path: Path) -> None:
    template = template_of(tmp_path, FUNCTIONS)

    def answers(client: Any) -> list[Any]:
        found = [client.get_function_configuration(FunctionName="kept", Qualifier=q) for q in ("$LATEST", "1", "live")]
        found.append(client.get_alias(FunctionName="kept", Name="live"))
        return [{key: value for key, value in item.items() if key != "ResponseMetadata"} for item in found]

    documents = AccountFile(template.state_folder)
    with served(template, documents) as url:
        client = aws_client(url)
        create(client, "kept", Publish=True)
        client.create_alias(FunctionName="kept", Name="live", FunctionVersion="1")
        client.update_function_code(FunctionName="kept", ZipFile=describing("second"))
        before = answers(client)
        client.close()
    documents.close()
    documents = AccountFile(template.state_folder)
    with served(template, documents) as url:
        client = aws_client(url)
        assert answers(client) == before
        assert [told(client, "kept", qualifier)["code"] for qualifier in ("$LATEST", "live")] == ["second", "first"]
        client.close()
    documents.close()


def test_the_url_of_an_alias_leads_to_its_version_and_goes_with_it(client: Any) -> None:
    create(client, "served", zip_of(("app.py", DESCRIBE % "first")), Publish=True)
    client.create_alias(FunctionName="served", Name="live", FunctionVersion="1")
    url = client.create_function_url_config(FunctionName="served", Qualifier="live", AuthType="NONE")["FunctionUrl"]
    with urllib.request.urlopen(url) as answer:
        found = json.load(answer)
    assert (found["version"], found["arn"]) == ("1", f"{arn('served')}:live")
    client.delete_function(FunctionName="served")
    create(client, "served", zip_of(("app.py", DESCRIBE % "second")))
    assert refusal(client.get_function_url_config, FunctionName="served", Qualifier="live")[0] == 404
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url)
    assert caught.value.code == 403
    caught.value.close()
