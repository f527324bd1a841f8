"""Operations that wait for the database."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from server.billing.observer import SilentBillingObserver
from server.billing.retry_queue import RetryQueue
from server.store.errors import Invalid, StoreUnavailable


class Operation:
    """Fails as often as it is told; remembers when it was tried."""

    def __init__(self, failures: int = 0, *, error: Exception | None = None) -> None:
        self.failures = failures
        self.error = error or StoreUnavailable("away")
        self.tried: list[float] = []

    async def __call__(self) -> None:
        self.tried.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        if self.failures:
            self.failures -= 1
            raise self.error


class Losses(SilentBillingObserver):
    """Remembers what was given up."""

    def __init__(self) -> None:
        self.lost_operations: list[str] = []

    def lost(self, operation: str) -> None:
        self.lost_operations.append(operation)


async def test_pauses_double_up_to_two_minutes(autojump_clock: MockClock) -> None:
    queue, operation = RetryQueue(SilentBillingObserver()), Operation(14)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(queue.run)
        queue.put("settle", "r", operation)
        await trio.sleep(1000)
        nursery.cancel_scope.cancel()
    pauses = [round(b - a, 3) for a, b in zip(operation.tried, operation.tried[1:], strict=False)]
    assert pauses[:5] == [0.05, 0.1, 0.2, 0.4, 0.8]
    assert pauses[-2:] == [120, 120]
    assert len(queue) == 0


async def test_order_is_kept_and_pauses_start_anew(autojump_clock: MockClock) -> None:
    queue = RetryQueue(SilentBillingObserver())
    first, second = Operation(3), Operation(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(queue.run)
        queue.put("settle", "r1", first)
        queue.put("settle", "r2", second)
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert first.tried[-1] <= second.tried[0]
    assert second.tried[1] - second.tried[0] == pytest.approx(0.05)


async def test_what_the_store_refuses_for_good_does_not_block_the_rest(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    observer = Losses()
    queue, bad, good = RetryQueue(observer), Operation(1, error=Invalid("never")), Operation()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(queue.run)
        queue.put("settle", "bad", bad)
        queue.put("release", "good", good)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert (len(bad.tried), len(good.tried)) == (1, 1)
    assert observer.lost_operations == ["settle"]
    assert "money_operation_refused" in caplog.text


async def test_a_full_queue_gives_up_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    observer = Losses()
    queue = RetryQueue(observer, limit=2)
    for n in range(3):
        queue.put("settle", f"r{n}", Operation())
    assert len(queue) == 2
    assert observer.lost_operations == ["settle"]
    [message] = [entry for entry in caplog.records if entry.message == "money_operation_lost"]
    assert message.__dict__["coord_request_id"] == "r2"


async def test_a_stop_tries_everything_once_more(autojump_clock: MockClock) -> None:
    queue, away, ready = RetryQueue(SilentBillingObserver()), Operation(1), Operation()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(queue.run)
        queue.put("settle", "r1", away)
        queue.put("settle", "r2", ready)
        await wait_all_tasks_blocked()  # in its first pause
        nursery.cancel_scope.cancel()
    assert (len(away.tried), len(ready.tried), len(queue)) == (2, 1, 0)


async def test_a_stop_without_a_database_ends_and_names_what_is_lost(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def hang() -> None:
        await trio.sleep_forever()

    queue = RetryQueue(SilentBillingObserver())
    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(queue.run)
        queue.put("settle", "r1", hang)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert trio.current_time() - started == pytest.approx(5)
    assert "money_operation_lost" in caplog.text
