"""Results of invocations come to the loop, which drives quick handlers itself where several are in work (A.1)."""

import asyncio
import json

import pytest
from handlers.rig import HANDLERS

from poller.api.results import Results
from poller.model import FunctionConfiguration, Invocation, InvocationResult
from poller.runtime.driving import Driver
from poller.runtime.pool import FunctionPool


@pytest.fixture
def pool():
    function = FunctionConfiguration("fn", HANDLERS, "ahead.note", timeout=30.0, reserved_concurrent_executions=4)
    made = FunctionPool(function, log=lambda *_: None)
    made.start()
    yield made
    made.stop()


def test_one_invocation_alone_is_its_threads_and_several_are_driven():
    async def main():
        results = Results()
        answered, expected = zip(*(results.expect() for _ in range(3)), strict=True)
        assert expected[0].drive() is None
        assert expected[1].drive() is not None
        for number in range(2):
            expected[number](InvocationResult("id"))
        await asyncio.gather(*answered[:2])
        assert expected[2].drive() is None, "the others are over"

    asyncio.run(main())


def test_one_that_is_refused_before_it_is_submitted_counts_for_nothing():
    async def main():
        results = Results()
        for _ in range(3):
            results.expect()
        assert results.expect()[1].drive() is None

    asyncio.run(main())


def test_what_is_driven_on_the_loop_is_answered_there_whole(pool, tmp_path, monkeypatch):
    go_on, driven = Driver._go_on, []

    def counted(driver, one, answers):
        go_on(driver, one, answers)
        driven.extend(answers)

    monkeypatch.setattr(Driver, "_go_on", counted)
    payload = json.dumps({"begun": str(tmp_path / "begun")}).encode()

    async def invoke(results, number):
        answered, on_result = results.expect()
        arn = pool.configuration.function_arn
        pool.submit(Invocation(str(number), payload, arn, driver=on_result.drive()), on_result, wait=True)
        return await answered

    async def main():
        results, number = Results(), 0
        while not driven:
            found = await asyncio.gather(*(invoke(results, number + more) for more in range(8)))
            assert [result.request_id for result in found] == [str(number + more) for more in range(8)]
            assert not any(result.function_error for result in found)
            number += 8
        return number

    number = asyncio.run(asyncio.wait_for(main(), 60))
    assert sorted(map(int, (tmp_path / "begun").read_text().split())) == list(range(number))
