"""Well-behaved handlers, as a person would write them."""

import decimal
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

calls = 0


def echo(event, context):
    return event


def nothing(event, context):
    return None


def count(event, context):
    """How often this process was called, and which one it is."""
    global calls  # noqa: PLW0603
    calls += 1
    return {"calls": calls, "pid": os.getpid()}


def values(event, context):
    """Results by name, for the table of encodings (A.4)."""
    return {
        "decimal": decimal.Decimal("1.10"),
        "decimals": [decimal.Decimal("0.1"), {"total": decimal.Decimal("1E+3")}],
        "decimal nan": decimal.Decimal("NaN"),
        "nan": float("nan"),
        "text": "größer ✓",
        "bytes": b"\x00\xffraw",
        "dict": {"a": [1, 2.5, True, None]},
        "string": "hello",
        "set": {1},
        "lone surrogate": "\ud800",
    }[event]


def describe_context(event, context):
    remaining = context.get_remaining_time_in_millis()
    client = context.client_context
    return {
        "aws_request_id": context.aws_request_id,
        "function_name": context.function_name,
        "function_version": context.function_version,
        "invoked_function_arn": context.invoked_function_arn,
        "memory_limit_in_mb": context.memory_limit_in_mb,
        "log_group_name": context.log_group_name,
        "log_stream_name": context.log_stream_name,
        "remaining": remaining,
        "identity": [context.identity.cognito_identity_id, context.identity.cognito_identity_pool_id],
        "client": client and [client.client and client.client.app_title, client.custom, client.env],
        "tenant_id": context.tenant_id,
        "repr": repr(context),
        "logged": context.log("through the context\n"),
    }


def environment(event, context):
    return {"variables": dict(os.environ), "folder": str(Path.cwd()), "path": sys.path, "argv": sys.argv}


def talk(event, context):
    print("printed")
    print("to stderr", file=sys.stderr)
    logging.getLogger("mine").warning("warned %s", "once")
    logging.getLogger().info("not shown")
    sys.stdout.write("no newline")
    return "ok"


def leave_file(event, context):
    """Leave a file in the environment's /tmp, then do as told."""
    path = Path(os.environ["TMPDIR"], "left")
    found = path.exists()
    path.write_text("x")
    if event == "sleep":
        time.sleep(60)
    if event == "exit":
        os._exit(3)
    global calls  # noqa: PLW0603
    calls += 1
    return {"found": found, "calls": calls}


def large(event, context):
    return "x" * event


def grow(event, context):
    held = []
    while True:
        held.append(bytearray(b"x") * 1024 * 1024)
        time.sleep(0.002)  # slow enough for the machine


def grow_in_child(event, context):
    code = "import time; held = []\nwhile True: held.append(bytearray(b'x') * 2**20); time.sleep(0.002)"
    return subprocess.run([sys.executable, "-c", code], check=False).returncode


def use_memory(event, context):
    return len(bytearray(event * 1024 * 1024))


def nap(event, context):
    time.sleep(1.0)
