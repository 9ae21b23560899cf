"""`/healthz`, `/readyz`, `/metrics`, and a port that is bound first."""

from __future__ import annotations

import asyncio
import socket

import httpx
import pytest
from prometheus_client import CollectorRegistry

from poller.api.health import application
from poller.api.server import HttpServer, PortInUse, bind
from poller.metrics import FunctionSnapshot, MappingLabels, MappingSnapshot, Metrics, StateCollector

ENABLED = {"Mapping": "F.E", "State": "Enabled", "Problem": ""}


class Client:
    """The application without a network."""

    def __init__(
        self, *states: dict[str, object], alive: bool = True, registry: CollectorRegistry | None = None
    ) -> None:
        self._app = application(registry or CollectorRegistry(), lambda: states, lambda: alive)

    def get(self, path: str) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self._app), base_url="http://poller") as client:
                return await client.get(path)

        return asyncio.run(ask())


def test_health_is_whether_every_poller_lives() -> None:
    assert Client().get("/healthz").status_code == 200
    assert Client(alive=False).get("/healthz").status_code == 500


def test_before_an_answer_workers_are_asked_and_health_tells_how_each_is() -> None:
    asked: list[str] = []
    app = application(
        CollectorRegistry(), list, lambda: True, refresh=lambda: asked.append("all"), workers=lambda: [{"worker": 1}]
    )
    client = Client()
    client._app = app
    assert client.get("/healthz").json() == {"status": "ok", "workers": [{"worker": 1}]}
    client.get("/readyz")
    client.get("/metrics")
    assert asked == ["all"] * 3


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (ENABLED, 200),
        ({**ENABLED, "State": "Disabled"}, 200),
        ({**ENABLED, "State": "Creating"}, 503),
        ({**ENABLED, "Problem": "no Kafka broker answers"}, 503),
    ],
)
def test_ready_is_when_every_mapping_polls_or_is_disabled(state: dict[str, object], status: int) -> None:
    answer = Client(ENABLED, state).get("/readyz")
    assert answer.status_code == status
    assert answer.json() == {"ready": status == 200, "mappings": [ENABLED, state]}


def test_metrics_show_every_series_of_a_mapping_and_a_function_from_the_start() -> None:  # C.9
    metrics = Metrics()
    labels = MappingLabels("F.E", "F", "t")
    bound = metrics.of_mapping(labels)
    bound.count("polled_event_count", 3)
    bound.observe(iterator_age_seconds=-5)
    metrics.registry.register(
        StateCollector(
            lambda: [MappingSnapshot(labels, enabled=True, lag={"t-0": 2, "t-1": 5}, held=1, pollers=1)],
            lambda: [FunctionSnapshot("F", 2, 1, 4, 3, 10, 1, 0)],
        )
    )
    text = Client(registry=metrics.registry).get("/metrics").text
    of_mapping = '{function="F",mapping="F.E",source="t"}'
    for line in (
        f"poller_polled_event_count_total{of_mapping} 3.0",
        f"poller_committed_event_count_total{of_mapping} 0.0",
        'poller_max_offset_lag{function="F",mapping="F.E",source="t"} 5.0',
        'poller_sum_offset_lag{function="F",mapping="F.E",source="t"} 7.0',
        'poller_offset_lag{function="F",mapping="F.E",shard="t-1",source="t"} 5.0',
        'poller_iterator_age_seconds_sum{function="F",mapping="F.E",source="t"} 0.0',
        'poller_function_environments{function="F"} 2.0',
        'poller_function_waiting{function="F"} 4.0',
        'poller_function_cold_starts_total{function="F"} 3.0',
        'poller_function_invocations_total{function="F"} 10.0',
    ):
        name, _, value = line.rpartition(" ")
        found = [row for row in text.splitlines() if sorted(row.rpartition(" ")[0]) == sorted(name)]
        assert [row.rpartition(" ")[2] for row in found] == [value], line
    assert "_created" not in text


def test_a_taken_port_says_how_to_take_another() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse, match=rf"port {port} on 127.0.0.1 is in use.*--port or POLLER_PORT"):
            bind("127.0.0.1", port)


@pytest.mark.parametrize("address", ["203.0.113.1", "not an address"])
def test_an_address_that_is_not_ours_is_told(address: str) -> None:
    with pytest.raises(PortInUse, match="cannot be bound"):
        bind(address, 0)


def test_the_server_starts_once_and_stops_in_any_order() -> None:
    server = HttpServer(application(CollectorRegistry(), list, lambda: True), bind("127.0.0.1", 0))
    server.start()
    server.start()
    assert httpx.get(f"http://{server.address}/healthz").json() == {"status": "ok"}
    server.stop()
    server.stop()
    never = HttpServer(application(CollectorRegistry(), list, lambda: True), bind("127.0.0.1", 0))
    never.stop()
    never.start()
    assert never._thread is None
