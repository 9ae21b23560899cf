"""The command line: whatever is typed ends with an exit code of its own and, at worst, a sentence on stderr."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from builders import answer
from hypothesis import example, given
from hypothesis import strategies as st
from templates import (
    _transform_in_process,  # noqa: F401 - a fixture
    document,
    write,
)

from fuzz.odd import any_json, any_text, depths, nested, no_hang
from fuzz.tally import tried
from poller import cli
from poller.cli_options import ExitCode
from poller.errors import PollerError
from poller.invoker import invoke
from poller.model import FunctionConfiguration

# What a shell can hand over: no NUL, and what is not UTF-8 as lone surrogates.
arguments = (
    st.binary(max_size=8).filter(lambda raw: b"\0" not in raw).map(lambda raw: raw.decode(errors="surrogateescape"))
)
words = (
    st.sampled_from(
        [
            *(
                "validate",
                "run",
                "invoke",
                "generate-event",
                "kafka",
                "rabbitmq",
                "--help",
                "--json",
                "--topic",
                "--queue",
            ),
            *(
                "--value",
                "--key",
                "--event",
                "-",
                "--parameter",
                "a=b",
                "=",
                "--port",
                "--settings",
                "--",
                "-1",
                "9" * 50,
            ),
            *("dead-letters", "list", "show", "redrive", "purge", "--yes", "file:template.yaml", "file:.", "kafka://x"),
            *("--since", "2h", "--until", "--error", "--origin", "amqp://h", "amqp://h//q", "kafka://h:1", "--dry-run"),
            *("--log-level", "--time-scale", "nan", "--template", "Telemetry", "--virtual-host", "/", "--stream-arn"),
        ]
    )
    | arguments
)


def run(given_arguments: list[str]) -> tuple[int, bytes, str]:
    """Exit code, stdout and stderr, with the encodings they have in a terminal."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), no_hang():
        try:
            code = cli.main(given_arguments)
        except SystemExit as end:  # argparse, on wrong usage
            code = int(end.code or 0)
    out.flush()
    err.flush()
    return code, out.buffer.getvalue(), err.buffer.getvalue().decode()  # type: ignore[attr-defined]


@given(typed=st.lists(words, max_size=6))
@example(["validate", "--json", "\udcff"])
@example(["validate", "x" * 5000])
@example(["invoke", "F", "--event", "x" * 5000])
@example(["dead-letters", "list", "\udcff://\udcff", "--queue", "\udcff"])
@example(["dead-letters", "list", "file:\udcff", "--key", "\udcff", "--error", "\udcff"])
@example(["dead-letters", "redrive", "amqp://[", "--queue", "q"])
@example(["dead-letters", "show", "kafka://h:99999999/x", "0:0", "--template", "x" * 5000])
@example(["generate-event", "kafka", "--topic", "\udcff", "--value", "\udcff", "--key", "\udcff"])
def test_any_arguments_end_with_an_exit_code_and_a_sentence(tmp_path: Path, typed: list[str]) -> None:
    tried("command lines")
    if {"run", "-"} & set(typed):  # a service without end, or reading of the test's own stdin
        typed = ["--help", *typed]
    with contextlib.chdir(tmp_path):
        code, out, err = run(typed)
    assert code in list(ExitCode)
    assert "Traceback" not in err
    assert code == 0 or err or json.loads(out)["problems"]


@given(value=st.binary(max_size=20).filter(lambda raw: b"\0" not in raw), queue=arguments)
def test_a_sample_event_holds_the_bytes_that_were_typed(value: bytes, queue: str) -> None:
    tried("sample events")
    text = value.decode(errors="surrogateescape")
    for source in (["kafka", f"--topic={queue}"], ["rabbitmq", f"--queue={queue}"]):
        code, out, err = run(["generate-event", *source, f"--value={text}"])
        assert (code, err) == (0, "")
        [[record]] = [
            items for key in ("records", "rmqMessagesByQueue") for items in json.loads(out).get(key, {}).values()
        ]
        assert b64decode(record.get("value", record.get("data"))) == value


class OnePool:
    """Answers every invocation at once, and keeps what came."""

    configuration = FunctionConfiguration("f", Path(), "a.b")

    def __init__(self) -> None:
        self.payloads: list[bytes] = []

    def submit(self, invocation: Any, on_result: Any, *, wait: bool) -> None:
        assert not wait
        self.payloads.append(invocation.payload)
        on_result(answer(None))


@given(
    event=st.binary(max_size=60)
    | any_json.map(lambda value: json.dumps(value).encode())
    | depths.map(nested)
    | st.just(b"9" * 5000)
    | any_text.map(lambda text: text.encode(errors="surrogatepass"))
)
def test_any_event_is_handed_over_or_refused_as_no_json(event: bytes) -> None:  # A.1, A.3
    tried("events")
    pool = OnePool()
    result = invoke(pool, event)  # type: ignore[arg-type]
    assert result.status in (200, 400)
    assert pool.payloads == ([event] if result.status == 200 else [])
    if result.status == 400:
        tried("events: refused")
        assert "Could not parse request body into json" in json.loads(result.payload)["message"]


@pytest.mark.parametrize("missing", ["nowhere.json", "x" * 5000])
def test_an_event_that_cannot_be_read_is_told(tmp_path: Path, missing: str) -> None:
    template = write(tmp_path, document())
    code, _, err = run(["invoke", "Telemetry", "--template", str(template), "--event", missing])
    assert code == ExitCode.BAD_CONFIGURATION
    assert "cannot be read" in err
    assert PollerError.__name__ not in err
    assert sys.stdout is not None


envelopes = st.fixed_dictionaries(
    {},
    optional={
        "requestContext": st.dictionaries(
            st.sampled_from(["condition", "requestId", "functionArn", "approximateInvokeCount"]), any_json
        )
        | any_json,
        "responseContext": st.fixed_dictionaries({"functionError": any_json}) | any_json,
        "timestamp": any_json,
        "KafkaBatchInfo": any_json,
        "RabbitMQBatchInfo": any_json,
        "payload": any_json,
    },
)


@given(
    lines=st.lists(
        (envelopes | any_json).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=30), max_size=4
    )
)
@example([b'{"requestContext":{"condition":"\\ud800\\u001b[2J"},"KafkaBatchInfo":{}}'])
def test_any_file_can_be_listed_and_shown_as_dead_letters(tmp_path: Path, lines: list[bytes]) -> None:
    tried("files of dead letters")
    path = tmp_path / "dead"
    path.write_bytes(b"\n".join(lines))
    for json_option in ([], ["--json"]):
        code, out, err = run(["dead-letters", "list", f"file:{path}", *json_option])
        assert (code, "Traceback" in err, b"\x1b" in out) == (ExitCode.OK, False, False)
        for number in range(1, len(path.read_bytes().split(b"\n")) + 1):
            code, out, err = run(["dead-letters", "show", f"file:{path}", str(number), *json_option])
            assert (code in {ExitCode.OK, ExitCode.BAD_CONFIGURATION}, "Traceback" in err) == (True, False)
            assert b"\x1b" not in out
