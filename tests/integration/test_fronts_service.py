"""`poller run` with function URLs and APIs: where they are, what outlives `kill -9`, and how it ends."""

from __future__ import annotations

import re
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
from api_service import aws_client
from handlers.rig import HANDLERS
from integration.harness.service import Service
from waiting import eventually

RUNTIME = f"python{sys.version_info[0]}.{sys.version_info[1]}"


def template(folder: Path) -> dict[str, Any]:
    common = {"CodeUri": str(HANDLERS), "Runtime": RUNTIME, "Timeout": 30}
    event = {"Handler": "web.event", "FunctionUrlConfig": {"AuthType": "NONE"}, "Events": {"All": {"Type": "HttpApi"}}}
    route = {"Type": "HttpApi", "Properties": {"Path": "/slow", "Method": "GET"}}
    return {
        "Transform": "AWS::Serverless-2016-10-31",
        "Globals": {"HttpApi": {"StageVariables": {"folder": str(folder)}}},
        "Resources": {
            "Event": {"Type": "AWS::Serverless::Function", "Properties": {**common, **event}},
            "Slow": {
                "Type": "AWS::Serverless::Function",
                "Properties": {**common, "Handler": "web.slow", "Events": {"Get": route}},
            },
        },
    }


def told(service: Service, pattern: str) -> str:
    """The URL that a line of the log tells."""
    found = re.search(r"http://\S+", service.wait_for_log(pattern)["message"])
    assert found is not None
    return found[0]


def test_urls_are_told_and_those_of_calls_outlive_kill_9(tmp_path: Path) -> None:
    with Service(tmp_path, template(tmp_path), POLLER_API_PORT="0") as first:
        declared = told(first, "^function URL of Event: ").removeprefix(first.url)
        api = told(first, "^HTTP API serverlesshttpapi with 2 routes: ")
        assert httpx.get(f"{first.url}{declared}a").json()["rawPath"] == "/a"
        assert httpx.get(f"{api}a").json()["requestContext"]["apiId"] == "serverlesshttpapi"
        made = aws_client(first.url).create_function_url_config(FunctionName="Slow", AuthType="AWS_IAM")
        address = made["FunctionUrl"].removeprefix(first.url)
        first.kill()
    with Service(tmp_path, template(tmp_path), POLLER_API_PORT="0") as second:
        assert told(second, "^function URL of Event: ") == f"{second.url}{declared}"
        kept = aws_client(second.url).get_function_url_config(FunctionName="Slow")
        assert (kept["FunctionUrl"], kept["AuthType"]) == (f"{second.url}{address}", "AWS_IAM")
        assert kept["CreationTime"] == made["CreationTime"]
        refused = httpx.get(f"{second.url}{address}")
        assert refused.json()["Explanation"] == "there is no key in SignatureKeys to check signatures with"
        assert second.stop() == 0
        assert second.problems() == []


def test_a_request_in_work_is_answered_before_the_service_ends(tmp_path: Path) -> None:
    with Service(tmp_path, template(tmp_path), POLLER_API_PORT="0") as service:
        api = told(service, "^HTTP API ")
        answers: list[int] = []
        asking = threading.Thread(target=lambda: answers.append(httpx.get(f"{api}slow", timeout=60).status_code))
        asking.start()
        eventually((tmp_path / "begun").exists)
        service.signal()
        service.wait_for_log("^stopping: ")
        (tmp_path / "end").touch()
        asking.join()
        assert answers == [200]
        assert service.wait() == 0
        assert service.problems() == []
