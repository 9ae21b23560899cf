"""`poller check-idempotency FUNCTION --event FILE`: the same event again, in one environment and in a new one.

What can be seen is what stays on this machine: the result, the handler's output, files below TMPDIR and the working
folder. What goes to brokers, databases and other services cannot; the report says so.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from poller.cli_options import ExitCode
from poller.function_pools import memory_watched
from poller.idempotency.comparing import Difference, Run, differences, handler_lines, without_names
from poller.invoker import why_no_json
from poller.model import FunctionConfiguration, Invocation, InvocationResult
from poller.request_ids import new_request_id
from poller.runtime.environment import ExecutionEnvironment
from poller.runtime_support import substitution
from poller.template import Template

UNSEEN = "not seen: what the function sends to brokers, databases, destinations and other services"

_PASSED_OVER = frozenset({"__pycache__", ".git", ".venv", "node_modules"})


def run(
    given: argparse.Namespace,
    configuration: FunctionConfiguration,
    event: bytes,
    template: Template,
    print_json: Callable[[Any], None],
) -> int:
    """Invoke, compare and report; returns the exit code: 3 where something differs or the function fails."""
    reason = why_no_json(event)
    if reason is not None:
        _say(f"poller: {reason}")
        return ExitCode.BAD_CONFIGURATION
    if (warning := substitution(configuration.runtime)) is not None:
        _say(f"poller: warning: {configuration.function_name}: {warning}")
    check = _Check(configuration, event, template.state_folder)
    with ExitStack() as stack:  # each is stopped also where Ctrl-C comes while another is
        warm, fresh = check.environment(), check.environment()
        stack.callback(fresh.stop)
        stack.callback(warm.stop)
        stack.enter_context(memory_watched(template.settings, [warm, fresh]))
        first = check.invoke(warm)
        failed = check.failure
        second = check.invoke(warm) if not failed else None
        third = check.invoke(fresh) if not failed else None
    if failed is not None or second is None or third is None:
        _say(f"poller: the function failed, so nothing can be said: {first.payload}")
        return ExitCode.FAILED if failed is not None and failed.status >= 500 else ExitCode.FUNCTION_ERROR  # noqa: PLR2004
    # The working folder is the same for both environments: the third invocation found what the second left there.
    found = {"warm": differences(first, second), "fresh": differences(replace(first, code=second.code), third)}
    if given.json:
        print_json(_report(configuration, found))
    else:
        _print(configuration, found)
    return ExitCode.FUNCTION_ERROR if any(found.values()) else ExitCode.OK


class _Check:
    """Invocations of one event."""

    def __init__(self, configuration: FunctionConfiguration, event: bytes, state_folder: Path) -> None:
        self.failure: InvocationResult | None = None
        """The first answer, if it was an error."""
        self._configuration = configuration
        self._event = event
        self._state_folder = state_folder.resolve()
        self._lines: list[str] = []
        self._names: dict[str, str] = {}

    def environment(self) -> ExecutionEnvironment:
        """A new one; its log is this check's."""
        return ExecutionEnvironment(self._configuration, lambda line, _: self._lines.append(line))

    def invoke(self, environment: ExecutionEnvironment) -> Run:
        """Invoke once, as another event with the same content would: with a request id of its own."""
        self._lines.clear()
        request_id = new_request_id()
        result = environment.invoke(Invocation(request_id, self._event, self._configuration.function_arn))
        if result.status != 200 or result.function_error:  # noqa: PLR2004
            self.failure = self.failure or result
        temporary = environment.temporary_folder
        self._names[request_id] = "<request id>"
        self._names[environment.log_stream] = "<log stream>"
        if temporary is not None:
            self._names[str(temporary)] = "<TMPDIR>"
        return Run(
            payload=self._plain(result.payload.decode(errors="replace")),
            function_error=result.function_error,
            lines=[self._plain(line) for line in handler_lines(self._lines)],
            temporary={} if temporary is None else self._files(temporary),
            code=self._files(self._configuration.code),
        )

    def _plain(self, text: str) -> str:
        return without_names(text, self._names)

    def _files(self, folder: Path) -> Mapping[str, str]:
        found = {}
        for place, folders, files in os.walk(folder):
            below = Path(place)
            folders[:] = [
                name for name in folders if name not in _PASSED_OVER and (below / name).resolve() != self._state_folder
            ]
            for name in files:
                try:
                    content = (below / name).read_bytes() if (below / name).is_file() else b""
                except OSError:
                    continue
                plain = self._plain(content.decode("latin-1")).encode("latin-1", "replace")
                found[self._plain(str((below / name).relative_to(folder)))] = hashlib.sha256(plain).hexdigest()
        return found


def _report(configuration: FunctionConfiguration, found: Mapping[str, list[Difference]]) -> dict[str, Any]:
    return {
        "FunctionName": configuration.function_name,
        "Idempotent": not any(found.values()),
        "Differences": [
            {"Environment": environment, "What": each.what, "First": each.first, "Second": each.second}
            for environment, differing in found.items()
            for each in differing
        ],
        "Note": UNSEEN,
    }


_WHERE = {"warm": "again in the same environment", "fresh": "again in a new environment"}


def _print(configuration: FunctionConfiguration, found: Mapping[str, list[Difference]]) -> None:
    name = configuration.function_name
    for environment, differing in found.items():
        print(f"{name}, {_WHERE[environment]}: {'no difference' if not differing else ''}".rstrip(" :"))  # noqa: T201
        for each in differing:
            print(f"  {each.what}\n    first:  {each.first}\n    second: {each.second}")  # noqa: T201
    print(UNSEEN)  # noqa: T201


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201
