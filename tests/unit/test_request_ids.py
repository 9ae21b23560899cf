"""Ids of requests."""

import uuid

from poller.request_ids import new_request_id


def test_every_request_id_is_a_version_4_uuid_in_its_ordinary_form_and_new():
    made = [new_request_id() for _ in range(1000)]
    for one in made:
        read = uuid.UUID(one)
        assert (str(read), read.version, read.variant) == (one, 4, uuid.RFC_4122)
    assert len(set(made)) == 1000
