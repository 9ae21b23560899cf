"""Limits of functions and mappings hold over all workers of a service, and the work is spread as evenly as they let."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from poller.policy.workers import (
    STEADY,
    FunctionLimit,
    MappingDemand,
    PollerBounds,
    Share,
    divided,
    failures_after,
    shares,
)


def of_one(pollers: int | None, workers: int, *, reserved: int | None = None) -> list[tuple[int, int]]:
    """Pollers and concurrency on each worker, of one mapping of one function."""
    made = shares([FunctionLimit("f", reserved)], [MappingDemand("m", "f", pollers)], workers)
    assert [share.worker for share in made] == list(range(1, workers + 1))
    return [(share.pollers["m"], share.concurrency["f"]) for share in made]


def test_one_worker_has_everything() -> None:
    assert of_one(None, 1) == [(1, 1000)]
    assert of_one(3, 1, reserved=2) == [(3, 2)]


def test_a_mapping_on_demand_has_a_poller_on_each_worker() -> None:  # C.8
    assert of_one(None, 3) == [(1, 334), (1, 333), (1, 333)]


def test_provisioned_pollers_are_so_many_over_all_workers() -> None:  # C.8
    assert [pollers for pollers, _ in of_one(5, 2)] == [3, 2]
    assert [pollers for pollers, _ in of_one(1, 3)] == [1, 0, 0]


def test_a_mapping_scales_where_it_has_pollers_and_the_workers_share_its_maximum() -> None:  # C.8
    def bounds(pollers: int | None, maximum: int | None, workers: int) -> list[PollerBounds | None]:
        demand = MappingDemand("m", "f", pollers, maximum, scales=True)
        return [share.bounds.get("m") for share in shares([FunctionLimit("f", None)], [demand], workers)]

    assert bounds(3, 9, 2) == [PollerBounds(2, 9, 0, 2), PollerBounds(1, 9, 1, 2)]
    assert bounds(1, 9, 2) == [PollerBounds(1, 9, 0, 1), None], "who reads nothing sees no lag"
    assert bounds(None, None, 2) == [PollerBounds(1, None, 0, 2), PollerBounds(1, None, 1, 2)]
    assert bounds(0, None, 1) == [None], "disabled"
    [queue] = shares([FunctionLimit("f", None)], [MappingDemand("m", "f", 4)], 1)
    assert (queue.pollers, queue.bounds) == ({"m": 4}, {})


def test_concurrency_is_divided_among_the_workers_that_use_it() -> None:  # A.2
    assert of_one(None, 2, reserved=5) == [(1, 3), (1, 2)]
    assert of_one(1, 2, reserved=4) == [(1, 4), (0, 0)], "the second worker has no poller that could use any"


def test_provisioned_concurrency_is_divided_as_the_concurrency_is() -> None:  # E.3
    def provisioned(count: int, reserved: int | None, pollers: int | None) -> list[int]:
        function, mapping = FunctionLimit("f", reserved, provisioned=count), MappingDemand("m", "f", pollers)
        return [share.provisioned["f"] for share in shares([function], [mapping], 2)]

    assert provisioned(3, None, None) == [2, 1]
    assert provisioned(3, 3, 1) == [3, 0], "the second worker has no poller that could use any"
    assert provisioned(0, None, None) == [0, 0]


def test_no_more_workers_run_a_function_than_it_has_concurrency() -> None:  # A.2
    assert of_one(None, 4, reserved=1) == [(1, 1), (0, 0), (0, 0), (0, 0)]
    assert of_one(6, 4, reserved=2) == [(3, 1), (3, 1), (0, 0), (0, 0)]


def test_a_concurrency_of_0_throttles_everywhere() -> None:  # A.3
    assert of_one(None, 2, reserved=0) == [(1, 0), (1, 0)]


def test_what_does_not_come_out_even_is_not_all_the_first_worker_s() -> None:
    functions = [FunctionLimit(name, 1) for name in "ab"]
    of_functions = shares(functions, [MappingDemand("of-a", "a", None), MappingDemand("of-b", "b", None)], 2)
    assert [dict(share.concurrency) for share in of_functions] == [{"a": 1, "b": 0}, {"a": 0, "b": 1}]
    assert [dict(share.pollers) for share in of_functions] == [{"of-a": 1, "of-b": 0}, {"of-a": 0, "of-b": 1}]
    queues = [MappingDemand(name, "f", 1) for name in ("p", "q", "r")]
    of_queues = shares([FunctionLimit("f", None)], queues, 2)
    assert [dict(share.pollers) for share in of_queues] == [{"p": 1, "q": 0, "r": 1}, {"p": 0, "q": 1, "r": 0}]


def test_a_function_without_mappings_keeps_its_concurrency() -> None:
    [first, second] = shares([FunctionLimit("f", 7)], [], 2)
    assert (first.concurrency["f"], second.concurrency["f"]) == (7, 0)


@given(
    st.integers(1, 9),
    st.lists(
        st.tuples(st.none() | st.integers(0, 12), st.lists(st.none() | st.integers(0, 9), max_size=4)), max_size=4
    ),
)
def test_whatever_is_asked_for_nothing_exceeds_its_limit_and_every_poller_can_invoke(
    workers: int, wanted: list[tuple[int | None, list[int | None]]]
) -> None:
    functions = [FunctionLimit(f"f{number}", reserved) for number, (reserved, _) in enumerate(wanted)]
    mappings = [
        MappingDemand(f"f{number}-{turn}", f"f{number}", pollers)
        for number, (_, demands) in enumerate(wanted)
        for turn, pollers in enumerate(demands)
    ]
    made = shares(functions, mappings, workers)
    unreserved = 1000 - sum(function.reserved or 0 for function in functions)
    for function in functions:
        limit = unreserved if function.reserved is None else function.reserved
        assert sum(share.concurrency[function.name] for share in made) == limit
    for mapping in mappings:
        pollers = [share.pollers[mapping.name] for share in made]
        reserved = next(function.reserved for function in functions if function.name == mapping.function)
        if mapping.pollers is None:
            assert sorted(set(pollers)) in ([1], [0, 1])
            assert sum(pollers) == min(workers, reserved or workers)
        else:
            assert sum(pollers) == mapping.pollers
        if reserved != 0:
            assert all(share.concurrency[mapping.function] for share in made if share.pollers[mapping.name])


def test_a_number_is_divided_in_parts_that_differ_by_at_most_one() -> None:
    assert (divided(7, 3), divided(2, 3), divided(0, 2)) == ([3, 2, 2], [1, 1, 0], [0, 0])


def test_a_client_says_its_worker_where_there_are_several() -> None:
    assert Share(1, 1, {}, {}).poller_name(0) == "0"
    assert Share(3, 4, {}, {}).poller_name(0) == "3-0"


def test_ends_in_a_row_are_counted_until_a_worker_has_run_well_for_a_while() -> None:
    assert failures_after(0, 0.1) == 1
    assert failures_after(4, STEADY - 1) == 5
    assert failures_after(4, STEADY) == 1
