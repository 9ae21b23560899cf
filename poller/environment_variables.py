"""A function's environment variables: names, what belongs to the platform, and how much there may be (E.2). Pure."""

from __future__ import annotations

import json
import re
from typing import Annotated

from pydantic import AfterValidator, Field

from poller.validation import Model, Text, describe

MAXIMUM_ENVIRONMENT = 4096
"""Bytes of a function's environment variables, as JSON (E.2)."""

RESERVED_VARIABLES = frozenset(
    {
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_DEFAULT_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_LAMBDA_RUNTIME_API",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SECRET_KEY",
        "AWS_SECURITY_TOKEN",
        "AWS_SESSION_TOKEN",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
    }
)
"""Variables that belong to the platform (E.2)."""


def checked_variables(variables: dict[str, str], *, quoted: bool = False) -> dict[str, str]:
    """The variables as they are.

    Args:
        variables: by their names.
        quoted: whether the text that there is too much quotes them, as AWS's answer does. They may be secrets, so a
            template's problem, which goes to a log, does not.

    Raises:
        ValueError: AWS's text: names of the platform, or more than 4 KB. Ours: names that are none, and what no
            variable can hold.
    """
    reserved = sorted(RESERVED_VARIABLES & variables.keys())
    if reserved:
        raise ValueError(
            "Lambda was unable to configure your environment variables because the environment variables you have "
            "provided contains reserved keys that are currently not supported for modification. "
            f"Reserved keys used in this request: {', '.join(reserved)}"
        )
    for name in variables:
        if not re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_]+", name):
            raise ValueError(
                f"{describe(name)} is not a name: a letter, then one or more letters, digits or underscores"
            )
    for name, value in variables.items():
        if "\0" in value or not _is_text(value):
            raise ValueError(f"{name} has a character that no variable can hold: a NUL, or half of a surrogate pair")
    measured = json.dumps(variables, separators=(",", ":"), ensure_ascii=False)
    if len(measured.encode()) > MAXIMUM_ENVIRONMENT:
        size = f"String measured: {measured}" if quoted else f"Measured: {len(measured.encode())} bytes"
        raise ValueError(
            "Lambda was unable to configure your environment variables because the environment variables you have "
            f"provided exceeded the 4KB limit. {size}"
        )
    return variables


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


class FunctionEnvironment(Model):
    """A function's environment variables."""

    Variables: Annotated[dict[str, Text], AfterValidator(checked_variables)] = Field(default_factory=dict)
