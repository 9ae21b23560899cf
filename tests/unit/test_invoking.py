"""What the loop hands to the function (A.1, C.4)."""

from __future__ import annotations

import random
import uuid

from poller.invoking import request_id


def test_request_ids_are_random_uuids() -> None:
    state = random.getstate()
    try:
        for seed in range(50):
            random.seed(seed)
            found = request_id()
            random.seed(seed)
            assert found == str(uuid.UUID(int=random.getrandbits(128), version=4))
    finally:
        random.setstate(state)
