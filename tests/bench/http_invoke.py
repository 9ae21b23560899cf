"""Invoke over HTTP: requests a second and latencies with 1 and 16 clients that keep their connections.

The floor is a bare uvicorn with the service's own options that reads the same requests and answers the same bytes:
`python -m tests.bench.http_invoke --port …`.
"""

from __future__ import annotations

import argparse
import asyncio
import selectors
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvicorn

from poller.api.server import OPTIONS
from tests.bench.processes import Measured, Service, template
from tests.bench.report import FLOOR, Goal, Row, progress, row
from tests.brokers import free_port
from tests.waiting import eventually

CLIENTS = (1, 16)
GOAL = Goal(">=", 0.6, FLOOR)
PATH = "/2015-03-31/functions/Bench/invocations"
EVENT = b'{"key": "value"}'
REQUEST = (
    f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(EVENT)}\r\n\r\n"
).encode() + EVENT
WARM_UP = 0.5
"""Seconds whose answers are not counted: environments start in them."""


def invocations(folder: Path, *, runs: int, quick: bool) -> Iterator[Row]:
    """A handler that returns its event of 15 bytes."""
    seconds = 1.0 if quick else 2.0
    for clients in CLIENTS:
        ours: list[tuple[float, float, float]] = []
        floor: list[tuple[float, float, float]] = []
        for number in range(runs):
            progress(f"Invoke with {clients} clients, run {number + 1} of {runs}")
            where = folder / f"{clients}-{number}"
            service = Service(template({}, handler="echo", processes=clients), where / "ours")
            with service:
                service.wait_for_log("serving")
                ours.append(measure(service.port, clients, seconds))
            port = free_port()
            with Measured(["-m", "tests.bench.http_invoke", "--port", str(port)], where / "floor") as bare:
                bare.wait_for_log("serving")
                floor.append(measure(port, clients, seconds))
        name = f"Invoke over HTTP, {clients} client{'s' if clients > 1 else ''}"
        rates, floors = ([run[0] for run in found] for found in (ours, floor))
        yield row(name, "requests/s", rates, floors, goals=[GOAL])
        for place, percent in enumerate((50, 99), 1):
            yield row(f"{name}, p{percent}", "µs", [run[place] for run in ours], [run[place] for run in floor])


def measure(port: int, clients: int, seconds: float) -> tuple[float, float, float]:
    """Requests a second, and the 50th and 99th percentile of their times in microseconds. One thread, no library."""
    selector = selectors.DefaultSelector()
    for _ in range(clients):
        connection = _connected(port)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(connection, selectors.EVENT_READ, [time.perf_counter_ns(), b""])
        connection.sendall(REQUEST)
    times: list[float] = []
    begin = time.monotonic() + WARM_UP
    end = begin + seconds
    while (now := time.monotonic()) < end:
        for key, _ in selector.select(1.0):
            times += _answered(key, counted=now >= begin)
    for key in list(selector.get_map().values()):
        key.fileobj.close()  # type: ignore[union-attr]
    selector.close()
    cuts = statistics.quantiles(times, n=100)
    return len(times) / seconds, cuts[49], cuts[98]


def _connected(port: int) -> socket.socket:
    def connection() -> socket.socket | None:
        with suppress(ConnectionRefusedError):  # the log comes before the port
            return socket.create_connection(("127.0.0.1", port))
        return None

    made = eventually(connection, what=f"a connection to port {port}")
    assert made is not None
    return made


def _answered(key: selectors.SelectorKey, *, counted: bool) -> list[float]:
    """Take in what has come; when it is a whole answer, send the next request. Its microseconds, if it counts."""
    connection: Any = key.fileobj
    sent, answer = key.data
    answer += connection.recv(65536)
    key.data[1] = answer
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"no answer of the function's: {answer!r}")
    if not answer.endswith(EVENT):
        return []
    key.data[:] = [time.perf_counter_ns(), b""]
    connection.sendall(REQUEST)
    return [(key.data[0] - sent) / 1000] if counted else []


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """What is left of an Invoke without the invocation."""
    more = True
    while more:
        more = (await receive()).get("more_body", False)
    headers = [
        (b"x-amzn-requestid", b"00000000-0000-4000-8000-000000000000"),
        (b"content-type", b"application/json"),
        (b"x-amz-executed-version", b"$LATEST"),
        (b"content-length", b"%d" % len(EVENT)),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": EVENT})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.http_invoke", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    server = uvicorn.Server(uvicorn.Config(bare, **{**OPTIONS, "http": "httptools", "port": parser.parse_args().port}))
    print("serving", flush=True)
    asyncio.run(server.serve())


if __name__ == "__main__":
    main()
