# ruff: noqa: T201 - a command, which says what it wrote
"""Writes what the pages take from the program: `python docs/generate.py`, or with --check only says what is stale.

A page holds such a part between `<!-- generated: NAME -->` and `<!-- end -->`; the rest of it is written by hand.
"""

from __future__ import annotations

import argparse
import ast
import json
import logging
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from docs import operations  # noqa: E402
from docs.model_tables import SECTIONS as MODEL_TABLES  # noqa: E402
from docs.model_tables import table  # noqa: E402
from poller import events, log  # noqa: E402
from poller.async_metrics import ASYNC_COUNTERS, ASYNC_HISTOGRAMS  # noqa: E402
from poller.cli_options import EXIT_CODES, ExitCode, parser  # noqa: E402
from poller.fronts.events import Target, payload_1, payload_2  # noqa: E402
from poller.fronts.front_metrics import FRONT_COUNTERS, FRONT_HISTOGRAMS  # noqa: E402
from poller.fronts.request import FrontRequest  # noqa: E402
from poller.metrics import COUNTERS, HISTOGRAMS, StateCollector  # noqa: E402
from poller.model import Discard, InvocationResult, Record  # noqa: E402
from poller.policy.async_events import Ended  # noqa: E402
from poller.policy.async_records import EndedEvent, dead_letter  # noqa: E402
from poller.policy.async_records import record as async_record  # noqa: E402
from poller.policy.error_headers import ErrorHeaders, KafkaOrigin, RabbitMQOrigin  # noqa: E402
from poller.policy.invocation_records import RecordContext, dead_letters  # noqa: E402

