"""Telemetry of an environment: what a subscriber asks for, how its events are shaped, gathered and dropped (E.1)."""

import http.server
import json
import socket
import threading

import pytest
from handlers.extension_rig import api_with, refusal, register
from handlers.rig import HANDLERS

from poller.model import FunctionConfiguration, LoggingConfiguration
from poller.runtime.http_wire import Request
from poller.runtime.log_format import log_format
from poller.runtime.telemetry import LOGS, TELEMETRY, Event, Subscription, shaped, subscription
from poller.runtime.telemetry_buffer import BEHIND, TelemetryBuffer
from poller.runtime.telemetry_sender import TelemetrySender
from poller.runtime.telemetry_stream import Telemetry, ToldFormat

GOOD = {"types": ["function"], "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:8080"}}
ALL = ["platform", "function", "extension"]
START = Event("platform.start", {"requestId": "id-1", "version": "$LATEST"}, 0.0)


def wanted(api=TELEMETRY, **more):
    return subscription(api, "ext", json.dumps({**GOOD, "types": ALL, **more}).encode())


def put(api, path, body, identifier="i-0"):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"lambda-extension-identifier": identifier}
    return api.handle(Request("PUT", path, headers, content, len(content), {}, keep_alive=True))


@pytest.mark.parametrize("path", [TELEMETRY, LOGS])
@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{", "Expecting property name"),
        ({}, "the subscription has no 'types'"),
        ({**GOOD, "types": []}, "types are some of extension, function, platform"),
        ({**GOOD, "types": ["other"]}, "types are some of"),
        ({**GOOD, "schemaVersion": "1999-01-01"}, "schemaVersion is one of 20"),
        ({**GOOD, "destination": {"protocol": "UDP", "URI": "http://sandbox:1"}}, "the destination is HTTP"),
        ({**GOOD, "destination": {"protocol": "HTTP", "URI": "http://elsewhere:1"}}, "the destination is HTTP"),
        ({**GOOD, "destination": {"protocol": "HTTP", "URI": "http://sandbox:99999"}}, "Port out of range"),
        ({**GOOD, "destination": {"protocol": "HTTP", "URI": "http://sandbox:1/\u00e4"}}, "is ASCII without blanks"),
        ({**GOOD, "destination": {"protocol": "HTTP", "URI": "http://sandbox:1/a b"}}, "is ASCII without blanks"),
        ({**GOOD, "destination": {**GOOD["destination"], "method": "GET"}}, "POST or PUT"),
        ({**GOOD, "destination": {**GOOD["destination"], "encoding": "XML"}}, "encoding of a destination is JSON"),
        ({**GOOD, "destination": {"protocol": "TCP", "port": 0}}, "1 to 65535"),
        ({**GOOD, "buffering": {"timeoutMs": 1}}, "timeoutMs is 25 to 30000"),
        ({**GOOD, "buffering": {"maxBytes": 1}}, "maxBytes is 262144 to 1048576"),
        ({**GOOD, "buffering": {"maxItems": 99999}}, "maxItems is 1000 to 10000"),
        ([], "list indices"),
    ],
)
def test_a_subscription_that_makes_no_sense_is_told_why(path, body, text):
    api = api_with("ext")
    register(api)
    answer = put(api, path, body)
    assert refusal(answer) == (400, "ValidationError")
    assert text in json.loads(answer.reply.body)["errorMessage"]
    assert api.subscriptions == []


def test_a_subscription_has_defaults():
    assert subscription(TELEMETRY, "ext", json.dumps(GOOD).encode()) == Subscription(
        "ext", TELEMETRY, "2022-07-01", frozenset({"function"}), 8080, "/", "POST", 10_000, 262_144, 1.0
    )
    assert subscription(LOGS, "ext", json.dumps(GOOD).encode()).schema == "2020-08-15"
    asked = wanted(destination={"protocol": "HTTP", "URI": "http://sandbox.localdomain:8080/here?of=me"})
    assert asked.path == "/here?of=me"
    over_tcp = wanted(destination={"protocol": "TCP", "port": 9000})
    assert (over_tcp.port, over_tcp.path) == (9000, "")


def test_who_is_no_extension_or_comes_late_or_by_both_apis_is_refused():
    api = api_with("ext", "other")
    assert refusal(put(api, TELEMETRY, GOOD)) == (403, "Extension.UnknownExtensionIdentifier")
    register(api)
    register(api, "other")
    assert put(api, TELEMETRY, GOOD).reply.body == b"OK"
    assert refusal(put(api, LOGS, GOOD)) == (400, "ValidationError")
    assert put(api, LOGS, GOOD, "i-1").reply.status == 200
    api.initialized = True
    assert refusal(put(api, TELEMETRY, GOOD)) == (403, "Telemetry.SubscriptionClosed")
    assert refusal(put(api, LOGS, GOOD)) == (403, "Logs.SubscriptionClosed")
    late = api.handle(Request("GET", TELEMETRY, {}, b"", 0, {}, keep_alive=True))
    assert late.reply.status == 405


