"""Temporary folders (E.3) go with their process, also when it is killed: the next one removes what it left."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from waiting import eventually

from poller.runtime import temporary_folders
from poller.runtime.temporary_folders import LOCK, PREFIX, make_temporary_folder, remove_leftovers

MAKER = """
import sys
from poller.runtime.temporary_folders import make_temporary_folder
made = make_temporary_folder("Orders")
(made / "large").write_bytes(bytes(1000))
print(made, flush=True)
for line in sys.stdin:
    print(make_temporary_folder(line.strip()), flush=True)
"""


class Maker:
    """A process with a temporary folder below `place`."""

    def __init__(self, place: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", MAKER],
            env={**os.environ, "TMPDIR": str(place), "PYTHONPATH": str(Path(__file__).parents[2])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.folder = self._told()

    def make(self, name: str) -> Path:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{name}\n")
        self.process.stdin.flush()
        return self._told()

    def _told(self) -> Path:
        assert self.process.stdout is not None
        return Path(self.process.stdout.readline().strip())

    def end(self, number: int | None = None) -> None:
        if number is not None:
            self.process.send_signal(number)
        self.process.communicate()


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


def test_a_process_takes_its_folders_along(maker: Maker, tmp_path: Path) -> None:
    assert maker.folder.name.startswith("Orders-")
    assert maker.folder.parent.parent == tmp_path
    maker.end()
    assert [*tmp_path.iterdir()] == []


def test_what_a_killed_process_left_goes_with_the_first_folder_of_the_next(maker: Maker, tmp_path: Path) -> None:
    maker.end(signal.SIGKILL)
    assert (maker.folder / "large").exists()
    after = Maker(tmp_path)
    eventually(lambda: not maker.folder.parent.exists())
    assert (after.folder / "large").exists()
    after.end()


def test_folders_of_a_process_that_lives_stay(maker: Maker, tmp_path: Path) -> None:
    assert remove_leftovers(tmp_path) == 0
    assert (maker.folder / "large").exists()
    maker.end()


def test_a_folder_that_no_process_of_this_program_locked_stays(tmp_path: Path) -> None:
    mine = tmp_path / f"{PREFIX}of-mine"
    mine.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / LOCK).touch()
    (tmp_path / f"{PREFIX}link").symlink_to(tmp_path / "elsewhere")
    assert remove_leftovers(tmp_path) == 0
    assert mine.exists()
    assert (tmp_path / "elsewhere" / LOCK).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_stays(maker: Maker, tmp_path: Path) -> None:
    maker.end(signal.SIGKILL)
    os.chown(maker.folder.parent, 65534, 65534)
    assert remove_leftovers(tmp_path) == 0
    assert maker.folder.exists()
    os.chown(maker.folder.parent, 0, 0)
    assert remove_leftovers(tmp_path) == 1
    assert not maker.folder.parent.exists()


def test_what_cannot_be_removed_now_can_be_by_the_next(
    maker: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker.end(signal.SIGKILL)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", lambda *_, **__: None)  # a process that is just ending writes into it
        assert remove_leftovers(tmp_path) == 0
    assert (maker.folder.parent / LOCK).exists()
    assert remove_leftovers(tmp_path) == 1
    assert not maker.folder.parent.exists()


def test_who_removes_all_temporary_files_stops_nothing(maker: Maker) -> None:
    shutil.rmtree(maker.folder.parent)
    again = maker.make("Orders")
    assert again.is_dir()
    maker.end()


@pytest.mark.parametrize("removed", [True, False])
def test_a_folder_that_is_taken_for_a_leftover_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, removed: bool
) -> None:
    locks = []

    def flock(descriptor: int, how: int) -> None:
        locks.append(descriptor)
        if len(locks) == 1:
            (found,) = tmp_path.iterdir()
            shutil.rmtree(found)
            if not removed:
                raise BlockingIOError
        real(descriptor, how)

    real = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(temporary_folders, "_own", None)
    assert (make_temporary_folder("Orders").parent / LOCK).exists()


def test_nowhere_to_look_is_no_error(tmp_path: Path) -> None:
    assert remove_leftovers(tmp_path / "gone") == 0
