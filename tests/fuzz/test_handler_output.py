"""What a handler's process may send: frames, replies, log lines. Nothing of it may raise more than is documented."""

from __future__ import annotations

import io
import json
import logging
import os
import struct
import tracemalloc
from contextlib import suppress
from typing import Any

from builders import records
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.odd import any_json, any_text, depths, nested, no_hang
from fuzz.tally import tried
from poller.log import FunctionLog, JsonFormatter, TextFormatter
from poller.model import InvocationResult
from poller.policy.reporting import read_outcome
from poller.runtime.frames import MAXIMUM_HEADER, MAXIMUM_PAYLOAD, FrameError, FrameReader, FrameWriter
from poller.runtime.handler_log import MAXIMUM_EVENT, HandlerLog

# --- frames --------------------------------------------------------------------------------------------------------

lengths = st.integers(0, 40) | st.sampled_from([MAXIMUM_HEADER, MAXIMUM_HEADER + 1, MAXIMUM_PAYLOAD, 2**31, 2**32 - 1])


def framed(header: bytes, payload: bytes) -> bytes:
    return struct.pack(">II", len(header), len(payload)) + header + payload


pieces = st.one_of(
    st.binary(max_size=40),
    st.builds(framed, st.binary(max_size=20), st.binary(max_size=40)),
    st.builds(framed, any_json.map(lambda value: json.dumps(value).encode()[:4000]), st.binary(max_size=40)),
    st.builds(lambda header: framed(json.dumps({"type": header}).encode(), b"{}"), any_text),
    st.builds(lambda *both: struct.pack(">II", *both), lengths, lengths),
    st.sampled_from([framed(nested(30_000), b""), framed(b'{"a":' + b"9" * 5000 + b"}", b"")]),
)


@given(stream=st.lists(pieces, max_size=4).map(b"".join), data=st.data())
def test_any_stream_gives_frames_or_the_two_errors_and_takes_no_more_memory_than_a_frame(
    stream: bytes, data: st.DataObject
) -> None:
    tried("streams of frames")
    read, write = os.pipe()
    reader = FrameReader()
    os.set_blocking(read, False)
    left = stream[:60_000]
    tracemalloc.start()
    try:
        with suppress(EOFError, FrameError):
            while left:
                size = data.draw(st.integers(1, 50)) + len(left) // 20
                os.write(write, left[:size])
                left = left[size:]
                with suppress(BlockingIOError):
                    while True:
                        frame = reader.read(read)
                        assert frame is None or isinstance(frame.header, dict)
            os.close(write)
            write = -1
            while True:
                reader.read(read)
        assert tracemalloc.get_traced_memory()[1] < MAXIMUM_PAYLOAD + 2_000_000
    finally:
        tracemalloc.stop()
        os.close(read)
        if write >= 0:
            os.close(write)


@given(header=st.dictionaries(any_text, any_json, max_size=3), payload=st.binary(max_size=100))
def test_what_is_written_is_read_again(header: dict[str, Any], payload: bytes) -> None:
    tried("frames written")
    read, write = os.pipe()
    try:
        FrameWriter(header, payload).write(write)
        frame = FrameReader().read(read)
    finally:
        os.close(read)
        os.close(write)
    assert frame is not None
    assert json.dumps(frame.header) == json.dumps(header)
    assert bytes(frame.payload) == payload


# --- replies -------------------------------------------------------------------------------------------------------

BATCH = records(3, 4, 5, message_id="m")
identifiers = (
    st.sampled_from(
        [
            *({"partition": "t-0", "offset": offset} for offset in (2, 3, 4, 5, 5.0, "5", True, 10**30, None)),
            {"partition": "t-1", "offset": 3},
            "m",
            "",
        ]
    )
    | any_json
)
replies = st.one_of(
    st.binary(max_size=60),
    any_json.map(lambda value: json.dumps(value).encode()),
    st.builds(
        lambda items: json.dumps({"batchItemFailures": items}).encode(),
        st.lists(st.builds(lambda item: {"itemIdentifier": item}, identifiers) | any_json, max_size=4) | any_json,
    ),
    depths.map(nested),
    depths.map(lambda depth: b'{"batchItemFailures":[{"itemIdentifier":' + nested(depth) + b"}]}"),
    depths.map(lambda depth: nested(depth, b'{"batchItemFailures":[', b"]}", b"")),
    st.just(b'{"batchItemFailures":[{"itemIdentifier":' + b"9" * 5000 + b"}]}"),
)


@given(payload=replies, ordered=st.booleans(), report=st.booleans(), deeper=st.integers(0, 60))
def test_any_reply_is_a_success_a_list_of_failures_or_a_failed_batch(
    payload: bytes, ordered: bool, report: bool, deeper: int
) -> None:
    tried("replies")

    def read(levels: int) -> Any:
        """The loop stands somewhere in the stack: what can be read there is not what could be written elsewhere."""
        return (
            read(levels - 1)
            if levels
            else read_outcome(BATCH, InvocationResult("r", payload), ordered=ordered, report=report)
        )

    outcome = read(deeper)
    assert outcome.invoked
    assert not outcome.thrown
    assert [record for record in BATCH if record in outcome.failed] == list(outcome.failed)
    if outcome.problem:
        tried("replies: a bad report")
        assert report
        assert list(outcome.failed) == BATCH
        assert len(outcome.problem) < 1000, "a log line of the reply's size"


# --- log lines -----------------------------------------------------------------------------------------------------

errors = st.one_of(
    st.binary(max_size=60),
    any_json.map(lambda value: json.dumps(value).encode()),
    st.builds(
        lambda *parts: json.dumps(dict(zip(("errorType", "errorMessage", "stackTrace"), parts, strict=True))).encode(),
        any_json,
        any_json,
        st.lists(any_text, max_size=3) | any_json,
    ),
    depths.map(nested),
)


@given(
    chunks=st.lists(
        st.binary(max_size=50) | st.sampled_from([b"\n", b"x" * 70_000, b"\xc3", b"\r\n", b"\x1b[31m"]), max_size=12
    ),
    failure=errors,
)
@example(chunks=[b"x" * 300_000], failure=b"{}")
def test_any_output_becomes_bounded_lines_and_a_bounded_tail(chunks: list[bytes], failure: bytes) -> None:
    tried("handlers' output")
    lines: list[str] = []
    log = HandlerLog(lambda line, _: lines.append(line), "id")
    log.begin()
    with no_hang():
        for chunk in chunks:
            log.output(chunk)
        log.error(failure)
        log.end(duration=0.1, memory_size=128, memory=1, init=None, failure="Function.Unknown")
    assert all(len(line) <= MAXIMUM_EVENT for line in lines)
    assert not any("\n" in line for line in lines[1:-3])
    assert len(log.tail()) <= 4096


@given(line=any_text, request=any_text, name=any_text)
def test_a_log_line_is_one_json_object_or_readable_text(line: str, request: str, name: str) -> None:
    tried("log lines")
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace", newline="\n")  # as stderr
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger(f"poller.function.{name}")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        for formatter in (JsonFormatter(), TextFormatter()):
            handler.setFormatter(formatter)
            FunctionLog(name)(line, request)
    finally:
        logger.removeHandler(handler)
        logging.Logger.manager.loggerDict.pop(logger.name, None)
    stream.flush()
    first = stream.buffer.getvalue().split(b"\n")[0]  # type: ignore[attr-defined]
    assert json.loads(first)["message"] == line.rstrip("\n")
