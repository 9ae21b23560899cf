"""A bucket as OnFailure destination of asynchronous invocations, on a real S3 server (B.3)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from async_rig import Rig
from handlers.rig import HANDLERS
from s3_gateway import S3Gateway
from waiting import eventually

from poller.template import load


@pytest.fixture(autouse=True)
def _aws_client_finds_the_server(s3_gateway: S3Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3_gateway.environment.items():
        monkeypatch.setenv(name, value)


def test_a_record_becomes_an_object_under_the_key_of_the_specification(s3_gateway: S3Gateway, tmp_path: Path) -> None:
    """B.3: `aws/lambda/async/<FN>/YYYY/MM/DD/YYYY-MM-DDTHH.MM.SS-<uuid>`; the body is the record."""
    bucket = s3_gateway.create_bucket()
    properties = {"Code": str(HANDLERS), "Handler": "noted.handler", "Runtime": "python3.13"}
    on_failure = {"OnFailure": {"Destination": f"arn:aws:s3:::{bucket}"}}
    config = {"FunctionName": "Work", "MaximumRetryAttempts": 0, "DestinationConfig": on_failure}
    resources = {
        "Work": {"Type": "AWS::Lambda::Function", "Properties": properties},
        "Config": {"Type": "AWS::Lambda::EventInvokeConfig", "Properties": config},
    }
    (tmp_path / "template.yaml").write_text(yaml.safe_dump({"Resources": resources}))
    rig = Rig(tmp_path)
    rig.add("Work", load(tmp_path / "template.yaml").asynchronous["Work"])
    rig.start()
    try:
        request_id = rig.accept("Work", {"fail": "boom"})
        eventually(lambda: s3_gateway.objects(bucket))
        eventually(lambda: not rig.waiting())
    finally:
        rig.stop()
    ((key, body),) = s3_gateway.objects(bucket).items()
    record = json.loads(body)
    day, time = record["timestamp"][:10], record["timestamp"][11:19].replace(":", ".")
    uuid = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    assert re.fullmatch(f"aws/lambda/async/Work/{day.replace('-', '/')}/{day}T{time}-{uuid}", key)
    assert record["requestContext"]["requestId"] == request_id
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestPayload"] == {"fail": "boom"}
