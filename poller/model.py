"""The plain values that travel through the program: no I/O, no clock, no threads.

Names are AWS's or the broker's. Times are seconds on the monotonic clock unless a name says otherwise;
timestamps of records are milliseconds since the epoch, as in the event (D.1.1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from poller.runtime.driving import Driver

Shard = str
"""Ordering unit: `<topic>-<partition>` for Kafka, `<queue>::<vhost>` for RabbitMQ. The key in the event, too."""

MAXIMUM_PAYLOAD = 6 * 1024 * 1024
"""Bytes of an encoded event: 6 MB (A.2, C.4)."""

MAXIMUM_RESPONSE = 6_291_556
"""Bytes of a handler's reply: the recorded ceiling, 6 MiB + 100 (A.2)."""

SOURCE_TIMEOUT_CAP = 840.0
"""Seconds a function may run for a Kafka or MQ event, whatever its own Timeout says (C.4)."""


class Record(NamedTuple):
    """One message of a broker, with its JSON already built.

    A NamedTuple because one is made of every record of most sources (0.3 µs against 0.8 µs for a slots dataclass).
    """

    shard: Shard
    position: int
    """Offset in the shard (Kafka), or this consumer's running number of the delivery (RabbitMQ): it only grows."""
    timestamp: int
    """Milliseconds since the epoch when the record was made; 0 when the source does not know."""
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    """Original headers of a Kafka record, kept for dead letters; empty for RabbitMQ."""
    encoded: bytes
    """The record as it stands in the event (D.1.1, D.2). Built once, so size and event come from one place."""
    deliveries: int = 0
    """Deliveries that the broker, or the source on its behalf, counted before this one. Always 0 for a stream."""
    message_id: str | None = None
    """RabbitMQ's messageId: the item identifier of a partial batch response (extension to C.6)."""
    raw: Any = None
    """The source's own handle, such as channel generation and delivery tag. Nobody else looks inside."""


@dataclass(slots=True)
class Batch:
    """Records that are invoked together. Owned by the poller's thread."""

    records: Sequence[Record]
    first_seen: float
    """When the first record was taken up: what the batching window and the record's wait are counted from."""
    attempt: int = 1
    """Number of the attempt that is next or running. Throttles are not attempts (C.4)."""
    throttles: int = 0
    not_before: float = 0.0
    event: Payload | None = None
    """Kept for retries of the same records where it is JSON."""
    request_id: str = ""
    is_duplicate: bool = False
    """It was handled well before, and is delivered again on purpose."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What may be acknowledged now.

    An ordered source reads `positions`: per shard the first position that is not finished, that is what Kafka calls
    the committed offset. A queue reads `records`: the finished messages, filtered-out ones included.
    """

    positions: Mapping[Shard, int] = field(default_factory=dict)
    records: Sequence[Record] = ()
    size: int = 0
    """Positions or messages that are new in it, for the metrics."""

    def __bool__(self) -> bool:
        return bool(self.positions) or bool(self.records)


@dataclass(frozen=True, slots=True)
class LoggingConfiguration:
    """How a function's log is written: AWS's LoggingConfig in snake case (E.5)."""

    log_format: Literal["Text", "JSON"] = "Text"
    application_log_level: str = "INFO"
    """Least important level of what the handler writes; means nothing in text format, as the next one."""
    system_log_level: str = "INFO"
    log_group: str | None = None
    """None is the function's own."""


@dataclass(frozen=True, slots=True)
class FunctionConfiguration:
    """What the runtime needs to know of a function; AWS's names in snake case."""

    function_name: str
    code: Path
    """Folder with the handler's code: the working folder of its processes."""
    handler: str
    runtime: str = "python3.13"
    runtime_client: Literal["poller", "aws"] = "poller"
    """What runs handlers: clients of our own, or AWS's."""
    layers: tuple[Path, ...] = ()
    """Folders and zip archives that make up `/opt`; a later one wins."""
    initialization_type: Literal["on-demand", "provisioned-concurrency"] = "on-demand"
    """AWS_LAMBDA_INITIALIZATION_TYPE of its processes (E.2)."""
    timeout: float = 3.0
    memory_size: int = 128
    """Megabytes."""
    ephemeral_storage: int = 512
    """Megabytes of an environment's temporary folder."""
    environment: Mapping[str, str] = field(default_factory=dict)
    reserved_concurrent_executions: int | None = None
    account_id: str = "123456789012"
    region: str = "us-east-1"
    version: str = "$LATEST"
    """`$LATEST`, or the number of a published version."""
    logging: LoggingConfiguration = LoggingConfiguration()
    control_group: Path | None = None
    """Which one its process joins before the handler's code runs, where that is up to the process."""
    debug_port: int | None = None
    """Where its process waits for a debugger, which suspends its timeouts; None when it does not."""

    @property
    def function_arn(self) -> str:
        """Unqualified ARN."""
        return f"arn:aws:lambda:{self.region}:{self.account_id}:function:{self.function_name}"

    @property
    def log_group(self) -> str:
        """Name of the log group (E.2)."""
        return self.logging.log_group or f"/aws/lambda/{self.function_name}"


