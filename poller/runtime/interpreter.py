"""Which Python a function's processes run on, and the variables and command line they get (E.2)."""

from __future__ import annotations

import functools
import os
import random
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import gmtime, strftime, time
from typing import NamedTuple

from poller.model import FunctionConfiguration

BOOTSTRAP = Path(__file__).with_name("bootstrap.py")

_INHERITED = ("PATH", "HOME", "LD_LIBRARY_PATH", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_PROBE_SECONDS = 10


class Interpreter(NamedTuple):
    """A Python that was seen to run."""

    path: str
    version: str
    """Such as `3.13`."""


@functools.cache
def find_interpreter(runtime: str) -> Interpreter:
    """The interpreter for `python3.x`: the running one if it is that version, else the one on PATH, else the running.

    The running one comes first because a program on PATH may be a version manager's stand-in that starts nothing, and
    because a virtual environment's own packages are there. Blocks for one start of an interpreter, once per runtime.
    """
    running = Interpreter(sys.executable, f"{sys.version_info[0]}.{sys.version_info[1]}")
    wanted = re.fullmatch(r"python(\d+\.\d+)", runtime)
    if not wanted or wanted[1] == running.version:
        return running
    path = shutil.which(runtime)
    if path is None:
        return running
    command = [path, "-c", "import sys; print(sys.executable); print('%d.%d' % sys.version_info[:2])"]
    try:
        probe = subprocess.run(  # noqa: S603 - the name is a runtime's, the path is the person's own
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PROBE_SECONDS, check=True
        )
        executable, version = probe.stdout.splitlines()
    except (OSError, subprocess.SubprocessError, ValueError):
        return running
    return Interpreter(executable or path, version)


def command_line(interpreter: Interpreter, environment: Mapping[str, str], arguments: Sequence[str]) -> list[str]:
    """The runtime's command line, handed to the user's wrapper when AWS_LAMBDA_EXEC_WRAPPER names one.

    `arguments` are those of `bootstrap.py`.

    The wrapper goes through the shell as on Lambda, so that a missing one is exit status 127 (A.4).
    """
    command = [interpreter.path, "-u", str(BOOTSTRAP), *arguments]
    wrapper = environment.get("AWS_LAMBDA_EXEC_WRAPPER")
    return ["/bin/sh", "-c", 'exec "$@"', "sh", wrapper, *command] if wrapper else command


def log_stream_name(version: str = "$LATEST") -> str:
    """Name of one environment's log stream."""
    return f"{strftime('%Y/%m/%d', gmtime())}/[{version}]{secrets.token_hex(16)}"


def trace_id() -> str:
    """One invocation's X-Ray header for `_X_AMZN_TRACE_ID`: not sampled, since nothing collects traces."""
    # Not the kernel's random numbers: asking for them gives the interpreter's lock up, which costs under load.
    token = f"{random.getrandbits(160):040x}"
    return f"Root=1-{int(time()):08x}-{token[:24]};Parent={token[24:]};Sampled=0"


def environment_variables(
    configuration: FunctionConfiguration, *, log_stream: str, temporary: Path, poller: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The variables of E.2 for one environment's processes.

    Of the poller's own environment only what is needed goes on: PATH, HOME and LD_LIBRARY_PATH, so that the
    interpreter and programs are found, and AWS credentials, which stand for the role's. Its other variables may hold
    brokers' secrets. What the person configured wins over the defaults, but not over what the platform owns.
    `AWS_LAMBDA_RUNTIME_API` and the X-Ray daemon's address are left out, since nothing listens there; TMPDIR is the
    environment's own folder and stands for its `/tmp`.
    """
    inherited = {name: poller[name] for name in _INHERITED if name in poller}
    code = str(configuration.code.absolute())
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
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{configuration.runtime}",
        "AWS_LAMBDA_FUNCTION_NAME": configuration.function_name,
        "AWS_LAMBDA_FUNCTION_VERSION": configuration.version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(configuration.memory_size),
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{configuration.function_name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": log_stream,
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "LAMBDA_TASK_ROOT": code,
        "LAMBDA_RUNTIME_DIR": str(BOOTSTRAP.parent),
        "PWD": code,
        "TMPDIR": str(temporary),
    }
