"""A handler that says when it has begun, and ends when it is told."""

import time
from pathlib import Path


def meet(event, context):
    Path(event["begun"]).touch()
    while not Path(event["end"]).exists():
        time.sleep(0.005)
    Path(event["end"] + "ed").touch()
    return "met"
