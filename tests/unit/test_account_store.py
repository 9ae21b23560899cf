"""What calls have made is on the disk before they are answered, all of it or nothing, and one service has it."""

import sqlite3
import subprocess
import sys

import pytest

from poller.account.documents import Change, ForgettingDocuments
from poller.account.store import FILE, StoredDocuments
from poller.errors import StateError, StateInUse


@pytest.fixture(params=["stored", "forgetting"])
def documents(request, tmp_path):
    if request.param == "forgetting":
        yield ForgettingDocuments()
        return
    stored = StoredDocuments(tmp_path / "state")
    yield stored
    stored.close()


def test_what_is_put_is_found_by_kind_in_the_order_in_which_it_came(documents):
    documents.change([Change("Alias", "b", {"n": 1}), Change("Alias", "a", {"n": 2}), Change("Function", "a", {})])
    documents.change([Change("Alias", "b", {"n": 3})])
    assert list(documents.all("Alias").items()) == [("b", {"n": 3}), ("a", {"n": 2})]
    assert documents.all("Function") == {"a": {}}


def test_what_is_taken_away_is_gone_and_taking_it_away_again_is_no_error(documents):
    documents.change([Change("Alias", "a", {})])
    for _ in range(2):
        documents.change([Change("Alias", "a", None)])
    assert documents.all("Alias") == {}


def test_of_changes_that_cannot_all_be_made_none_is_made(documents):
    with pytest.raises(TypeError):
        documents.change([Change("Alias", "a", {}), Change("Alias", "b", {"not": {"json"}})])
    assert documents.all("Alias") == {}
    documents.change([Change("Alias", "c", {})])
    assert list(documents.all("Alias")) == ["c"]


def test_what_was_put_outlives_kill_9(tmp_path):
    text = (
        "import os, signal; from pathlib import Path; from poller.account.store import *; "
        f"d = StoredDocuments(Path({str(tmp_path)!r})); "
        "d.change([Change('Function', 'a', {'Handler': 'h.h'})]); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", text], check=False)
    documents = StoredDocuments(tmp_path)
    assert documents.all("Function") == {"a": {"Handler": "h.h"}}
    documents.close()


def test_a_second_service_is_told_who_has_the_account(tmp_path):
    first = StoredDocuments(tmp_path)
    with pytest.raises(StateInUse, match=r"in use by another poller \(process \d+\)"):
        StoredDocuments(tmp_path)
    first.close()
    StoredDocuments(tmp_path).close()


def test_the_file_is_for_its_owner_only(tmp_path):
    StoredDocuments(tmp_path / "state").close()
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "state" / FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"no database at all" * 100, None])
def test_a_file_that_is_none_of_ours_or_of_a_later_version_is_told_and_left_as_it_is(tmp_path, content):
    file = tmp_path / FILE
    if content is None:
        with sqlite3.connect(file) as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
    else:
        file.write_bytes(content)
    before = file.read_bytes()
    with pytest.raises(StateError, match=r"cannot be used .*what calls change is not kept"):
        StoredDocuments(tmp_path)
    assert file.read_bytes() == before or content is None
    file.unlink()
    StoredDocuments(tmp_path).close()
