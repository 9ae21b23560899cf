"""The command line. Results go to stdout, everything else to stderr.

Libraries are imported inside the commands that need them: `--help` and `validate` load no broker client.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from poller.cli_options import TEMPLATE, ExitCode, parser
from poller.cli_settings import SETTINGS
from poller.errors import ConfigError, PollerError, Problem

if TYPE_CHECKING:
    from poller.template import Template


_MISSING_TEMPLATE = "name the template, as in: poller {command} path/to/template.yaml"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Called by the shell's `poller`; argparse ends it on wrong usage."""
    given = parser().parse_args(arguments)
    try:
        code = _COMMANDS[given.command](given)
        sys.stdout.flush()
    except ConfigError as error:
        _print_problems(error.problems, given)
        return ExitCode.BAD_CONFIGURATION
    except PollerError as error:
        _say(f"poller: {error}")
        return ExitCode.FAILED
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our stdout is gone. What is left in its buffer goes nowhere, or Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    return code


# --- commands ------------------------------------------------------------------------------------------------------


def _run(given: argparse.Namespace) -> int:
    template = _load(given, or_empty=True)
    from poller import log, service  # noqa: PLC0415
    from poller.api.server import PortInUse  # noqa: PLC0415
    from poller.debugging import debug_problem  # noqa: PLC0415

    problem = debug_problem(template.settings, {item.FunctionName: item.configuration() for item in template.functions})
    if problem is not None:
        raise ConfigError([problem])
    log.configure(template.settings.LogFormat, template.settings.LogLevel)
    try:
        return service.run(template)
    except PortInUse as error:
        _say(f"poller: {error}")
        return ExitCode.PORT_IN_USE


def _validate(given: argparse.Namespace) -> int:
    template = _load(given)
    mappings = [
        {
            "Name": mapping.name,
            "FunctionName": mapping.FunctionName,
            "Source": mapping.kind,
            "From": (*mapping.Topics, *mapping.Queues)[0],
            "OnFailure": str(mapping.on_failure) if mapping.on_failure else None,
        }
        for mapping in template.mappings
    ]
    functions = [
        {"FunctionName": item.FunctionName, "Handler": item.Handler, "Code": str(item.Code)}
        for item in template.functions
    ]
    triggers = [
        *(
            {"Name": one.name, "FunctionName": one.function_name, "From": f"S3 {one.bucket}"}
            for one in template.triggers.s3
        ),
        *(
            {"Name": one.name, "FunctionName": one.function_name, "From": one.arn}
            for one in template.triggers.schedules
        ),
    ]
    urls = [
        {"FunctionName": url.function_name, "UrlId": url.url_id, "AuthType": url.config.AuthType}
        for url in template.function_urls
    ]
    routes = [
        {"Api": api.api_id, "Kind": api.kind, "Route": route.key, "FunctionName": route.function_name}
        for api in template.apis
        for route in api.routes
    ]
    if given.json:
        found = {"functions": functions, "mappings": mappings, "triggers": triggers, "urls": urls, "routes": routes}
        _print_json({"valid": True, "problems": [], "warnings": _listed(template.warnings), **found})
        return ExitCode.OK
    for warning in template.warnings:
        _say(f"poller: warning: {warning}")
    print(f"{given.template} is valid")  # noqa: T201
    for function in functions:
        print(f"  function {function['FunctionName']}: {function['Handler']} in {function['Code']}")  # noqa: T201
    for item in mappings:
        failed = f", on failure to {item['OnFailure']}" if item["OnFailure"] else ""
        print(f"  mapping {item['Name']}: {item['Source']} {item['From']} to {item['FunctionName']}{failed}")  # noqa: T201
    for one in triggers:
        print(f"  trigger {one['Name']}: {one['From']} to {one['FunctionName']}")  # noqa: T201
    for url in urls:
        print(f"  function URL of {url['FunctionName']}: AuthType {url['AuthType']}, id {url['UrlId']}")  # noqa: T201
    for route in routes:
        print(f"  route {route['Route']} of {route['Kind']} API {route['Api']} to {route['FunctionName']}")  # noqa: T201
    return ExitCode.OK


