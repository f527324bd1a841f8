"""Named locks: one holder, renewal, expiry, and the job under a lock."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from server.store import Store
from server.store.named_locks import acquire, release, run_under_lock

SECOND = 1_000_000


async def _acquire(store: Store, holder: str, now: int) -> bool:
    return await store.write(lambda tx: acquire(tx, "retention", holder=holder, ttl_seconds=10, now=now))


async def test_lock_has_one_holder_until_its_time_is_over(store: Store) -> None:
    assert await _acquire(store, "a", 0)
    assert not await _acquire(store, "b", 10 * SECOND)
    assert await _acquire(store, "a", 5 * SECOND), "the holder renews"
    assert not await _acquire(store, "b", 15 * SECOND)
    assert await _acquire(store, "b", 15 * SECOND + 1)
    assert not await store.write(lambda tx: release(tx, "retention", holder="a"))
    assert await store.write(lambda tx: release(tx, "retention", holder="b"))
    assert await _acquire(store, "c", 0)


async def test_job_runs_in_one_process_at_a_time(store: Store) -> None:
    started, finish = trio.Event(), trio.Event()
    ran: list[str] = []

    async def job() -> None:
        ran.append("a")
        started.set()
        await finish.wait()

    async def again() -> None:
        ran.append("b")

    async def run(holder: str, work: object) -> bool:
        return await run_under_lock(
            store, "retention", work, holder=holder, ttl_seconds=60, wall_clock=lambda: 0  # type: ignore[arg-type]
        )  # fmt: skip

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, "a", job)
        await started.wait()
        assert not await run("b", again)
        finish.set()
    assert await run("b", again)
    assert ran == ["a", "b"]


async def test_failing_job_raises_its_own_error_and_frees_the_lock(store: Store) -> None:
    async def job() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await run_under_lock(store, "retention", job, holder="a", ttl_seconds=60, wall_clock=lambda: 0)
    assert await _acquire(store, "b", 0)


async def test_lock_is_renewed_while_the_job_runs(store: Store) -> None:
    now = iter(range(0, 10**12, SECOND))
    renewed = trio.Event()

    async def expiry() -> object:
        return await store.read(lambda tx: tx.value("SELECT expires_at FROM locks"))

    async def job() -> None:
        first = await expiry()
        with trio.fail_after(5):
            while await expiry() == first:
                await trio.testing.wait_all_tasks_blocked(0.005)
        renewed.set()

    await run_under_lock(store, "retention", job, holder="a", ttl_seconds=0.03, wall_clock=lambda: next(now))
    assert renewed.is_set()