@pytest.mark.parametrize(
    ("api", "schema", "event", "found"),
    [
        (TELEMETRY, "2022-07-01", START, ("platform.start", START.record)),
        (LOGS, "2020-08-15", START, ("platform.start", START.record)),
        (TELEMETRY, "2022-07-01", Event("platform.fault", "text", 0.0), None),
        (TELEMETRY, "2022-07-01", Event("platform.end", {}, 0.0), None),
        (LOGS, "2020-08-15", Event("platform.fault", "text", 0.0), ("platform.fault", "text")),
        (LOGS, "2020-08-15", Event("platform.initStart", {}, 0.0), None),
        (
            LOGS,
            "2020-08-15",
            Event("platform.telemetrySubscription", {"name": "ext"}, 0.0),
            ("platform.logsSubscription", {"name": "ext"}),
        ),
        (LOGS, "2020-08-15", Event("platform.runtimeDone", {"requestId": "i", "status": "success"}, 0.0), None),
        (
            LOGS,
            "2021-03-18",
            Event("platform.runtimeDone", {"requestId": "i", "status": "success", "metrics": {}}, 0.0),
            ("platform.runtimeDone", {"requestId": "i", "status": "success"}),
        ),
        (
            LOGS,
            "2020-08-15",
            Event("platform.report", {"requestId": "i", "status": "success", "metrics": {"durationMs": 1}}, 0.0),
            ("platform.report", {"requestId": "i", "metrics": {"durationMs": 1}}),
        ),
        (TELEMETRY, "2022-07-01", Event("function", '{"a": 1}', 0.0), ("function", '{"a": 1}')),
        (TELEMETRY, "2022-12-13", Event("function", '{"a": 1}', 0.0), ("function", {"a": 1})),
        (TELEMETRY, "2025-01-29", Event("function", "{no", 0.0), ("function", "{no")),
        (TELEMETRY, "2025-01-29", Event("function", '{"a": NaN}', 0.0), ("function", '{"a": NaN}')),  # no JSON
        # A number that Python reads as infinity, which JSON cannot say.
        (TELEMETRY, "2025-01-29", Event("function", '{"a": -1e999}', 0.0), ("function", '{"a": -1e999}')),
        (TELEMETRY, "2025-01-29", Event("function", '{"a": 1.5}', 0.0), ("function", {"a": 1.5})),
        (TELEMETRY, "2025-01-29", Event("function", "text", 0.0), ("function", "text")),
        (TELEMETRY, "2025-01-29", Event("extension", '{"a": 1}', 0.0), ("extension", '{"a": 1}')),
    ],
)
def test_each_api_and_schema_has_its_own_events(api, schema, event, found):
    content = shaped(wanted(api, schemaVersion=schema), event)
    assert (content and (content["type"], content["record"])) == found
    if content:
        assert content["time"] == "1970-01-01T00:00:00.000Z"


def test_only_what_was_subscribed_to_is_told():
    assert shaped(wanted(types=["function"]), START) is None


def lines(size):
    return Event("function", "x" * size, 0.0)


def test_a_batch_waits_for_company_up_to_its_timeout():
    buffer = TelemetryBuffer(wanted(buffering={"timeoutMs": 100}))
    assert buffer.due() is None
    buffer.put(START, now=5.0)
    buffer.put(START, now=5.05)
    assert buffer.due() == pytest.approx(5.1)
    assert len(buffer.take(5.1, 0.0)) == 2
    assert buffer.due() is None


def test_a_batch_is_due_at_once_when_it_has_its_items_or_bytes():
    of_items = TelemetryBuffer(wanted(buffering={"maxItems": 1000}))
    for _ in range(1001):
        of_items.put(START, now=5.0)
    assert of_items.due() == 5.0
    assert len(of_items.take(6.0, 0.0)) == 1000
    assert of_items.due() == 7.0
    of_bytes = TelemetryBuffer(wanted())
    for _ in range(3):
        of_bytes.put(lines(100_000), now=5.0)
    assert of_bytes.due() == 5.0
    assert len(of_bytes.take(6.0, 0.0)) == 2


