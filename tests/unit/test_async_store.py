"""Where asynchronous events wait: on the disk before they are accepted, and what holds when the disk does not."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from async_rig import Rig, in_file, lines
from waiting import eventually

from poller.async_invoke.configuration import AsyncConfiguration
from poller.async_invoke.rows import StoredEvent
from poller.async_invoke.store import Store
from poller.async_invoke.writer import Request, Writer
from poller.errors import StateError
from poller.policy.async_events import Standing

NOW = 1_764_064_800.0
UNPRIVILEGED = (
    # root may write anywhere, save without this capability
    ("setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override") if os.geteuid() == 0 else ()
)


def event(number: int = 0, *, function: str = "fn", due: float = NOW, payload: bytes = b"{}") -> StoredEvent:
    return StoredEvent(f"id-{number}", function, "", payload, Standing(NOW), due)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    one = Store(tmp_path / "state")
    yield one
    one.close()


def ids(found: list[StoredEvent]) -> list[str]:
    return [item.request_id for item in found]


def test_an_accepted_event_is_there_after_a_restart_as_it_was(store: Store, tmp_path: Path) -> None:
    given = StoredEvent("id", "fn", "live", b'{"\xc3\xbc":1}', Standing(NOW, 1, 2), NOW, '{"a":1}', 3)
    store.accept(given)
    store.close()
    again = Store(tmp_path / "state")
    [found] = again.due("fn", NOW, 10, ())
    again.close()
    assert found.values() == given.values()


def test_events_come_in_the_order_in_which_they_are_due(store: Store) -> None:
    for number, due in enumerate([NOW + 3, NOW + 1, NOW + 2, NOW + 9]):
        store.accept(event(number, due=due))
    store.accept(event(9, function="other"))
    assert ids(store.due("fn", NOW + 5, 10, ())) == ["id-1", "id-2", "id-0"]
    [first] = store.due("fn", NOW + 5, 1, ())
    assert ids(store.due("fn", NOW + 5, 1, {first.id})) == ["id-2"]
    assert store.next_due("fn", {first.id}) == NOW + 2
    assert store.next_due("nobody", ()) is None
    assert sorted(store.functions()) == ["fn", "other"]


def test_a_clock_that_was_set_back_makes_nothing_wait_longer_than_a_pause(store: Store) -> None:
    store.accept(event(due=NOW + 86_400))
    written = threading.Event()
    store.bring_forward(NOW + 300, written.set)
    assert written.wait(10)
    assert store.next_due("fn", ()) == NOW + 300


def test_what_many_accept_at_the_same_time_goes_into_few_transactions(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "db", isolation_level=None, check_same_thread=False)
    connection.execute("CREATE TABLE t (n)")
    commits: list[str] = []
    connection.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
    writer = Writer(connection)
    done: list[object] = []
    for number in range(100):
        writer.submit(Request([("INSERT INTO t VALUES (?)", (number,))], done.append))
    writer.start()
    writer.close()
    assert done == [None] * 100
    assert len(commits) == 1
    assert not writer.submit(Request([], done.append)), "nothing is taken that would never be written"


def test_one_request_that_fails_takes_none_of_the_others_with_it(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "db", isolation_level=None, check_same_thread=False)
    connection.execute("CREATE TABLE t (n UNIQUE)")
    writer = Writer(connection)
    done: list[Exception | None] = []
    for number in (1, 2, 1, 3):
        writer.submit(Request([("INSERT INTO t VALUES (?)", (number,))], done.append))
    writer.start()
    writer.close()
    assert [error is None for error in done] == [True, True, False, True]
    check = sqlite3.connect(tmp_path / "db")
    assert check.execute("SELECT n FROM t").fetchall() == [(1,), (2,), (3,)]
    check.close()


def test_what_has_to_be_written_is_tried_until_it_is_while_others_go_on(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "db", isolation_level=None, check_same_thread=False)
    connection.execute("CREATE TABLE t (n)")
    writer = Writer(connection)
    writer.start()
    written, other = threading.Event(), threading.Event()
    writer.submit(Request([("INSERT INTO later VALUES (1)", ())], lambda _: written.set(), must=True))
    writer.submit(Request([("CREATE TABLE later (n)", ())], lambda _: other.set()))
    assert other.wait(10)
    assert written.wait(10)
    writer.close()


def test_concurrent_senders_lose_nothing(store: Store) -> None:
    with ThreadPoolExecutor(16) as senders:
        list(senders.map(lambda number: store.accept(event(number)), range(500)))
    assert len(store.due("fn", NOW, 1000, ())) == 500


def test_a_value_that_cannot_be_stored_is_refused_and_the_next_event_is_not(store: Store) -> None:
    with pytest.raises(StateError, match="surrogates not allowed"):
        store.accept(StoredEvent("id", "fn", "\ud800", b"{}", Standing(NOW), NOW))
    store.accept(event(1))
    assert ids(store.due("fn", NOW, 10, ())) == ["id-1"]


# --- faults ---------------------------------------------------------------------------------------------------------

FULL_DISK = """
import json, resource, sys
from pathlib import Path
sys.path[:0] = json.loads(sys.argv[2])
from poller.async_invoke.rows import StoredEvent
from poller.async_invoke.store import Store
from poller.errors import StateError
from poller.policy.async_events import Standing

