"""The command line's commands and options, their help, and the exit codes."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Any

from poller.cli_settings import FLAGS, SETTINGS


class ExitCode(IntEnum):
    """What the shell sees."""

    OK = 0
    FAILED = 1
    BAD_CONFIGURATION = 2
    FUNCTION_ERROR = 3
    PORT_IN_USE = 4
    INTERRUPTED = 130


EXIT_CODES = """\
exit codes:
  0    all went well
  1    something else failed; stderr says what
  2    the command, the template or the settings are wrong; nothing was started
  3    the function failed (invoke), or what it does differs (check-idempotency)
  4    the port is in use (run)
  130  stopped by a second signal, by Ctrl-C, or by SIGTERM (invoke, check-idempotency)
"""

TEMPLATE = Path("template.yaml")
"""What is read where no template is named. This very object, so that it is known whether one was."""


def _above_zero(kind: type[int | float]) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = kind(0)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
        return value

    return read


def _parameter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def parser() -> argparse.ArgumentParser:
    """The whole command line. Imports nothing of the program, so that `--help` is quick."""
    parser = argparse.ArgumentParser(
        prog="poller",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="AWS Lambda's invocation models on Kafka and RabbitMQ brokers of your own.\n"
        "Functions and event sources stand in a SAM template, as they would for AWS.",
        epilog="examples:\n"
        "  poller run                                     the functions and event sources of ./template.yaml\n"
        "  poller validate app/template.yaml              every problem of a template, each with its path\n"
        "  poller generate-event kafka | poller invoke Telemetry --event -\n"
        "  poller run --parameter KafkaBootstrapServers=kafka-1:9092\n"
        "  poller dead-letters list Telemetry.Readings    what the mapping gave up; also show, redrive, purge\n\n"
        "settings that are no options stand under Metadata: Poller: in the template or in --settings FILE;\n"
        "an option wins over its variable (POLLER_PORT), that over the file, and that over the template\n\n"
        + EXIT_CODES,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_run(commands)
    _add_validate(commands)
    _add_invoke(commands)
    _add_generate_event(commands)
    _add_dead_letters(commands)
    _add_events(commands)
    _add_logs(commands)
    _add_check_idempotency(commands)
    return parser


def _add_command(commands: Any, name: str, help_text: str, description: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help_text,
        description=description,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def _add_template_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--parameter",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        type=_parameter,
        help="value of a template's parameter; may be repeated; wins over POLLER_PARAMETER_<NAME>",
    )
    parser.add_argument(
        "--settings", metavar="FILE", type=Path, help="YAML file with settings; wins over the template's"
    )


def _add_template_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "template",
        metavar="TEMPLATE",
        nargs="?",
        type=Path,
        default=TEMPLATE,
        help="SAM template (template.yaml)",
    )


def _add_template_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--template", metavar="TEMPLATE", type=Path, default=TEMPLATE, help="SAM template (template.yaml)"
    )
    _add_template_options(parser)


def _add_run(commands: Any) -> None:
    parser = _add_command(
        commands,
        "run",
        "read the event sources and invoke the functions until a signal",
        "Read the template's event sources and invoke its functions until SIGTERM or Ctrl-C: then what is in work\n"
        "ends and is acknowledged. A second signal stops at once; what was not acknowledged comes again.\n"
        "Without TEMPLATE, and without a template.yaml here, it is an empty account: calls of the API make functions.",
    )
    _add_template_argument(parser)
    _add_template_options(parser)
    for name, help_text in SETTINGS.items():
        words = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name)
        if name in FLAGS:
            parser.add_argument(f"-{words}", dest=name, action="store_const", const=True, help=help_text)
        else:
            parser.add_argument(f"-{words}", dest=name, metavar=words[1:].upper(), help=help_text)


def _add_validate(commands: Any) -> None:
    parser = _add_command(
        commands,
        "validate",
        "say what is wrong with a template, or what it holds",
        "Read a template and its settings as `run` does, and say everything that is wrong. Connects to nothing.",
    )
    _add_template_argument(parser)
    _add_template_options(parser)
    parser.add_argument("--json", action="store_true", help="the answer as JSON on stdout, problems included")


def _add_invoke(commands: Any) -> None:
    parser = _add_command(
        commands,
        "invoke",
        "invoke one function",
        "Invoke one function and print what it returns, or Lambda's error object. The exit code is 3 when it failed.\n"
        "The service that runs this template does it, if one answers at the settings' Bind and Port; without one the\n"
        "function runs once in a process of its own, and needs no broker.",
    )
    parser.add_argument("function", metavar="FUNCTION", help="name or ARN")
    parser.add_argument("--event", metavar="FILE", help="JSON file with the event, - for stdin; without it, {}")
    _add_template_option(parser)
    parser.add_argument(
        "--type",
        choices=["RequestResponse", "Event", "DryRun"],
        default="RequestResponse",
        help="wait for the answer; hand over an event; or look only whether it could be invoked (RequestResponse)",
    )
    parser.add_argument("--qualifier", metavar="NAME", help="version or alias of the function")
    parser.add_argument("--client-context", metavar="JSON", help="JSON object for the handler's context.client_context")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--local", action="store_true", help="run it in a process of its own, whatever service there is")
    where.add_argument("--endpoint", metavar="URL", help="let the service there do it, such as http://127.0.0.1:9001")
    parser.add_argument(
        "--log", action="store_true", help="show the function's log on stderr; of a service its last 4 KB"
    )
    parser.add_argument("--json", action="store_true", help="status, error, payload and log tail as one JSON object")


def _add_generate_event(commands: Any) -> None:
    parser = _add_command(
        commands,
        "generate-event",
        "print a sample event, as a source would send it",
        "Print an event as the engine builds it from what brokers, S3 servers and clocks say, on one line.",
    )
    sources = parser.add_subparsers(dest="source", metavar="SOURCE", required=True)
    kafka = _add_command(sources, "kafka", "records of a topic", "Print an event of Kafka records.")
    kafka.add_argument("--topic", default="telemetry", help="(telemetry)")
    kafka.add_argument("--value", action="append", default=[], help="one record; may be repeated; else three readings")
    kafka.add_argument("--key", help="of every record")
    kafka.add_argument("--bootstrap-servers", metavar="SERVERS", default="127.0.0.1:19092", help="(127.0.0.1:19092)")
    kafka.add_argument("--stream-arn", metavar="ARN", help="makes it an event of MSK")
    rabbitmq = _add_command(sources, "rabbitmq", "messages of a queue", "Print an event of RabbitMQ messages.")
    rabbitmq.add_argument("--queue", default="tasks", help="(tasks)")
    rabbitmq.add_argument("--value", action="append", default=[], help="one message; may be repeated; else two tasks")
    rabbitmq.add_argument("--virtual-host", metavar="NAME", default="/", help="(/)")
    rabbitmq.add_argument("--broker-arn", metavar="ARN", help="eventSourceArn of the event")
    s3 = _add_command(sources, "s3", "a notification of a bucket", "Print the event of a notification of S3.")
    s3.add_argument("--bucket", metavar="NAME", default="photos", help="(photos)")
    s3.add_argument("--key", default="in/summer 7.jpg", help="of the object, as it is (in/summer 7.jpg)")
    s3.add_argument("--name", default="ObjectCreated:Put", help="what happened to it (ObjectCreated:Put)")
    schedule = _add_command(sources, "schedule", "a schedule's time has come", "Print EventBridge's scheduled event.")
    schedule.add_argument("--rule", metavar="NAME", default="nightly", help="(nightly)")


def _add_dead_letters(commands: Any) -> None:
    parser = _add_command(
        commands,
        "dead-letters",
        "list, show, redrive or purge dead letters",
        "Work with the dead letters of a Kafka topic or a RabbitMQ queue; those of a file can be listed and shown.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    found = _add_command(actions, "list", "a table of the letters", "List letters: origin, error, attempts, age, key.")
    _add_target(found)
    _add_letter_filter(found)
    found.add_argument("--limit", metavar="N", type=_above_zero(int), default=100, help="letters to show at most (100)")
    found.add_argument("--all", action="store_true", help="of a topic, also letters that are redriven already")
    found.add_argument("--json", action="store_true", help="the letters as a JSON array")
    show = _add_command(actions, "show", "one letter with its records", "Show one letter and the records in it.")
    _add_target(show)
    show.add_argument("letter", metavar="LETTER", help="as `list` names it: partition:offset, or a number")
    show.add_argument("--json", action="store_true", help="the letter as a JSON object")
    redrive = _add_command(
        actions,
        "redrive",
        "send letters back to where their records came from",
        "Send the records of letters to the topic or queue that they came from, with their own key, value and\n"
        "headers, and mark the letters: they are not redriven twice. The exit code is 1 unless all were sent,\n"
        "confirmed by the broker and marked.",
    )
    _add_target(redrive)
    _add_letter_filter(redrive)
    redrive.add_argument("--limit", metavar="N", type=_above_zero(int), help="letters to redrive at most")
    redrive.add_argument("--rate", metavar="N", type=_above_zero(float), help="letters a second at most")
    redrive.add_argument("--dry-run", action="store_true", help="only tell what would be redriven, and what not")
    redrive.add_argument("--same-partition", action="store_true", help="to the partition they had, whatever their key")
    redrive.add_argument(
        "--origin", metavar="URL", help="the broker they came from, kafka://host:9092 or amqp://user:password@host:5672"
    )
    redrive.add_argument(
        "--without-transactions", action="store_true", help="for a Kafka that has none; a crash may repeat one letter"
    )
    redrive.add_argument("--json", action="store_true", help="the sums as a JSON object")
    purge = _add_command(
        actions, "purge", "delete all letters", "Delete all letters that lie there now. There is no way back."
    )
    _add_target(purge)
    purge.add_argument("--yes", action="store_true", help="do not ask")
    purge.add_argument("--json", action="store_true", help="the number as a JSON object")


def _add_events(commands: Any) -> None:
    parser = _add_command(
        commands,
        "events",
        "list, show or purge asynchronous events that wait",
        "Look at asynchronous events that wait for an attempt, and at records that wait for their destination, or\n"
        "delete them; beside a running service or without one.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    found = _add_command(actions, "list", "a table of what waits", "List what waits: events first, then records.")
    show = _add_command(actions, "show", "one event or its records", "Show an event, or the records that it left.")
    show.add_argument("request_id", metavar="REQUEST_ID", help="as `list` names it")
    purge = _add_command(
        actions,
        "purge",
        "delete what waits",
        "Delete events that wait, and records. There is no way back; they are neither tried nor told of again.",
    )
    purge.add_argument("--request-id", metavar="ID", help="only that one")
    purge.add_argument("--yes", action="store_true", help="do not ask")
    for action in (found, purge):
        action.add_argument("--function", metavar="NAME", help="only those of that function")
    found.add_argument("--limit", metavar="N", type=_above_zero(int), default=100, help="lines at most (100)")
    for action in (found, show, purge):
        action.add_argument("--json", action="store_true", help="the answer as JSON")
        action.add_argument("--state-folder", dest="StateFolder", metavar="FOLDER", help=SETTINGS["StateFolder"])
        _add_template_option(action)


def _add_logs(commands: Any) -> None:
    parser = _add_command(
        commands,
        "logs",
        "show a function's log",
        "Print what a function wrote to its log files (setting LogFiles), beside a running service or without one.",
    )
    parser.add_argument("function", metavar="FUNCTION", help="name")
    parser.add_argument("--follow", action="store_true", help="print what comes, too, until Ctrl-C")
    parser.add_argument("--since", metavar="TIME", help="only events from then on: 10m (ago) or 2025-11-25T10:00")
    parser.add_argument(
        "--filter",
        metavar="PATTERN",
        help='only events that match, as CloudWatch Logs has it: words, -word, ?word, "some text", %%expression%%, '
        'or { $.level = "ERROR" } for JSON',
    )
    parser.add_argument("--request-id", metavar="ID", help="only those of one invocation")
    parser.add_argument("--json", action="store_true", help="each event as a JSON object on a line")
    parser.add_argument("--state-folder", dest="StateFolder", metavar="FOLDER", help=SETTINGS["StateFolder"])
    _add_template_option(parser)


def _add_check_idempotency(commands: Any) -> None:
    parser = _add_command(
        commands,
        "check-idempotency",
        "invoke a function with the same event again, and say what differs",
        "Invoke a function twice in one environment and once more in a new one, with the same event, and compare its\n"
        "results, its output and the files it leaves. What it sends to other services is not seen. The exit code is 3\n"
        "when something differs.",
    )
    parser.add_argument("function", metavar="FUNCTION", help="name or ARN")
    parser.add_argument("--event", metavar="FILE", help="JSON file with the event, - for stdin; without it, {}")
    _add_template_option(parser)
    parser.add_argument("--json", action="store_true", help="the answer as a JSON object")


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target",
        metavar="TARGET",
        help="an event source mapping of the template (Function.Event) whose on-failure destination is meant, or "
        "kafka://host:9092/topic, amqp://user:password@host:5672//queue, file:path",
    )
    parser.add_argument(
        "--queue", metavar="NAME", help="the RabbitMQ queue, where TARGET is a mapping or a broker that tells none"
    )
    _add_template_option(parser)


def _add_letter_filter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--error", metavar="TEXT", help="only letters with it in error type, message or condition")
    parser.add_argument("--since", metavar="TIME", help="only letters from then on: 2h (ago) or 2025-11-25T10:00")
    parser.add_argument("--until", metavar="TIME", help="only letters before then")
    parser.add_argument("--key", metavar="KEY", help="only letters with a record of that key, or that messageId")
