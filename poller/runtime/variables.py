"""The variables that a function's processes get (E.2)."""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Mapping
from pathlib import Path
from time import gmtime, strftime, time

from poller.model import FunctionConfiguration
from poller.runtime.debugger import debugger_variables
from poller.runtime.runtimes import understood

_INHERITED = ("PATH", "HOME", "LD_LIBRARY_PATH", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


def log_stream_name(version: str = "$LATEST", function_name: str = "") -> str:
    """Name of one environment's log stream; the function's name stands in it where the log group is not its own."""
    return f"{strftime('%Y/%m/%d', gmtime())}/{function_name}[{version}]{secrets.token_hex(16)}"


def trace_id() -> str:
    """One invocation's X-Ray header for `_X_AMZN_TRACE_ID`: not sampled, since nothing collects traces."""
    # Not the kernel's random numbers: asking for them gives the interpreter's lock up, which costs under load.
    token = f"{random.getrandbits(160):040x}"
    return f"Root=1-{int(time()):08x}-{token[:24]};Parent={token[24:]};Sampled=0"


def environment_variables(
    configuration: FunctionConfiguration,
    *,
    log_stream: str,
    temporary: Path,
    runtime_folder: Path,
    poller: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """The variables of E.2 for one environment's processes.

    Of the poller's own environment only what is needed goes on: PATH, HOME and LD_LIBRARY_PATH, so that the
    interpreter and programs are found, and AWS credentials, which stand for the role's. Its other variables may hold
    brokers' secrets. What the person configured wins over the defaults, but not over what the platform owns.
    The X-Ray daemon's address is left out, since nothing listens there; TMPDIR is the environment's own folder and
    stands for its `/tmp`. AWS_LAMBDA_RUNTIME_API comes on top, when there is an address. `runtime_folder` is what
    stands for `/var/runtime`.
    """
    inherited = {name: poller[name] for name in _INHERITED if name in poller}
    code = str(configuration.code.absolute())
    logging = configuration.logging
    levels = {"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": logging.application_log_level}
    return {
        "TZ": ":UTC",
        "LANG": "en_US.UTF-8",
        "LC_CTYPE": "C.UTF-8",
        "SHLVL": "0",
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        **inherited,
        **configuration.environment,
        "_HANDLER": configuration.handler,
        "AWS_REGION": configuration.region,
        "AWS_DEFAULT_REGION": configuration.region,
        **_execution_env(configuration.runtime),
        "AWS_LAMBDA_FUNCTION_NAME": configuration.function_name,
        "AWS_LAMBDA_FUNCTION_VERSION": configuration.version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(configuration.memory_size),
        "AWS_LAMBDA_LOG_GROUP_NAME": configuration.log_group,
        "AWS_LAMBDA_LOG_STREAM_NAME": log_stream,
        "AWS_LAMBDA_INITIALIZATION_TYPE": configuration.initialization_type,
        "LAMBDA_TASK_ROOT": code,
        "LAMBDA_RUNTIME_DIR": str(runtime_folder),
        "PWD": code,
        "TMPDIR": str(temporary),
        **(levels if logging.log_format == "JSON" else {}),
        **debugger_variables(configuration),
    }


def _execution_env(runtime: str) -> dict[str, str]:
    """Runtimes that are only an operating system have none."""
    return {} if understood(runtime).language == "provided" else {"AWS_EXECUTION_ENV": f"AWS_Lambda_{runtime}"}
