"""`poller invoke`: by the service that runs the template, or once in a process of its own when there is none.

The payload goes to stdout, everything else to stderr.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poller import running_service
from poller.cli_options import ExitCode
from poller.errors import ConfigError, Problem
from poller.running_service import ACCEPTED, NO_CONTENT, Asked
from poller.validation import closest

if TYPE_CHECKING:
    from poller.model import InvocationResult
    from poller.resources import Function
    from poller.template import Template

OK, BAD_REQUEST, FORBIDDEN, NOT_FOUND, TOO_LARGE = 200, 400, 403, 404, 413

PrintJson = Callable[[Any], None]


def run(given: argparse.Namespace, load: Callable[[], Template], print_json: PrintJson) -> int:
    """Run the command; returns the exit code.

    Raises:
        ConfigError: the event cannot be read, or there is no such function here.
        PollerError: the service that was named does not answer.
    """
    asked = Asked(
        given.function,
        read_event(given.event),
        given.type,
        given.qualifier,
        _client_context(given.client_context),
        log=given.log,
    )
    if asked.kind == "Event" and asked.client_context is not None:
        reason = "reaches handlers of synchronous invocations only, as on AWS"
        raise ConfigError([Problem("--client-context", reason, "leave out one of the two: this, or --type Event")])
    if given.endpoint is not None:
        is_missing = given.template is not None and not given.template.exists()
        settings = None if is_missing else load().settings
        return _by_service(
            given.endpoint, asked, running_service.invoke(given.endpoint, asked, settings), given, print_json
        )
    template = load()
    url = None if given.local else running_service.found_for(template.path, template.settings)
    if url is not None:
        return _by_service(url, asked, running_service.invoke(url, asked, template.settings), given, print_json)
    return _here(template, asked, given, print_json)


def show(result: InvocationResult, *, as_json: PrintJson | None, endpoint: str | None = None) -> int:
    """Print an answer; returns the exit code."""
    text = result.payload.decode(errors="replace")
    if as_json is not None:
        answer = {
            "StatusCode": result.status,
            "FunctionError": result.function_error,
            "ExecutedVersion": result.executed_version,
            "RequestId": result.request_id,
            "Payload": _payload(text),
            "LogResult": result.log_tail.decode(errors="replace"),
            "DurationInSeconds": round(result.duration, 6),
            "Endpoint": endpoint,
        }
        as_json(answer)
    elif result.status not in {ACCEPTED, NO_CONTENT}:
        _print_bytes(result.payload)
    if result.function_error:
        _say(f"poller: the function failed ({result.function_error})")
        return ExitCode.FUNCTION_ERROR
    if result.status in {BAD_REQUEST, FORBIDDEN, NOT_FOUND, TOO_LARGE}:  # the event is not JSON, say
        return ExitCode.BAD_CONFIGURATION
    return ExitCode.OK if result.status in {OK, ACCEPTED, NO_CONTENT} else ExitCode.FAILED


def _by_service(
    url: str, asked: Asked, result: InvocationResult, given: argparse.Namespace, print_json: PrintJson
) -> int:
    if asked.log:
        _say(result.log_tail.decode(errors="replace").rstrip("\n"))
    if result.status == ACCEPTED and not given.json:
        _say(f"poller: accepted by {url}, request {result.request_id}")
    if result.status >= BAD_REQUEST:
        hint = f" ({_SIGN})" if result.status == FORBIDDEN else ""
        _say(f"poller: {url} refused: {running_service.refusal(result)}{hint}")
    return show(result, as_json=print_json if given.json else None, endpoint=url)


def _here(template: Template, asked: Asked, given: argparse.Namespace, print_json: PrintJson) -> int:
    """Without a service: a handler's process for this one invocation."""
    if not template.functions and not template.path.exists():
        raise ConfigError([Problem(str(template.path), "no such file", f"give --template PATH, or {_HINT}")])
    function = function_named(asked.function, template)
    if asked.qualifier not in {None, "$LATEST"}:
        reason = "there are no versions and aliases but those of a service that runs"
        raise ConfigError([Problem(f"--qualifier {asked.qualifier}", reason, _HINT)])
    if asked.kind == "Event":
        reason = "needs a service that runs: an event is accepted once it is on that one's disk"
        raise ConfigError([Problem("--type Event", reason, _HINT)])
    if asked.kind == "DryRun":
        return ExitCode.OK
    from poller.function_pools import memory_watched  # noqa: PLC0415 - not for help, nor where a service invokes
    from poller.invoker import invoke  # noqa: PLC0415
    from poller.runtime.pool import FunctionPool  # noqa: PLC0415
    from poller.runtime_support import substitution  # noqa: PLC0415

    if (warning := substitution(function.Runtime)) is not None:
        _say(f"poller: warning: {function.FunctionName}: {warning}")

    def show_line(line: str, _request_id: str) -> None:
        if asked.log:
            _say(line)

    pool = FunctionPool(function.configuration(), log=show_line)
    pool.start()
    try:
        with memory_watched(template.settings, [pool]):
            result = invoke(pool, asked.payload, client_context=asked.client_context)
    finally:
        pool.stop()
    return show(result, as_json=print_json if given.json else None)


_SIGN = "where it looks at signatures, give its settings, with RequireSignature and SignatureKeys: --settings FILE"
_HINT = "start `poller run` with the same template and settings, or name the service with --endpoint"


def function_named(name: str, template: Template) -> Function:
    """The template's function of that name or ARN.

    Raises:
        ConfigError: there is none.
    """
    names = [function.FunctionName for function in template.functions]
    for function in template.functions:
        if name in {function.FunctionName, function.configuration().function_arn}:
            return function
    hint = closest(name, names) or f"functions of {template.path}: {', '.join(names)}"
    raise ConfigError([Problem(name, "no such function", hint)])


def read_event(name: str | None) -> bytes:
    """The event of `--event`: a file's, or with `-` that of stdin; an empty object where none is named.

    Raises:
        ConfigError: it cannot be read.
    """
    if name is None:
        return b"{}"
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise ConfigError([Problem(f"--event {name}", f"cannot be read: {reason}")]) from None


def _client_context(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        if isinstance(json.loads(text), dict) and text.encode():
            return text
    except (ValueError, RecursionError):  # a UnicodeEncodeError is a ValueError
        pass
    raise ConfigError([Problem("--client-context", "is not a JSON object", 'give it as in \'{"custom": {"a": 1}}\'')])


def _payload(text: str) -> Any:
    """The reply as JSON; as its text where JSON of this kind can be written but not be read again here."""
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):  # numbers too long, nested too deep
        return text


def _print_bytes(payload: bytes) -> None:
    """On stdout as it is: a handler may answer with bytes that are no text, and stdout may be no UTF-8."""
    sys.stdout.flush()
    sys.stdout.buffer.write(payload + b"\n")
    sys.stdout.buffer.flush()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201
