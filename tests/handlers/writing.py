"""Handlers that write to their log: with Python's logging, with print, and a lot of it."""

import json
import logging
import os

logger = logging.getLogger("orders")


def levels(event, context):
    logger.debug("detail")
    logger.info("order %s", 7, extra={"customer": "c-1"})
    logger.error("bad")
    print("plain")
    print(json.dumps({"level": "debug", "message": "own detail"}))
    print(json.dumps({"level": "ERROR", "message": "own error"}))


def caught(event, context):
    try:
        {}["x"]
    except KeyError:
        logger.exception("no such order")


def fails(event, context):
    raise ValueError("why")


def environment(event, context):
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_LAMBDA_LOG")}


def leaves(event, context):
    os._exit(3)


def much(event, context):
    line = b"x" * 1023 + b"\n"
    for _ in range(event):
        os.write(1, line * 1024)
    return "written"


def echo(event, context):
    print(event)