PART = re.compile(r"<!-- generated: (?P<name>.+?) -->\n.*?<!-- end -->", re.DOTALL)
PAGES = (*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md")
NOW = 1_764_064_801.5
"""Seconds since the epoch in samples."""


def code(language: str, text: str) -> str:
    """A fenced block."""
    return f"```{language}\n{text.rstrip()}\n```"


def pretty(value: Any) -> str:
    """JSON with the small objects on one line each."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return re.sub(r"[\[{]\s+[^\[\]{}]{1,80}?\s+[\]}]", lambda found: " ".join(found[0].split()), text)


def tree() -> str:
    """Every module with the first line of its docstring: what it is for."""
    parts = []
    for folder in sorted({path.parent for path in (ROOT / "poller").rglob("*.py")}):
        for path in sorted(folder.glob("*.py")):
            module = ast.parse(path.read_text())
            if path.name != "__init__.py" or any(isinstance(node, ast.ClassDef) for node in module.body):
                first = " ".join((ast.get_docstring(module) or "").split("\n\n")[0].split())
                parts.append([f"`{path.relative_to(ROOT / 'poller')}`", first])
    return table(["Module of `poller/`", "What it is for"], parts)


# --- command line ---------------------------------------------------------------------------------------------------


def _commands(parser: argparse.ArgumentParser) -> Iterable[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way to ask
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for name, command in action.choices.items():
                yield name, command
                yield from ((f"{name} {inner}", found) for inner, found in _commands(command))


def command_line() -> str:
    """Every command with its arguments and options."""
    parts = []
    for name, command in _commands(parser()):
        rows = []
        for action in command._actions:  # noqa: SLF001
            if isinstance(action, (argparse._HelpAction, argparse._SubParsersAction)):  # noqa: SLF001
                continue
            shown = f"`{', '.join(action.option_strings) or action.metavar}`"
            if action.option_strings and action.nargs != 0:
                shown = f"`{action.option_strings[0]} {action.metavar or action.dest.upper()}`"
            rows.append([shown, (action.help or "").replace("%%", "%")])
        description = " ".join((command.description or "").split())
        parts.append(f"### poller {name}\n\n{description}\n")
        if rows:
            parts.append(table(["Argument or option", "Meaning, (default)"], rows) + "\n")
    return "\n".join(parts).rstrip()


def exit_codes() -> str:
    """Numbers, names, meanings."""
    texts = {int(number): text for number, text in re.findall(r"^  (\d+) +(.+)$", EXIT_CODES, re.MULTILINE)}
    return table(["Code", "Name", "Meaning"], [[str(int(each)), f"`{each.name}`", texts[each]] for each in ExitCode])


# --- metrics and log ------------------------------------------------------------------------------------------------


def counters() -> str:
    """Counters of a mapping."""
    return table(["Counter", "Counts"], [[f"`poller_{name}_total`", text] for name, text in COUNTERS.items()])


def histograms() -> str:
    """Histograms of a mapping."""
    rows = [[f"`poller_{name}`", text, f"{bounds[0]} … {bounds[-1]}"] for name, (text, bounds) in HISTOGRAMS.items()]
    return table(["Histogram", "Measures", "Buckets"], rows)


def async_series() -> str:
    """Counters and histograms of asynchronous invocation."""
    rows = [[f"`poller_{name}_total`", text] for name, text in ASYNC_COUNTERS.items()]
    return table(
        ["Series", "Meaning"], rows + [[f"`poller_{name}`", text] for name, (text, _) in ASYNC_HISTOGRAMS.items()]
    )


def front_series() -> str:
    """Counters and histograms of functions over HTTP."""
    rows = [[f"`poller_{name}_total`", text] for name, text in FRONT_COUNTERS.items()]
    return table(
        ["Series", "Meaning"], rows + [[f"`poller_{name}`", text] for name, (text, _) in FRONT_HISTOGRAMS.items()]
    )


def gauges() -> str:
    """What is asked for at a scrape."""
    rows = []
    for family in StateCollector(list, list).collect():
        total = "_total" if family.type == "counter" else ""
        labels = getattr(family, "_labelnames", ())
        rows.append([f"`{family.name}{total}`", family.type, ", ".join(labels), family.documentation])
    return table(["Series", "Type", "Labels", "Meaning"], rows)


def log_line() -> str:
    """A JSON line as it is written."""
    fields = {"message": "polling", "mapping": "Telemetry.Readings"}
    record = logging.makeLogRecord({"name": "poller.event_poller", "levelname": "INFO", "created": NOW, **fields})
    record.msg = fields["message"]
    return code("json", log.JsonFormatter().format(record))


# --- events and on-failure records ----------------------------------------------------------------------------------


_KAFKA = KafkaOrigin("127.0.0.1:19092", "orders")
_RABBITMQ = RabbitMQOrigin("orders", "/")


def _event(origin: KafkaOrigin | RabbitMQOrigin) -> bytes:
    if isinstance(origin, KafkaOrigin):
        return events.kafka_event(topic="orders", values=['{"id": 1}'], key="customer-7")
    return events.rabbitmq_event(queue="orders", values=['{"id": 1}'])


_FAILED = InvocationResult(
    "8f2c1f4e-2b1d-4a52-9a07-3f1f5a2d9c11",
    b'{"errorMessage":"no price","errorType":"ValueError","stackTrace":["  File \\"handler.py\\", line 5"]}',
    function_error="Unhandled",
)


def _letter(
    origin: KafkaOrigin | RabbitMQOrigin, *, each_record: bool, headers: ErrorHeaders = "connect"
) -> tuple[Mapping[str, Any], list[list[str]]]:
    """A dead letter's body, and its headers as rows."""
    context = RecordContext(
        function_name="Orders",
        function_arn="arn:aws:lambda:us-east-1:123456789012:function:Orders",
        mapping_uuid="0d7b3a52-8f0e-5d2c-9a43-8d0c6c1d7a11",
        event_source_arn=None if isinstance(origin, KafkaOrigin) else events.BROKER_ARN,
        origin=origin,
        build_event=lambda _: _event(origin),
        error_headers=headers,
    )
    record = Record(
        "orders-0", 0, events.TIMESTAMP, b"", b"", (), b"", message_id="00000000-0000-4000-8000-000000000001"
    )
    discard = Discard([record], "RetryAttemptsExhausted", 3, _FAILED)
    letter = dead_letters(discard, context, now=NOW, each_record=each_record)[0]
    return json.loads(letter.body), [[f"`{name}`", _shown(value)] for name, value in letter.headers]


def _shown(value: bytes) -> str:
    """A header's text in one line, or the bytes of a number."""
    if value.startswith(b"\0"):
        return f"{int.from_bytes(value)}, as `{value.hex(' ')}`"
    return "`" + value.decode().replace("\n", "⏎") + "`"


def _ended_event() -> EndedEvent:
    arn = "arn:aws:lambda:us-east-1:123456789012:function:Orders:$LATEST"
    return EndedEvent(_FAILED.request_id, arn, b'{"order":7}', Ended("RetriesExhausted", 3), _FAILED, _FAILED)


def _http_request() -> tuple[FrontRequest, Target]:
    """A request to an HTTP API, and where it arrives."""
    request = FrontRequest(
        method="PUT",
        path="/orders/7",
        query="dry=1&dry=2",
        headers=[("Host", "127.0.0.1:9002"), ("Content-Type", "application/json"), ("Cookie", "session=a1")],
        body=b'{"quantity":2}',
        source_ip="127.0.0.1",
        scheme="http",
        port=9002,
        protocol="HTTP/1.1",
        request_id=_FAILED.request_id,
        time=NOW,
        trace_id="Root=1-69257d21-0123456789abcdef01234567",
    )
    target = Target(
        account_id="123456789012",
        api_id="serverlesshttpapi",
        domain_name="serverlesshttpapi.execute-api.us-east-1.amazonaws.com",
        route_key="PUT /orders/{id}",
        resource="/orders/{id}",
        path_parameters={"id": "7"},
        decoded=True,
    )
    return request, target


SECTIONS = {
    **MODEL_TABLES,
    "payload 2.0": lambda: code("json", pretty(payload_2(*_http_request()))),
    "payload 1.0": lambda: code("json", pretty(payload_1(*_http_request()))),
    "tree": tree,
    "operations": operations.page,
    "command line": command_line,
    "exit codes": exit_codes,
    "counters": counters,
    "histograms": histograms,
    "gauges": gauges,
    "async series": async_series,
    "front series": front_series,
    "async record": lambda: code("json", pretty(json.loads(async_record(_ended_event(), now=NOW)))),
    "dead-letter queue headers": lambda: table(
        ["Header", "Such as"],
        [[f"`{name}`", f"`{value.decode()}`"] for name, value in dead_letter(_ended_event()).headers],
    ),
    "log line": log_line,
    "kafka event": lambda: code("json", pretty(json.loads(_event(_KAFKA)))),
    "s3 event": lambda: code(
        "json", pretty(json.loads(events.s3_event(bucket="photos", key="in/summer 7.jpg", name="ObjectCreated:Put")))
    ),
    "scheduled event": lambda: code("json", pretty(json.loads(events.scheduled_event(rule="OrdersHourly")))),
    "rabbitmq event": lambda: code("json", pretty(json.loads(_event(_RABBITMQ)))),
    "letter to a topic": lambda: code("json", pretty(_letter(_KAFKA, each_record=True)[0])),
    "letter of a batch": lambda: code("json", pretty(_letter(_KAFKA, each_record=False)[0])),
    "letter of a message": lambda: code("json", pretty(_letter(_RABBITMQ, each_record=True)[0])),
    "headers of a kafka letter": lambda: table(["Header", "Such as"], _letter(_KAFKA, each_record=True)[1]),
    "headers of spring": lambda: table(["Header", "Such as"], _letter(_KAFKA, each_record=True, headers="spring")[1]),
    "headers of a rabbitmq letter": lambda: table(["Header", "Such as"], _letter(_RABBITMQ, each_record=True)[1]),
}


def render(page: str) -> str:
    """The page with every generated part anew. KeyError: there is no part of that name."""
    return PART.sub(
        lambda found: f"<!-- generated: {found['name']} -->\n{SECTIONS[found['name']]()}\n<!-- end -->", page
    )


def main() -> int:
    """Rewrite the pages, or with --check name those that are stale and return 1."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--check", action="store_true", help="write nothing; exit with 1 when a page is stale")
    check = options.parse_args().check
    listed = operations.TABLE.exists() and operations.TABLE.read_text() == operations.module()
    if not listed and not check:
        operations.TABLE.write_text(operations.module())
    stale = [page for page in PAGES if render(page.read_text()) != page.read_text()]
    for page in stale:
        print(f"{'stale' if check else 'written'}: {page.relative_to(ROOT)}")
        if not check:
            page.write_text(render(page.read_text()))
    return 1 if check and (stale or not listed) else 0


if __name__ == "__main__":
    sys.exit(main())
