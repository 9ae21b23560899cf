"""Dead letters and redrives as text for a person and as JSON for a program. Pure; `command` prints it."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from rich.table import Table
from rich.text import Text

from poller.dead_letters.filters import age
from poller.dead_letters.letter import KafkaOriginal, Letter, Original, Verbatim
from poller.dead_letters.redrive import Tally
from poller.validation import plural

LONGEST_CELL = 60
"""Characters of a cell of the table."""


def letter_table(letters: Iterable[Letter], now: float) -> Table:
    """One row a letter."""
    table = Table(box=None, pad_edge=False)
    for name in ("Letter", "Origin", "Error", "Attempts", "Age", "Key", ""):
        table.add_column(name, justify="right" if name in {"Attempts", "Age"} else "left")
    for letter in letters:
        cells = [
            letter.id,
            letter.origin or "unknown",
            letter.error_type or letter.condition or "unknown",
            "" if letter.attempts is None else str(letter.attempts),
            "" if letter.time is None else age(now - letter.time),
            "" if letter.key is None else text_of(letter.key),
            "redriven" if letter.redriven else "",
        ]
        table.add_row(*(Text(_cut(printable(cell))) for cell in cells))
    return table


def letter_json(letter: Letter) -> dict[str, Any]:
    """A letter without its records, for `list`."""
    return {
        "Letter": letter.id,
        "Origin": letter.origin or None,
        "Condition": letter.condition or None,
        "ErrorType": letter.error_type or None,
        "ErrorMessage": letter.error_message or None,
        "Attempts": letter.attempts,
        "Time": iso(letter.time),
        "Key": _content(letter.key),
        "FunctionName": letter.function or None,
        "RequestId": letter.request_id or None,
        "Records": letter.size,
        "Problem": letter.problem or None,
        "Redriven": letter.redriven,
    }


def whole_letter_json(letter: Letter) -> dict[str, Any]:
    """A letter with its records, for `show`."""
    return letter_json(letter) | {"Originals": [_original_json(item) for item in letter.originals]}


def whole_letter(letter: Letter, now: float) -> Iterator[str]:
    """The lines of `show`."""
    error = ": ".join(part for part in (letter.error_type, letter.error_message) if part)
    when = "" if letter.time is None else f"{iso(letter.time)} ({age(now - letter.time)} ago)"
    facts = {
        "letter": letter.id,
        "origin": letter.origin or "unknown",
        "condition": letter.condition,
        "error": error,
        "attempts": "" if letter.attempts is None else str(letter.attempts),
        "time": when,
        "function": letter.function,
        "request": letter.request_id,
        "problem": letter.problem,
        "redriven": "yes" if letter.redriven else "",
    }
    yield from (f"{name:<10} {printable(value)}" for name, value in facts.items() if value)
    for original in letter.originals:
        yield ""
        yield from _original_lines(original)


def tally_lines(tally: Tally, where: str, *, dry_run: bool) -> Iterator[str]:
    """The lines of `redrive`."""
    letters, records = plural(tally.letters, "letter"), plural(tally.sent, "record")
    if dry_run:
        yield f"would redrive {letters} with {records} from {where}"
    else:
        yield (
            f"redriven: {letters} with {records} from {where}; "
            f"sent {tally.sent}, confirmed {tally.confirmed}, marked {tally.marked} of {tally.letters}"
        )
    if tally.left:
        yield f"left where they are: {plural(len(tally.left), 'letter')}"
        for letter, reason in tally.left:
            yield f"  {letter.id}  {printable(reason)}"


def tally_json(tally: Tally, *, dry_run: bool) -> dict[str, Any]:
    """A redrive for a program."""
    return {
        "DryRun": dry_run,
        "Letters": tally.letters,
        "Sent": tally.sent,
        "Confirmed": tally.confirmed,
        "Marked": tally.marked,
        "Left": [{"Letter": letter.id, "Reason": reason} for letter, reason in tally.left],
        "Error": tally.failed or None,
    }


def printable(text: str) -> str:
    """What strangers wrote, without what would move the cursor or colour the terminal; one line."""
    return "".join(character if character.isprintable() else " " for character in text)


def iso(time: float | None) -> str | None:
    """`2025-11-25T10:00:00.500Z`; nothing for what no calendar holds."""
    try:
        moment = None if time is None else datetime.fromtimestamp(time, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text_of(content: bytes) -> str:
    """UTF-8 as it is, anything else as base64 with a word before it."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return f"base64 {b64encode(content).decode()}"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 1]}…"


def _content(content: bytes | None) -> str | dict[str, str] | None:
    if content is None:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(content).decode()}


def _original_json(original: Original) -> dict[str, Any]:
    if isinstance(original, KafkaOriginal):
        place = original.place
        headers = [{name: _content(value)} for name, value in original.headers]
        return {
            "Topic": place.topic,
            "Partition": place.partition,
            "Offset": place.offset,
            "Key": _content(original.key),
            "Headers": headers,
            "Value": _content(original.value),
        }
    return {
        "Queue": original.queue,
        "VirtualHost": original.virtual_host,
        "Properties": _plain(original.properties),
        "Body": _content(original.body),
    }


def _original_lines(original: Original) -> Iterator[str]:
    if isinstance(original, KafkaOriginal):
        yield f"record     {original.place}"
        yield f"  key      {'none' if original.key is None else printable(text_of(original.key))}"
        for name, content in original.headers:
            yield f"  header   {printable(name)}: {printable(text_of(content))}"
        yield f"  value    {'none: a tombstone' if original.value is None else _shown(original.value)}"
        return
    yield f"message    for {printable(original.queue)}"
    for name, value in original.properties.items():
        if name != "headers":
            yield f"  {name:<16} {printable(str(value))}"
    for name, value in original.properties.get("headers", {}).items():
        yield f"  header   {printable(str(name))}: {printable(str(_plain(value)))}"
    yield f"  body     {_shown(original.body)}"


def _shown(content: bytes) -> str:
    """JSON with its members on lines of their own, other text as it is."""
    text = text_of(content)
    if text[:1] in {"{", "["}:
        try:
            # Escaped where it is not printable, so a terminal is safe.
            return json.dumps(json.loads(text), indent=2).replace("\n", "\n           ")
        except (ValueError, RecursionError):
            pass
    return printable(text)


def _plain(value: Any) -> Any:
    """What AMQP's tables hold, as JSON holds it."""
    plain: Any = value
    match value:
        case Verbatim():
            plain = _plain(value.value)
        case bytes():
            plain = _content(value)
        case Mapping():
            plain = {str(name): _plain(member) for name, member in value.items()}
        case int() if not isinstance(value, bool):
            plain = int(value)  # pika has a kind of integer that shows as 7L
        case list():
            plain = [_plain(member) for member in value]
        case datetime() | Decimal():
            plain = str(value)
    return plain
