"""A handler to stop in."""

import os


def handler(event, context):
    doubled = event * 2
    return [doubled, os.environ.get("_POLLER_DEBUG_PORT")]
