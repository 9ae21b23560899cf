"""Handlers whose every effect is compared between the two clients of Python."""

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path


def results(event, context):
    """Results that encoders treat in ways of their own."""
    return {
        "bytes inside": {"a": b"gr\xc3\xbc\xc3\x9fe"},
        "not utf-8": [b"\xff"],
        "line separator": "a\u2028b\u2029c",
        "keys": {1: "a", 2.5: "b", False: "c", None: "d"},
        "tuple": (1, (2, 3)),
        "infinity": [float("inf"), -float("inf")],
        "surrogate": "\ud83d",
        "emoji": "😀",
        "big": 10**30,
        "slash": 'a/b\\"\n\t\x7f\x00',
        "object": object(),
        "generator": (i for i in range(3)),
        "circle": _circle(),
        "empty": [{}, [], "", b""],
    }[event]


def _circle():
    circle = []
    circle.append(circle)
    return circle


def raw(event, context):
    return b"\x00\xff raw"


def logs(event, context):
    logging.getLogger("mine").warning("warned %s", "once")
    logging.getLogger().info("not shown")
    try:
        raise ValueError("seen")  # noqa: TRY301
    except ValueError:
        logging.error("failed")  # noqa: LOG015, TRY400
        logging.exception("with its trace")  # noqa: LOG015
    print("printed")
    print("to stderr", file=sys.stderr)
    logging.getLogger().warning("two\nlines")
    context.log("through the context\n")
    context.log("and no newline")
    print("a", "b", sep="\n")
    sys.stdout.write("no newline")


def logs_in_a_fork(event, context):
    if os.fork() == 0:
        logging.getLogger().warning("from the fork")
        os._exit(0)
    os.wait()
    print("then")


def bad_log_format(event, context):
    logging.getLogger().error("%d", "no number")


def no_arguments():
    pass


not_callable = 5


def chained(event, context):
    try:
        json.loads("{")
    except ValueError as error:
        raise RuntimeError("second") from error


def empty_message(event, context):
    raise ValueError


def recursion(event, context):
    return recursion(event, context)


def context(event, context):
    client = context.client_context
    return {
        "remaining": 0 < context.get_remaining_time_in_millis() <= 20_000,
        "repr": repr(context),
        "client": client and [client.client and client.client.app_title, client.custom, client.env],
        "w3c": context.w3c(),
        "trace": os.environ["_X_AMZN_TRACE_ID"].split(";")[0][:5],
        "identity": repr(context.identity),
        "names": sorted(name for name in dir(context) if not name.startswith("_")),
    }


def environment(event, context):
    return {"variables": dict(os.environ), "folder": str(Path.cwd()), "first": sys.path[0], "module": __file__}


def exits(event, context):
    sys.exit(event)


def child_outlives(event, context):
    child = subprocess.Popen(["sleep", "60"])
    print("child", child.pid)
    time.sleep(60)


def warm(event, context):
    warm.calls = getattr(warm, "calls", 0) + 1
    if event == "exit":
        os._exit(7)
    if event == "sleep":
        time.sleep(60)
    if event == "raise":
        raise ValueError("once")
    return warm.calls
