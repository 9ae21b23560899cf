"""AWS's SDKs for JavaScript and Go call the service as they call AWS. `make languages`; not in `make test`.

Each is a program that makes the same calls and prints what its SDK made of the answers: typed errors with their members,
pages, waiters, times, event streams.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from api_service import arn, served, template_of
from packages import describing

from languages.build import built

PROGRAMS = {"sdk_go": ["client"], "sdk_node": ["node", "client.js"]}
FUNCTIONS = {
    "echo": {"Handler": "basic.echo"},
    "raises": {"Handler": "failing.raises"},
    "zero": {"Handler": "basic.echo", "ReservedConcurrentExecutions": 0},
}
THROTTLED = [429, "TooManyRequestsException", "Rate Exceeded.", "ReservedFunctionConcurrentInvocationLimitExceeded"]


@pytest.fixture(scope="module", params=PROGRAMS)
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the program printed."""
    folder = built(request.param)
    *runner, program = PROGRAMS[request.param]
    work: Path = tmp_path_factory.mktemp("sdk")
    package = work / "code.zip"
    package.write_bytes(describing("first"))
    with served(template_of(work, FUNCTIONS)) as url:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(work),
            "AWS_ENDPOINT_URL_LAMBDA": url,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
        }
        command = [*runner, str(folder / program), str(package)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_functions_are_listed_page_by_page(seen: dict[str, Any]) -> None:  # A.7
    assert seen["pages"] == [["echo", "raises"], ["zero"]]


def test_functions_are_invoked(seen: dict[str, Any]) -> None:  # A.1, A.4
    assert seen["echo"][:2] == [200, "$LATEST"]
    assert json.loads(seen["echo"][2]) == {"a": 1}
    assert seen["raised"] == [200, "Unhandled", "text"]
    assert (seen["event"], seen["dry"], seen["tail"]) == (202, 204, True)


def test_streams_of_events_are_read(seen: dict[str, Any]) -> None:  # A.1
    assert seen["streamed"] == ["[1]", "complete"]
    assert seen["failed"] == ["Unhandled"]


def test_errors_have_their_type_text_and_members(seen: dict[str, Any]) -> None:  # A.3
    text = f"Function not found: {arn('nobody')}:$LATEST"
    assert seen["missing"] == [404, "ResourceNotFoundException", text, ""]
    assert seen["throttled"] == THROTTLED
    assert seen["range"] == [400, "ValidationException"]
    assert seen["unbuilt"] == [501, "NotImplementedException"]


def test_a_function_is_made_waited_for_published_reached_and_deleted(seen: dict[str, Any]) -> None:  # A.5, A.7, B.2
    assert seen["created"] == "Pending"
    assert seen["live"] == ["1", "first"]
    assert seen["config"] == [1, True]
    assert seen["url"] == "first"
    assert seen["deleted"] == [404, "ResourceNotFoundException"]