def _invoke(given: argparse.Namespace) -> int:
    from poller import invoke_command  # noqa: PLC0415
    from poller.stop_signals import terminated_as_by_ctrl_c  # noqa: PLC0415

    with terminated_as_by_ctrl_c():
        return invoke_command.run(given, lambda: _load(given, or_empty=True), _print_json)


def _generate_event(given: argparse.Namespace) -> int:
    from poller import events  # noqa: PLC0415

    if given.source == "kafka":
        event = events.kafka_event(
            topic=given.topic,
            values=given.value,
            key=given.key,
            bootstrap_servers=given.bootstrap_servers,
            stream_arn=given.stream_arn,
        )
    elif given.source == "s3":
        event = events.s3_event(bucket=given.bucket, key=given.key, name=given.name)
    elif given.source == "schedule":
        event = events.scheduled_event(rule=given.rule)
    else:
        event = events.rabbitmq_event(
            queue=given.queue,
            values=given.value,
            virtual_host=given.virtual_host,
            broker_arn=given.broker_arn or events.BROKER_ARN,
        )
    print(event.decode())  # noqa: T201
    return ExitCode.OK


def _dead_letters(given: argparse.Namespace) -> int:
    from poller.dead_letters import command  # noqa: PLC0415

    return command.run(given, lambda: _load(given), _print_json)


def _events(given: argparse.Namespace) -> int:
    from poller.async_invoke import command  # noqa: PLC0415

    return command.run(given, lambda: _load(given, or_empty=True), _print_json)


def _logs(given: argparse.Namespace) -> int:
    from poller.logs import command  # noqa: PLC0415

    return command.run(given, lambda: _load(given, or_empty=True))


def _check_idempotency(given: argparse.Namespace) -> int:
    from poller.idempotency import command  # noqa: PLC0415
    from poller.invoke_command import function_named, read_event  # noqa: PLC0415
    from poller.stop_signals import terminated_as_by_ctrl_c  # noqa: PLC0415

    event = read_event(given.event)
    template = _load(given)
    function = function_named(given.function, template)
    with terminated_as_by_ctrl_c():
        return command.run(given, function.configuration(), event, template, _print_json)


_COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "validate": _validate,
    "invoke": _invoke,
    "generate-event": _generate_event,
    "dead-letters": _dead_letters,
    "events": _events,
    "logs": _logs,
    "check-idempotency": _check_idempotency,
}


# --- what commands share -------------------------------------------------------------------------------------------


def _load(given: argparse.Namespace, *, or_empty: bool = False) -> Template:
    """The template; where none was named and there is none, an empty account, if that will do."""
    from poller.template import empty, load  # noqa: PLC0415

    options = {name: value for name in SETTINGS if (value := getattr(given, name, None)) is not None}
    if or_empty and given.template is TEMPLATE and not given.parameter and not TEMPLATE.exists():
        return empty(TEMPLATE, settings_file=given.settings, options=options)
    try:
        missing = not given.template.exists()
    except OSError:  # longer than a path can be, or in a folder that nobody may look into: reading it tells which
        missing = False
    if missing:
        is_option = given.command in {"invoke", "dead-letters", "events", "logs", "check-idempotency"}
        hint = "give --template PATH" if is_option else _MISSING_TEMPLATE.format(command=given.command)
        raise ConfigError([Problem(str(given.template), "no such file", hint)])
    return load(given.template, dict(given.parameter), settings_file=given.settings, options=options)


def _print_problems(problems: Sequence[Problem], given: argparse.Namespace) -> None:
    if getattr(given, "json", False):
        _print_json({"valid": False, "problems": _listed(problems)})
        return
    for problem in problems:
        _say(f"poller: {problem}")
    if len(problems) > 1:
        _say(f"poller: {len(problems)} problems")


def _listed(problems: Sequence[Problem]) -> list[dict[str, str]]:
    return [{"path": item.path, "reason": item.reason, "suggestion": item.suggestion} for item in problems]


def _print_json(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=2)
    # A lone surrogate (a name that is not UTF-8, or an escape in the template) stays the escape that JSON has for it.
    print(text.encode(errors="backslashreplace").decode())  # noqa: T201


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
