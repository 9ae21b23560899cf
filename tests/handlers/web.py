"""Handlers behind HTTP."""

import base64
import json
import pathlib
import time


def event(event, context):
    return event


def told(event, context):
    """What the request's body says."""
    body = event["body"]
    return json.loads(base64.b64decode(body) if event["isBase64Encoded"] else body)


def raises(event, context):
    raise ValueError("text")


def proxied(event, context):
    """The event as a response of payload 1.0."""
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(event)}


def image(event, context):
    return {
        "statusCode": 200,
        "headers": {"content-type": "image/png"},
        "body": base64.b64encode(b"\x89PNG\x00\xff").decode(),
        "isBase64Encoded": True,
    }


def streamed(event, context):
    head = json.dumps({"statusCode": 418, "headers": {"X-Kind": "teapot"}, "cookies": ["a=1", "b=2"]})
    return head.encode() + bytes(8) + b"short " + b"and stout" * 20_000


def large(event, context):
    return {"statusCode": 200, "body": "x" * 5_000_000}


def slow(event, context):
    """Waits for a file, which the stage's variables name."""
    folder = pathlib.Path(event["stageVariables"]["folder"])
    (folder / "begun").touch()
    while not (folder / "end").exists():
        time.sleep(0.01)
    (folder / "ended").touch()
    return {"statusCode": 200}