store = Store(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, resource.RLIM_INFINITY))
accepted, refused = [], ""
for number in range(100):
    try:
        store.accept(StoredEvent(f"id-{number}", "fn", "", b"x" * 100_000, Standing(0.0), 0.0))
    except StateError as error:
        refused = str(error)
        break
    accepted.append(f"id-{number}")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.accept(StoredEvent("later", "fn", "", b"{}", Standing(0.0), 0.0))
store.close()
print(json.dumps({"accepted": accepted, "refused": refused}))
"""


def test_on_a_full_disk_events_are_refused_and_those_before_and_after_are_kept(tmp_path: Path) -> None:
    """No file of the process may grow past 2 MB for a while: what a full disk looks like to SQLite."""
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "state"), json.dumps(sys.path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert "cannot be used (" in told["refused"]
    assert "asynchronous events are refused" in told["refused"]
    assert 5 < len(told["accepted"]) < 100
    again = Store(tmp_path / "state")
    found = ids(again.due("fn", NOW, 1000, ()))
    again.close()
    assert found == [*told["accepted"], "later"]


READ_ONLY = """
import json, sys
from pathlib import Path
sys.path[:0] = json.loads(sys.argv[2])
from poller.async_invoke.store import Store
from poller.errors import StateError

try:
    Store(Path(sys.argv[1]))
except StateError as error:
    print(error)
"""


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o500)
    command = [*UNPRIVILEGED, sys.executable, "-c", READ_ONLY, str(tmp_path / "state"), json.dumps(sys.path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert "cannot be used (Permission denied)" in ran.stdout, ran.stderr
    assert "StateFolder" in ran.stdout


@pytest.mark.parametrize("trouble", ["a file is in the way", "a folder below a file"])
def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path, trouble: str) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "state" if "below" in trouble else tmp_path / "file"
    with pytest.raises(StateError, match=r"cannot be used \(Not a directory\).*StateFolder"):
        Store(folder)


def damaged(folder: Path) -> None:
    (folder / "async.sqlite3").write_bytes(b"no database " * 1000)


def of_another_version(folder: Path) -> None:
    connection = sqlite3.connect(folder / "async.sqlite3")
    connection.execute("PRAGMA user_version = 99")
    connection.close()


@pytest.mark.parametrize(
    ("trouble", "text"), [(damaged, "file is not a database"), (of_another_version, "it is of version 99")]
)
def test_a_file_that_is_not_ours_is_refused_and_left_alone(tmp_path: Path, trouble, text: str) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    trouble(folder)
    before = (folder / "async.sqlite3").read_bytes()
    rig = Rig(tmp_path)
    rig.add("fn")
    rig.start()  # told in the log; mappings, if there were any, go on
    for _ in range(2):
        with pytest.raises(StateError, match=text):
            rig.accept("fn", {})
    assert rig.invoker.alive()
    rig.stop()
    assert (folder / "async.sqlite3").read_bytes() == before


def test_an_event_whose_pages_are_damaged_holds_up_its_own_function_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path / "state")
    store.accept(event(function="broken", payload=b'"' + b"b" * 100_000 + b'"'))
    store.close()
    file = tmp_path / "state" / "async.sqlite3"
    content = bytearray(file.read_bytes())
    page = next(at for at in range(0, len(content), 4096) if content[at + 4 : at + 4096] == b"b" * 4092)
    content[page : page + 4] = b"\xff\xff\xff\xff"  # the number of the page on which the payload goes on
    file.write_bytes(content)
    rig = Rig(tmp_path)
    rig.add("broken")
    rig.add("sound")
    rig.start()
    eventually(lambda: "cannot be read: database disk image is malformed" in caplog.text)
    rig.accept("sound", {"number": 1})
    eventually(lambda: rig.attempts("sound"))
    assert rig.invoker.alive()
    rig.stop()
    assert rig.waiting() == 1, "nothing is thrown away"


def test_an_end_that_cannot_be_written_is_written_later_and_the_record_arrives(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Another process holds the write lock for longer than the service waits for it."""
    import poller.async_invoke.store as module

    rig = Rig(tmp_path)
    rig.add("fn", AsyncConfiguration(on_success=in_file(tmp_path / "done")))
    before, module.BUSY_TIMEOUT = module.BUSY_TIMEOUT, 0.05
    try:
        rig.start()
        rig.accept("fn", {"wait_for": str(tmp_path / "gate")})
    finally:
        module.BUSY_TIMEOUT = before
    eventually(lambda: rig.attempts("fn"))
    other = sqlite3.connect(tmp_path / "state" / "async.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    (tmp_path / "gate").touch()
    eventually(lambda: "the state cannot be written (database is locked)" in caplog.text)
    with pytest.raises(StateError, match="database is locked"):
        rig.accept("fn", {})
    other.execute("ROLLBACK")
    other.close()
    assert len(eventually(lambda: lines(tmp_path / "done"))) == 1
    eventually(lambda: not rig.waiting())
    assert len(rig.attempts("fn")) == 1
    rig.stop()
