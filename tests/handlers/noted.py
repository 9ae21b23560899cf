"""Handlers that write down each attempt, and then do what their event says."""

import json
import os
import sys
import time


def _note(event, context):
    line = {"id": context.aws_request_id, "at": time.time(), "event": event, "arn": context.invoked_function_arn}
    descriptor = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\n")
    finally:
        os.close(descriptor)


def handler(event, context):
    """`fail`: raise; `fail_until`: raise before that file is there; `exit`: end the process; `wait_for`: a file."""
    _note(event, context)
    told = event if isinstance(event, dict) else {}
    while "wait_for" in told and not os.path.exists(told["wait_for"]):  # noqa: PTH110
        time.sleep(0.01)
    if "exit" in told:
        sys.exit(1)
    if told.get("fail") or ("fail_until" in told and not os.path.exists(told["fail_until"])):  # noqa: PTH110
        raise ValueError(told.get("fail") or "not yet")
    return {"done": told.get("number")}


def always_raise(event, context):
    _note(event, context)
    raise ValueError("boom")