def test_what_is_too_much_is_dropped_and_told():
    buffer = TelemetryBuffer(wanted())
    for _ in range(8):
        buffer.put(lines(100_000), now=0.0)
    taken = []
    while buffer.due() is not None:
        taken += map(json.loads, buffer.take(0.0, 0.0))
    told = [event["record"] for event in taken if event["type"] == "platform.logsDropped"]
    assert [(record["reason"], record["droppedRecords"]) for record in told] == [(BEHIND, 8 - len(taken) + 1)]
    assert told[0]["droppedBytes"] > 100_000
    assert sum(len(event["record"]) for event in taken if event["type"] == "function") <= 2 * 262_144


def test_one_event_above_the_bytes_goes_alone():
    buffer = TelemetryBuffer(wanted())
    buffer.put(lines(600_000), now=0.0)
    assert len(buffer.take(0.0, 0.0)) == 1


class Listener:
    """An HTTP server that keeps what it is sent."""

    def __init__(self, status=200):
        self.events = []
        self.requests = []
        self.changed = threading.Condition()
        listener = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_PUT(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with listener.changed:
                    listener.requests.append((self.command, self.path, self.headers["Content-Type"]))
                    listener.events += json.loads(body)
                    listener.changed.notify_all()
                self.send_response(listener.status)
                self.end_headers()

            do_POST = do_PUT

            def log_message(self, *_):
                pass

        self.status = status
        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def wait(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.events) >= count, timeout=10)
        return self.events

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def listener():
    one = Listener()
    yield one
    one.close()


def test_events_are_put_or_posted_to_the_listener(listener):
    uri = f"http://sandbox.localdomain:{listener.server.server_port}/here"
    sender = TelemetrySender(
        wanted(destination={"protocol": "HTTP", "URI": uri, "method": "PUT"}, buffering={"timeoutMs": 25})
    )
    sender.put(START)
    assert listener.wait(1)[0]["record"] == START.record
    assert listener.requests == [("PUT", "/here", "application/json")]
    sender.stop()
    sender.wait(10)


def test_over_tcp_each_event_is_a_line():
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = TelemetrySender(wanted(destination={"protocol": "TCP", "port": server.getsockname()[1]}))
        for _ in range(2):
            sender.put(START)
        sender.stop()
        connection, _ = server.accept()
        with connection, connection.makefile() as file:
            assert [json.loads(line)["type"] for line in file] == ["platform.start"] * 2
        sender.wait(10)


def test_a_listener_that_refuses_is_told_of_what_it_lost(listener):
    listener.status = 500
    uri = f"http://127.0.0.1:{listener.server.server_port}"
    sender = TelemetrySender(wanted(destination={"protocol": "HTTP", "URI": uri}, buffering={"timeoutMs": 25}))
    sender.put(START)
    listener.wait(1)
    for _ in range(100):
        if len(listener.events) > 2:
            break
        sender.put(START)
        listener.wait(len(listener.events) + 1)
    sender.stop()
    sender.wait(10)
    lost = next(event["record"] for event in listener.events if event["type"] == "platform.logsDropped")
    assert lost["reason"] == "could not send events: the listener answered 500"
    assert lost["droppedRecords"] >= 1
    assert lost["droppedBytes"] > 0


def test_a_listener_that_takes_nothing_holds_nobody_up_and_memory_is_bounded():
    with socket.create_server(("127.0.0.1", 0)) as server:  # never accepts
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        sender = TelemetrySender(wanted(destination={"protocol": "HTTP", "URI": uri}))
        for _ in range(100):
            sender.put(lines(100_000))  # 10 MB, and it does not wait
        assert sum(map(len, sender._buffer._events)) <= 2 * 262_144 + 1000
        assert sender._buffer._dropped is not None
        sender.stop()
    sender.wait(10)


def test_a_line_without_an_end_is_cut(listener):
    uri = f"http://127.0.0.1:{listener.server.server_port}"
    telemetry = Telemetry()
    telemetry.begin_init()
    telemetry.subscribe(wanted(types=["function"], destination={"protocol": "HTTP", "URI": uri}))
    telemetry.output(b"a\nb" + b"x" * 256 * 1024)
    telemetry.close(10.0)
    assert [len(event["record"]) for event in listener.wait(2)] == [1, 256 * 1024]
    assert not telemetry.wanted


def test_levels_of_a_log_in_json_hide_nothing_from_subscribers(listener):
    logging = LoggingConfiguration(log_format="JSON", system_log_level="WARN")
    configuration = FunctionConfiguration("fn", HANDLERS, "a.b", logging=logging)
    uri = f"http://127.0.0.1:{listener.server.server_port}"
    telemetry = Telemetry()
    telemetry.subscribe(wanted(types=["platform"], destination={"protocol": "HTTP", "URI": uri}))
    assert ToldFormat(log_format(configuration), telemetry, configuration).start("id-1") == ()
    telemetry.close(10.0)
    assert [event["type"] for event in listener.wait(2)] == ["platform.telemetrySubscription", "platform.start"]
