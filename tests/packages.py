"""Deployment packages for tests: zips of Python modules, and the request that creates a function of one."""

from __future__ import annotations

import io
import stat
import zipfile
from base64 import b64encode
from typing import Any

from api_service import ACCOUNT, RUNTIME

ROLE = f"arn:aws:iam::{ACCOUNT}:role/r"
DESCRIBE = """
import os
def handler(event, context):
    return {
        "code": %r,
        "version": context.function_version,
        "variable": os.environ["AWS_LAMBDA_FUNCTION_VERSION"],
        "arn": context.invoked_function_arn,
        "stream": context.log_stream_name,
        "mode": os.environ.get("MODE"),
    }
"""


def zip_of(*entries: tuple[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of these files, by name and content."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return made.getvalue()


def linked(name: str, target: str, *entries: tuple[str, str | bytes]) -> bytes:
    """A zip with a symbolic link, and these files behind it."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        link = zipfile.ZipInfo(name)
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, target)
        for entry, content in entries:
            archive.writestr(entry, content)
    return made.getvalue()


def describing(code: str) -> bytes:
    """A package whose app.handler says what it is."""
    return zip_of(("app.py", DESCRIBE % code))


def request(name: str = "f", content: bytes | None = None, **changes: Any) -> dict[str, Any]:
    """CreateFunction, as JSON has it; a value of `...` takes a member away."""
    whole = {
        "FunctionName": name,
        "Role": ROLE,
        "Runtime": RUNTIME,
        "Handler": "app.handler",
        "Code": {"ZipFile": b64encode(describing("first") if content is None else content).decode()},
        **changes,
    }
    return {key: value for key, value in whole.items() if value is not ...}
