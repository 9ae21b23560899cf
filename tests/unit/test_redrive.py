"""The redrive: in order, at a rate, each letter once, and sums that are checked."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from templates import BROKER, _transform_in_process, document, load, write  # noqa: F401 - a fixture

from poller.cli import main
from poller.cli_options import ExitCode
from poller.dead_letters import command, display, ledger
from poller.dead_letters.filters import Filter
from poller.dead_letters.kafka_client import Cluster
from poller.dead_letters.letter import KafkaOriginal, KafkaPlace, Letter, LetterRefusedError, LettersError
from poller.dead_letters.places import Places, Queue, Topic, places
from poller.dead_letters.redrive import LONGEST_PAUSE, MAXIMUM_BYTES, Pace, Tally, dry_run, redrive
from poller.endpoints import FileTarget
from poller.errors import ConfigError


def letter(number: int, **changes: Any) -> Letter:
    original = KafkaOriginal(KafkaPlace("t", 0, number), b"k", b"v")
    fields: dict[str, Any] = {"id": f"0:{number}", "originals": (original,), "error_type": "E", **changes}
    return Letter(**fields)


class Box:
    """Letters in memory."""

    where = "the box"

    def __init__(self, *letters: Letter) -> None:
        self.held = letters

    def survey(self, wanted: Filter) -> int:
        return len(self.held)

    def letters(self, wanted: Filter, *, redriven: bool = False) -> Iterator[Letter]:
        return (item for item in self.held if wanted.matches(item))

    def find(self, letter: str) -> Letter | None:
        return None

    def close(self) -> None:
        pass


class Brokers:
    """A delivery that refuses or fails as it is told, and brokers that remember."""

    def __init__(self, *, most: int = 3, refused: Sequence[str] = (), fails_at: str = "", unmarked: int = 0) -> None:
        self.calls: list[list[str]] = []
        self.beats = 0
        self._most, self._refused, self._fails_at, self._unmarked = most, refused, fails_at, unmarked

    @property
    def delivered(self) -> list[str]:
        return [name for call in self.calls for name in call]

    def complete(self, letter: Letter) -> Letter:
        return letter

    def together(self, letter: Letter) -> int:
        return self._most

    def deliver(self, letters: Sequence[Letter]) -> int:
        names = [item.id for item in letters]
        if self._fails_at in names:
            raise LettersError("the broker is gone")
        if set(self._refused) & set(names):
            raise LetterRefusedError("too large")
        self.calls.append(names)
        return len(names)

    def marked(self, expected: int) -> int:
        return len(self.delivered) - self._unmarked

    def beat(self) -> None:
        self.beats += 1


class Clock:
    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def run(brokers: Brokers, *letters: Letter, wanted: Filter | None = None, **pace: Any) -> Tally:
    clock = pace.pop("clock", None) or Clock()
    return redrive(Box(*letters), brokers, wanted or Filter(), Pace(clock, clock.sleep, **pace), lambda _: None)


# --- the loop ---------------------------------------------------------------------------------------------------------


def test_letters_are_redriven_in_order_and_together_where_that_is_allowed() -> None:
    brokers = Brokers(most=3)
    tally = run(brokers, *map(letter, range(7)))
    assert brokers.calls == [["0:0", "0:1", "0:2"], ["0:3", "0:4", "0:5"], ["0:6"]]
    assert (tally.letters, tally.sent, tally.confirmed, tally.marked, tally.is_right) == (7, 7, 7, 7, True)


def test_one_that_is_refused_stays_and_its_neighbours_go() -> None:
    brokers = Brokers(most=3, refused=["0:1"])
    tally = run(brokers, *map(letter, range(4)))
    assert brokers.delivered == ["0:0", "0:2", "0:3"]
    assert [(item.id, reason) for item, reason in tally.left] == [("0:1", "too large")]
    assert not tally.is_right


def test_what_is_no_dead_letter_stays_and_is_no_failure() -> None:
    tally = run(Brokers(), letter(0), letter(1, originals=(), problem="unknown"))
    assert (tally.letters, len(tally.left), tally.is_right) == (1, 1, True)


def test_a_broker_that_fails_ends_the_redrive_with_sums_that_show_it() -> None:
    brokers = Brokers(most=2, fails_at="0:3")
    tally = run(brokers, *map(letter, range(6)))
    assert (tally.letters, tally.confirmed, tally.marked, tally.failed) == (4, 2, 2, "the broker is gone")
    assert not tally.is_right


def test_letters_that_the_broker_does_not_say_are_marked_are_missed() -> None:
    tally = run(Brokers(unmarked=1), letter(0), letter(1))
    assert (tally.letters, tally.marked, tally.failed, tally.is_right) == (2, 1, "", False)


def test_an_interruption_ends_it_between_two_deliveries() -> None:
    class Interrupted(Brokers):
        def deliver(self, letters: Sequence[Letter]) -> int:
            if self.calls:
                raise KeyboardInterrupt
            return super().deliver(letters)

    tally = run(Interrupted(most=1), *map(letter, range(3)))
    assert (tally.letters, tally.marked, tally.interrupted) == (1, 1, True)


def test_a_limit_bounds_what_is_redriven_not_what_is_looked_at() -> None:
    brokers = Brokers()
    run(brokers, letter(0, originals=(), problem="unknown"), *map(letter, range(1, 9)), limit=4)
    assert brokers.delivered == ["0:1", "0:2", "0:3", "0:4"]


def test_what_stands_alone_does_not_wait_with_others() -> None:
    class Mixed(Brokers):
        def together(self, letter: Letter) -> int:
            return 1 if letter.id == "0:1" else 3

    brokers = Mixed()
    run(brokers, *map(letter, range(4)))
    assert brokers.calls == [["0:0"], ["0:1"], ["0:2", "0:3"]]


def test_large_letters_are_not_piled_up() -> None:
    brokers = Brokers(most=100)
    place = KafkaPlace("t", 0, 0)
    heavy = (KafkaOriginal(place, None, b"x" * (MAXIMUM_BYTES // 2)),)
    run(brokers, *(letter(number, originals=heavy) for number in range(4)))
    assert [len(call) for call in brokers.calls] == [2, 2]


def test_a_long_list_keeps_keys_and_numbers_of_records_only() -> None:
    slim = letter(7).without_contents()
    assert (slim.size, slim.keys, slim.length) == (1, {b"k"}, 0)


def test_the_rate_is_kept_with_signs_of_life_in_between() -> None:
    clock, brokers = Clock(), Brokers(most=100)
    run(brokers, *map(letter, range(5)), clock=clock, rate=0.2)  # one in 5 s
    assert len(brokers.calls) == 5
    assert clock.now == 120.0
    assert max(clock.slept) <= LONGEST_PAUSE
    assert brokers.beats == len(clock.slept)


def test_a_dry_run_delivers_nothing() -> None:
    brokers = Brokers()
    tally = dry_run(Box(letter(0), letter(1, originals=(), problem="unknown"), letter(2)), brokers, Filter(), None)
    assert (tally.letters, tally.sent, len(tally.left), brokers.calls) == (2, 2, 1, [])
    assert dry_run(Box(*map(letter, range(5))), brokers, Filter(), 2).letters == 2


# --- the ledger -------------------------------------------------------------------------------------------------------


@given(st.sets(st.integers(0, 300), min_size=1))
def test_an_entry_of_the_ledger_names_the_offsets_that_were_put_into_it(offsets: set[int]) -> None:
    key, value, headers = ledger.encode(ledger.entry_of("run-1", offsets))
    found = ledger.decode(max(offsets) + 1, key, value, headers)
    assert found is not None
    assert (found.run, set(found.offsets)) == ("run-1", offsets)


@pytest.mark.parametrize(
    ("offset", "key", "value", "headers"),
    [
        (9, b"poller.redriven/1", b'{"redriven":[[1,2]]}', [("poller.redriven", b"r"), ("trace", b"1")]),
        (9, b"poller.redriven/2", b'{"redriven":[[1,2]]}', [("poller.redriven", b"r")]),
        (9, None, b'{"redriven":[[1,2]]}', [("poller.redriven", b"r")]),
        (2, b"poller.redriven/1", b'{"redriven":[[1,2]]}', [("poller.redriven", b"r")]),
        (9, b"poller.redriven/1", b'{"redriven":[[1,99999999999]]}', [("poller.redriven", b"r")]),
        (9, b"poller.redriven/1", b'{"redriven":[[1,true]]}', [("poller.redriven", b"r")]),
        (9, b"poller.redriven/1", b'{"redriven":[[3,1]]}', [("poller.redriven", b"r")]),
        (9, b"poller.redriven/1", b'{"redriven":[]}', [("poller.redriven", b"r")]),
        (9, b"poller.redriven/1", b'{"requestContext":{}}', [("poller.redriven", b"r")]),
        (9, b"poller.redriven/1", b"\xff", [("poller.redriven", b"\xff")]),
        (9, b"poller.redriven/1", b"[" * 100_000, [("poller.redriven", None)]),
    ],
)
def test_a_record_that_only_looks_like_an_entry_hides_no_letter(
    offset: int, key: bytes | None, value: bytes, headers: Any
) -> None:
    assert ledger.decode(offset, key, value, headers) is None


# --- where the letters are --------------------------------------------------------------------------------------------


def no_template() -> Any:
    raise AssertionError("a URL needs no template")


@pytest.mark.parametrize(
    ("url", "queue", "expected"),
    [
        ("kafka://h:9092,i:9092/dead", None, Places(Topic(Cluster(("h:9092", "i:9092")), "dead"))),
        ("amqp://u:p@h//dead", None, Queue("amqp://u:p@h:5672/%2F", "dead")),
        ("amqps://u:p@h/v%2F1//dead%20ones", None, Queue("amqps://u:p@h:5671/v%2F1", "dead ones")),
        ("amqp://u:p@h:1", "dead", Queue("amqp://u:p@h:1/%2F", "dead")),
        ("amqp://u:p@h:1/v", "dead", Queue("amqp://u:p@h:1/v", "dead")),
    ],
)
def test_a_url_names_the_letters(url: str, queue: str | None, expected: Any) -> None:
    if isinstance(expected, Queue):
        expected = Places(expected, rabbitmq_url=expected.url)
    assert places(url, no_template, queue=queue) == expected


@pytest.mark.parametrize(
    ("url", "queue", "told"),
    [
        ("http://h/x", None, "TARGET: is no place of dead letters"),
        ("kafka://dead", None, "must have the form kafka://host:9092/topic"),
        ("kafka://h:9092/dead", "q", "must have the form amqp://"),
        ("amqp://h//dead", None, "holds no login"),
        ("amqp://u:secret@h/exchange/key", None, "does not tell its queues (name the queue it brings them to: --queue"),
        ("amqp://u:secret@h", None, "must have the form"),
    ],
)
def test_a_url_that_names_none_is_told_without_its_password(url: str, queue: str | None, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        places(url, no_template, queue=queue)
    assert told in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_mapping_s_letters_are_in_its_on_failure_destination(tmp_path: Path) -> None:
    destination = {"DestinationConfig": {"OnFailure": {"Destination": "kafka://dead"}}}
    pollers = {"ProvisionedPollerConfig": {"MinimumPollers": 1, "MaximumPollers": 1}}
    template = load(tmp_path, document(readings={**destination, **pollers}))
    found, cluster = places("Telemetry.Readings", lambda: template), Cluster(("127.0.0.1:19092",))
    assert found == Places(Topic(cluster, "dead"), cluster)


def test_an_mq_mapping_s_letters_are_in_a_queue_that_has_to_be_named(tmp_path: Path) -> None:
    template = load(tmp_path, document())
    url = "amqp://guest:top-secret@127.0.0.1:5672/%2F"
    assert places("Tasks.Queue", lambda: template, queue="dead") == Places(Queue(url, "dead"), None, url)
    with pytest.raises(ConfigError, match=r"dead-letter exchange of tasks .*--queue NAME"):
        places("Tasks.Queue", lambda: template)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Telemetry.Reading", "did you mean Telemetry.Readings?"),
        ("nothing", "mappings of FOLDER/template.yaml: Telemetry.Readings, Tasks.Queue; or give a URL"),
        ("Telemetry.Readings", "has no on-failure destination, so there are no dead letters"),
    ],
)
def test_a_mapping_that_is_not_there_or_has_no_letters_is_told(name: str, told: str, tmp_path: Path) -> None:
    template = load(tmp_path, document())
    with pytest.raises(ConfigError) as caught:
        places(name, lambda: template)
    assert told in str(caught.value).replace(str(tmp_path), "FOLDER")


def test_the_origin_can_be_named(tmp_path: Path) -> None:
    assert places("kafka://h:9092/dead", no_template, origin="kafka://o:9092").cluster == Cluster(("o:9092",))
    assert places("kafka://h:9092/dead", no_template, origin="amqp://u:p@o/v").rabbitmq_url == "amqp://u:p@o:5672/v"
    with pytest.raises(ConfigError, match="--origin: must have the form kafka://"):
        places("kafka://h:9092/dead", no_template, origin="o:9092")


def test_a_file_is_a_place_too(tmp_path: Path) -> None:
    assert places(f"file:{tmp_path}/dead.jsonl", no_template) == Places(FileTarget(tmp_path / "dead.jsonl"))


# --- the command line -------------------------------------------------------------------------------------------------


LINE = {
    "requestContext": {"condition": "RetryAttemptsExhausted", "approximateInvokeCount": 3, "functionArn": "a:orders"},
    "responseContext": {"functionError": "Unhandled"},
    "timestamp": "2025-11-25T10:00:00.000Z",
    "KafkaBatchInfo": {"bootstrapServers": "h:9092", "recordsInfo": {}},
    "payload": json.dumps(
        {
            "records": {
                "orders-0": [
                    {
                        "topic": "orders",
                        "partition": 0,
                        "offset": 5,
                        "key": "azE=",
                        "value": "eyJhIjogMX0=",
                        "headers": [],
                    },
                    {"topic": "orders", "partition": 0, "offset": 6, "value": "G1szMW0=", "headers": [{"h": [-1]}]},
                ]
            }
        }
    ),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "dead.jsonl"
    path.write_text(json.dumps(LINE) + "\n\nno letter\n")
    return path


def test_the_letters_of_a_file_are_listed_in_a_table(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dead-letters", "list", f"file:{file}"]) == ExitCode.OK
    out, err = capsys.readouterr()
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["Letter", "Origin", "Error", "Attempts", "Age", "Key"]
    assert rows[1][:6] == ["1", "orders-0", "5..6", "Unhandled", "3", rows[1][5]]
    assert rows[2] == ["3", "unknown", "unknown"]
    assert err == f"2 letters from the file {file}\n"


def test_a_letter_is_shown_without_its_control_characters(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dead-letters", "show", f"file:{file}", "1"]) == ExitCode.OK
    out = capsys.readouterr().out
    assert "record     orders-0 5\n  key      k1\n" in out
    assert '  value    {\n             "a": 1\n           }\n' in out
    assert "  header   h: base64 /w==\n" in out
    assert "\x1b" not in out


@pytest.mark.parametrize("action", [["redrive"], ["redrive", "--dry-run"], ["purge", "--yes"]])
def test_the_letters_of_a_file_stay_where_they_are(
    action: list[str], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dead-letters", action[0], f"file:{file}", *action[1:]]) == ExitCode.BAD_CONFIGURATION
    assert "poller: TARGET: letters of a file cannot be" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dead-letters", "list", f"file:{tmp_path}/none"]) == ExitCode.FAILED
    assert capsys.readouterr().err == f"poller: the file {tmp_path}/none cannot be read: No such file or directory\n"


def test_wrong_times_are_all_told(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["dead-letters", "list", f"file:{file}", "--since", "soon", "--until", "later"]
    assert main(arguments) == ExitCode.BAD_CONFIGURATION
    err = capsys.readouterr().err
    assert "--since: 'soon' is neither a time" in err
    assert "--until: 'later' is neither a time" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "file:x", "--limit", "0"],
        ["redrive", "file:x", "--rate", "-1"],
        ["redrive", "file:x", "--rate", "inf"],
        ["redrive", "file:x", "--rate", "nan"],
        ["redrive", "file:x", "--rate", "fast"],
    ],
)
def test_limits_and_rates_are_above_zero(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["dead-letters", *arguments])
    assert caught.value.code == ExitCode.BAD_CONFIGURATION
    assert "is not a number above 0" in capsys.readouterr().err


def test_a_template_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["dead-letters", "list", "Telemetry.Readings", "--template", f"{tmp_path}/template.yaml"]
    assert main(arguments) == ExitCode.BAD_CONFIGURATION
    assert capsys.readouterr().err == f"poller: {tmp_path}/template.yaml: no such file (give --template PATH)\n"


def test_the_sums_of_a_redrive_are_told_with_what_stays() -> None:
    tally = Tally(letters=1, sent=2, confirmed=2, marked=1, left=[(letter(7), "too\nlarge")])
    assert list(display.tally_lines(tally, "the box", dry_run=False)) == [
        "redriven: 1 letter with 2 records from the box; sent 2, confirmed 2, marked 1 of 1",
        "left where they are: 1 letter",
        "  0:7  too large",
    ]
    assert next(display.tally_lines(tally, "the box", dry_run=True)) == (
        "would redrive 1 letter with 2 records from the box"
    )


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)
    with command._progress(10) as on_progress:
        on_progress(Tally(letters=4, left=[(letter(7), "too large")]))
    assert "redriving" in terminal.getvalue()
    assert "5/10" in terminal.getvalue()


def test_nothing_is_purged_when_nobody_can_be_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Purgeable(Box):
        def purge(self) -> int:
            raise AssertionError("purged")

    monkeypatch.setattr(command, "_box", lambda _: Purgeable(letter(0)))
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert main(["dead-letters", "purge", "kafka://h:9092/dead"]) == ExitCode.BAD_CONFIGURATION
    assert capsys.readouterr().err == "poller: --yes: is missing, and nobody can be asked: nothing was purged\n"


@pytest.mark.parametrize(("answer", "code", "out"), [("y", 0, "purged: 1 letter from the box\n"), ("", 1, "")])
def test_purge_asks(
    answer: str, code: int, out: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Asked(io.StringIO):
        def isatty(self) -> bool:
            return True

    class Purgeable(Box):
        def purge(self) -> int:
            return 1

    monkeypatch.setattr(command, "_box", lambda _: Purgeable(letter(0)))
    monkeypatch.setattr(sys, "stdin", Asked(f"{answer}\n"))
    assert main(["dead-letters", "purge", "kafka://h:9092/dead"]) == code
    said = capsys.readouterr()
    assert said.out == out
    assert said.err.startswith("Purge 1 letter from the box for ever? [y/N]\n")
