"""Deployment packages: what is unpacked, what is refused, and what is left when one is not wanted (A.2, A.7)."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest
from packages import linked, zip_of

from poller.account import folders, packages
from poller.account.folders import Folders
from poller.account.packages import BROKEN, Packages
from poller.api_errors import ApiError
from poller.errors import StateError

APP = ("app.py", "def handler(event, context): ...\n")


@pytest.fixture
def store(tmp_path: Path) -> Packages:
    return Packages(tmp_path / "state")


def left_in(tmp_path: Path) -> list[str]:
    """Names in the store."""
    folder = tmp_path / "state" / "code"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_zip_is_unpacked_into_a_folder_of_its_hash_that_is_nobody_elses(store: Packages, tmp_path: Path) -> None:
    content = zip_of(APP, ("deep/er/data.txt", "x"))
    package = store.add_zip(content)
    assert (package.folder / "app.py").read_text() == APP[1]
    assert (package.folder / "deep/er/data.txt").read_text() == "x"
    assert package.size == len(content)
    assert package.folder == tmp_path / "state" / "code" / package.sha256
    folders = (package.folder, *package.folder.parents[:2])
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in folders] == [0o700] * 3
    assert store.zip_of(package.sha256).read_bytes() == content


def test_a_program_in_a_zip_can_be_run(store: Packages) -> None:
    entry = zipfile.ZipInfo("tool")
    entry.external_attr = 0o755 << 16
    package = store.add_zip(zip_of((entry, b"#!/bin/sh\n"), APP))  # type: ignore[arg-type]
    assert [stat.S_IMODE((package.folder / name).stat().st_mode) for name in ("tool", "app.py")] == [0o755, 0o644]


def test_the_same_zip_is_unpacked_once(store: Packages) -> None:
    first = store.add_zip(zip_of(APP))
    mark = first.folder / "mark"
    mark.touch()
    assert store.add_zip(zip_of(APP)) == first
    assert mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no zip",
        zip_of(APP)[:-30],
        zip_of(("../out.py", "x")),
        zip_of(("a/../../out.py", "x")),
        zip_of(("/etc/out.py", "x")),
        zip_of(("..\\out.py", "x")),
        zip_of(("a", "x"), ("a/b", "x")),
        zip_of(("n" * 300, "x")),
        linked("out", "/etc"),
        linked("out", "../.."),
        linked("out", "..", ("out/app.py", "x")),
        linked("a/b", "c/../../..", ("a/c/app.py", "x")),
        linked("loop", "loop"),
        linked("app.py", "", ("other.py", "x")),
    ],
    ids=range(15),
)
def test_a_zip_that_is_broken_or_leads_out_of_its_folder_is_refused_and_leaves_nothing(
    store: Packages, tmp_path: Path, content: bytes
) -> None:
    with pytest.raises(ApiError) as caught:
        store.add_zip(content)
    assert (caught.value.status, caught.value.type, caught.value.text) == (
        400,
        "InvalidParameterValueException",
        BROKEN,
    )
    assert left_in(tmp_path) == []
    assert not (tmp_path / "out.py").exists()


def test_a_link_within_the_package_is_one(store: Packages) -> None:
    package = store.add_zip(linked("lib/current", "../versions/1", ("versions/1/app.py", "x")))
    assert (package.folder / "lib/current/app.py").read_text() == "x"
    assert (package.folder / "lib/current").is_symlink()


def test_a_file_is_not_written_through_a_link_of_the_same_zip(store: Packages, tmp_path: Path) -> None:
    with pytest.raises(ApiError):
        store.add_zip(linked("app.py", "other.py", ("ppp.py", "x"), ("other.py", "y")).replace(b"ppp.py", b"app.py"))
    assert left_in(tmp_path) == []


def test_a_bomb_is_unpacked_no_further_than_the_limit(
    store: Packages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "MAXIMUM_UNZIPPED", 2 * 1024 * 1024)
    content = zip_of(*((f"{number}.bin", bytes(1024 * 1024)) for number in range(3)))
    assert len(content) < 10_000
    with pytest.raises(ApiError, match="Unzipped size must be smaller than 262144000 bytes"):
        store.add_zip(content)
    assert left_in(tmp_path) == []


def test_too_many_files_are_refused(store: Packages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "MAXIMUM_ENTRIES", 3)
    with pytest.raises(ApiError, match="more than 3 files"):
        store.add_zip(zip_of(*((str(number), "") for number in range(4))))
    assert left_in(tmp_path) == []


def test_a_zip_above_the_limit_of_the_api_is_refused(store: Packages) -> None:
    with pytest.raises(ApiError) as caught:
        store.add_zip(bytes(packages.MAXIMUM_ZIPPED + 1))
    assert (caught.value.status, caught.value.type) == (413, "RequestEntityTooLargeException")
    assert caught.value.text == "Zipped size must be smaller than 52428800 bytes"


def test_what_nothing_runs_on_is_removed_and_what_a_call_works_on_stays(store: Packages, tmp_path: Path) -> None:
    used, held, free = (store.add_zip(zip_of((name, "x"))) for name in ("used", "held", "free"))
    store.let_go(used)
    store.let_go(free)
    store.collect({str(used.folder), "/elsewhere"})
    assert left_in(tmp_path) == sorted(f"{item.sha256}{end}" for item in (used, held) for end in ("", ".zip"))


def test_what_a_killed_start_was_unpacking_is_removed(store: Packages, tmp_path: Path) -> None:
    (tmp_path / "state" / "code" / ".new-1" / "deep").mkdir(parents=True)
    store.clean()
    assert left_in(tmp_path) == []


def test_a_folder_is_known_by_its_contents_and_its_copy_stays_as_it_was(store: Packages, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "app.py").write_text("one")
    (source / "deep" / "data").write_text("x")
    measured = store.folders.measured
    before = measured(source)
    copy = store.add_folder(source)
    (source / "app.py").write_text("two")
    again = measured(copy.folder)
    assert (copy.sha256, copy.size) == (before.sha256, before.size) == (again.sha256, again.size)
    assert copy.size == 4
    assert measured(source).sha256 != before.sha256
    assert (copy.folder / "app.py").read_text() == "one"


def test_a_folder_that_is_not_there_or_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = Folders().measured
    with pytest.raises(ApiError, match="There is no folder"):
        measured(tmp_path / "missing")
    (tmp_path / "large").write_bytes(bytes(11))
    monkeypatch.setattr(folders, "MAXIMUM_UNZIPPED", 10)
    with pytest.raises(ApiError, match="Unzipped size must be smaller than 10 bytes"):
        measured(tmp_path)


def test_links_of_a_folder_are_followed_and_none_of_them_for_ever(store: Packages, tmp_path: Path) -> None:
    source, other = tmp_path / "source", tmp_path / "other"
    for folder in (source, other):
        folder.mkdir()
    (other / "lib.py").write_text("x")
    (source / "other").symlink_to(other)
    assert store.folders.measured(source).size == 1
    assert (store.add_folder(source).folder / "other" / "lib.py").read_text() == "x"
    (other / "round").symlink_to(source)
    assert store.folders.measured(source).size == 1
    with pytest.raises(ApiError, match="cannot be copied"):
        store.add_folder(other)


def test_a_state_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(StateError, match="state/code cannot be used"):
        Packages(tmp_path / "state").add_zip(zip_of(APP))
