"""An event that lies ahead is begun by its process or taken back, never both."""

import os

import pytest

from poller.runtime.claims import SLOTS, Claims


@pytest.fixture
def claims():
    one = Claims()
    yield one
    one.close()


def begin(claims, slot):
    """As the process does it."""
    os.eventfd_read(claims.fds[slot])


def test_an_event_that_was_begun_cannot_be_taken_back(claims):
    slot = claims.offer()
    begin(claims, slot)
    assert not claims.take_back(slot)


def test_an_event_that_was_taken_back_cannot_be_begun(claims):
    slot = claims.offer()
    assert claims.take_back(slot)
    with pytest.raises(BlockingIOError):
        begin(claims, slot)
    assert not claims.take_back(slot)


def test_each_event_has_a_claim_of_its_own(claims):
    slots = [claims.offer() for _ in range(SLOTS)]
    assert not claims.free
    assert claims.take_back(slots[1])
    begin(claims, slots[0])
    begin(claims, slots[2])
    claims.settle(slots[0])
    assert claims.offer() == slots[0]
    begin(claims, slots[0])


def test_when_the_process_is_gone_what_it_had_not_begun_can_be_taken_back_once(claims):
    begun, left = claims.offer(), claims.offer()
    begin(claims, begun)
    claims.close()
    claims.close()
    assert not claims.take_back(begun)
    assert claims.take_back(left)
    assert not claims.take_back(left)
