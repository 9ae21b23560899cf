"""Dead letters in a file: JSON lines that survive crashes, rotation and a full disk."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
from pathlib import Path

import pytest

from poller.destinations.file import FileDestination
from poller.errors import DestinationError
from poller.model import DeadLetter


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dead-letters.jsonl"


def test_each_letter_is_one_line_also_when_its_json_has_line_feeds(path: Path) -> None:
    FileDestination(path).send([DeadLetter(b'{\n"a": 1\n}'), DeadLetter(b"{}")])
    first, second = path.read_bytes().splitlines()
    assert json.loads(first) == {"a": 1}
    assert second == b"{}"


def test_lines_are_appended(path: Path) -> None:
    path.write_bytes(b"{}\n")
    FileDestination(path).send([DeadLetter(b'{"a":1}')])
    assert path.read_bytes() == b'{}\n{"a":1}\n'


def test_after_half_a_line_of_a_crash_a_new_line_begins(path: Path) -> None:
    path.write_bytes(b'{}\n{"half')
    FileDestination(path).send([DeadLetter(b'{"a":1}')])
    assert path.read_bytes().splitlines()[1:] == [b'{"half', b'{"a":1}']


def test_a_file_that_was_moved_away_is_made_anew(path: Path) -> None:
    destination = FileDestination(path)
    destination.send([DeadLetter(b'{"a":1}')])
    path.rename(path.with_suffix(".1"))
    destination.send([DeadLetter(b'{"a":2}')])
    assert path.read_bytes() == b'{"a":2}\n'


def test_file_and_folder_are_on_the_disk_before_send_returns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(Path(f"/proc/self/fd/{descriptor}").readlink()))
    destination = FileDestination(path)
    destination.send([DeadLetter(b"{}")])
    assert synced == [path, path.parent]
    destination.send([DeadLetter(b"{}")])
    assert synced[2:] == [path]


def test_a_write_that_takes_only_a_part_is_continued(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    FileDestination(path).send([DeadLetter(b'{"long":"enough"}')])
    assert path.read_bytes() == b'{"long":"enough"}\n'


def test_a_line_that_another_poller_is_writing_is_waited_for(path: Path) -> None:
    # Else half of it would be taken for what a crash left, and an empty line would follow it.
    with path.open("ab", buffering=0) as others:
        fcntl.flock(others, fcntl.LOCK_EX)
        others.write(b'{"half":')
        sending = threading.Thread(target=FileDestination(path).send, args=([DeadLetter(b'{"a":1}')],))
        sending.start()
        sending.join(0.2)
        others.write(b"1}\n")
        fcntl.flock(others, fcntl.LOCK_UN)
    sending.join()
    assert path.read_bytes() == b'{"half":1}\n{"a":1}\n'


def test_a_file_system_without_locks_will_do(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    FileDestination(path).send([DeadLetter(b"{}")])
    assert path.read_bytes() == b"{}\n"


def test_a_full_disk_is_told_and_what_it_left_is_kept_apart(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write

    def fill(descriptor: int, data: bytes) -> int:
        if len(data) < 8:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[:6])

    destination = FileDestination(path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fill)
        with pytest.raises(DestinationError, match="No space left on device"):
            destination.send([DeadLetter(b'{"a":1}')])
    destination.send([DeadLetter(b'{"a":1}')])
    assert path.read_bytes().splitlines() == [b'{"a":1', b'{"a":1}']


@pytest.mark.parametrize("where", ["missing/file", "."])
def test_what_cannot_be_written_is_told_with_its_path(tmp_path: Path, where: str) -> None:
    with pytest.raises(DestinationError, match="cannot be written to the file"):
        FileDestination(tmp_path / where).send([DeadLetter(b"{}")])
