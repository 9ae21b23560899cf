"""A function's process, its children and its extensions have 1,024 file descriptors (E.3)."""

import json
import os
import resource

import pytest
from handlers.rig import Function

WITHOUT_THE_PROTOCOLS = 1024 - 30
"""Some are open already."""


@pytest.fixture(params=["poller", "aws"])
def function(request):
    made = []

    def make(handler):
        made.append(Function(handler, runtime_client=request.param, timeout=20.0))
        return made[-1]

    yield make
    for one in made:
        one.environment.stop(grace=0)


def test_one_more_than_1024_descriptors_are_refused_with_emfile(function):  # E.3
    fn = function("greedy.open_files")
    for request_id in ("id-1", "id-2"):  # and the function goes on
        opened, failed = json.loads(fn.invoke(request_id=request_id).payload)
        assert WITHOUT_THE_PROTOCOLS < opened < 1024
        assert failed == "EMFILE"


def test_the_hard_limit_is_the_same_for_programs_that_raise_theirs_by_themselves(function):
    assert json.loads(function("greedy.limits").invoke().payload) == [1024, 1024]


def test_what_a_function_starts_has_the_limit_too(function):
    assert json.loads(function("greedy.limits_of_a_child").invoke().payload) == 1024


@pytest.fixture
def crowded():
    """Takes descriptors until the next one that is opened has the given number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []

    def take(following):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
        while not taken or taken[-1] < following - 1:
            taken.append(os.open(os.devnull, os.O_RDONLY))

    yield take
    for fd in taken:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("following", [1010, 1016, 1020, 1024, 1028, 1040])
def test_it_has_them_too_where_the_service_s_own_numbers_are_about_as_high(function, crowded, following):
    crowded(following)
    opened, failed = json.loads(function("greedy.open_files").invoke().payload)
    assert WITHOUT_THE_PROTOCOLS < opened < 1024
    assert failed == "EMFILE"