class ResponseStream(Protocol):
    """Takes a response in pieces while the function still runs (A.1, E.1).

    Called on the environment's thread, which it never blocks. How the response ended is told by the result of the
    invocation, which comes after the last piece; what was taken cannot be taken back.
    """

    def attach(self, version: str, wake: Callable[[], None]) -> None:
        """An environment has the invocation now.

        Args:
            version: what it runs.
            wake: to be called, on any thread, when there is room again; does not wait.
        """

    def begin(self, content_type: str) -> None:
        """The runtime answers in streaming mode, with content of this type; empty when it named none.

        Once at most: without it there are no pieces, and the result has the whole response.
        """

    def take(self, piece: bytes) -> None:
        """The next piece. It is taken even when there is no room: the caller looks at `full` after each."""

    @property
    def full(self) -> bool:
        """Whether no more is to be given until `wake` is called."""
        ...


class Event(Protocol):
    """An event that is not made before it is on its way, and then in the form that the function's runtime takes.

    Any thread, one at a time. What was made is kept for who asks again.
    """

    def __len__(self) -> int:
        """Bytes of its JSON, which is what limits count."""

    def __bytes__(self) -> bytes:
        """Its JSON."""

    def columns(self) -> bytes | None:
        """What `runtime.event_columns` makes the same event of; None where there is only JSON."""


Payload = bytes | Event


class Invocation(NamedTuple):
    """One call of a function. The deadline is set when the handler gets it, not while it waits for an environment."""

    request_id: str
    payload: Payload
    invoked_function_arn: str
    timeout_cap: float | None = None
    """Upper bound in seconds on the function's own Timeout (840 for event source mappings, C.4)."""
    client_context: str | None = None
    response_stream: ResponseStream | None = None
    """Where the caller takes a stream, which may be longer than a response (A.1)."""
    driver: Driver | None = None
    """Takes the answer on the caller's thread, if the handler is quick."""


class InvocationResult(NamedTuple):
    """What came back. A failing handler is a value, never an exception."""

    request_id: str
    payload: bytes = b""
    """The handler's JSON, or the error object of A.4."""
    status: int = 200
    """HTTP status that Invoke would answer: 200 also when the function failed, 429 throttled, 500 our own fault."""
    function_error: str | None = None
    """`Unhandled` when the function failed (A.4)."""
    executed_version: str = "$LATEST"
    duration: float = 0.0
    """Seconds in the handler."""
    init_duration: float | None = None
    """Seconds of the cold start, on the first invocation of an environment only."""
    log_tail: bytes = b""
    """The last 4 KB of the invocation's log, START to REPORT (A.1)."""
    content_type: str = ""
    """As the runtime named it; empty when it did not. That of a streamed response may say that it begins with the
    head of an answer over HTTP."""
    streamed: bool = False
    """Whether the runtime answered in streaming mode; the payload is the whole stream (E.1), or empty where the
    invocation's `response_stream` took it."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message for an on-failure destination. The body is built by `policy.invocation_records`."""

    body: bytes
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    """Names and UTF-8 values (F.1)."""
    without_payload: bytes | None = None
    """The body for a destination that refuses the size of the whole one."""


@dataclass(frozen=True, slots=True)
class Complete:
    """These records are done: handled, or their dead letter is durable."""

    records: Sequence[Record]


@dataclass(frozen=True, slots=True)
class Retry:
    """Invoke these again, not before the given time. More than one batch after a bisection, in order."""

    batches: Sequence[Batch]


@dataclass(frozen=True, slots=True)
class Return:
    """Give these messages back to the queue at the given time; the broker delivers them again (D.2)."""

    records: Sequence[Record]
    not_before: float


@dataclass(frozen=True, slots=True)
class Discard:
    """Give these up: on to the on-failure destination, or dropped and counted when there is none."""

    records: Sequence[Record]
    condition: str
    """`RetryAttemptsExhausted`, `RecordAgeExceeded` or `MaximumPayloadSizeExceeded` (D.1.4)."""
    attempts: int
    result: InvocationResult | None
    """The last answer; None when no attempt was made."""


Decision = Complete | Retry | Return | Discard
