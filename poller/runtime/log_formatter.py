"""Python's log records as Lambda's runtime writes them in JSON format (E.5).

The handler's interpreter loads this file by its path where the format asks for it, so it imports the standard library
only.
"""

from __future__ import annotations

import json
import logging
import time
import traceback
from typing import Any

_OWN = frozenset(
    {*vars(logging.LogRecord("", 0, "", 0, "", None, None)), "aws_request_id", "taskName", "message", "asctime"}
)
"""Attributes of a record that are no `extra` of the person's."""

_encode = json.JSONEncoder(ensure_ascii=False).encode


class JsonFormatter(logging.Formatter):
    """One JSON object a record on a line, with what `extra` added to it behind Lambda's own members."""

    def format(self, record: logging.LogRecord) -> str:
        """See E.5 for the members; those that are None are left out."""
        line: dict[str, Any] = {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": logging.getLevelName(min(50, max(0, record.levelno)) // 10 * 10),
            "message": record.getMessage(),
            "logger": record.name,
        }
        if record.exc_info and record.exc_info[0] is not None:
            kind, error, trace = record.exc_info
            line["stackTrace"] = traceback.format_tb(trace)
            line["errorType"] = kind.__name__
            line["errorMessage"] = str(error)
        line["requestId"] = getattr(record, "aws_request_id", None)
        if record.exc_info:
            line["location"] = f"{record.pathname}:{record.funcName}:{record.lineno}"
        for name, value in vars(record).items():
            if name not in _OWN:
                line.setdefault(name, value)
        return _encode({name: value for name, value in line.items() if value is not None}) + "\n"
