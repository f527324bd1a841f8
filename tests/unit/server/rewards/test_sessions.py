"""Sessions of machines: written by one task, kept through outages, closed after crashes."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from server.rewards import sessions as module
from server.rewards.session_rows import sessions_within
from server.rewards.sessions import SessionRecorder
from server.rewards.uptime import OPEN_GRACE_US, Interval, uptime_ms
from server.store import Store, StoreUnavailable
from tests.testbed.books import START, Books
from tests.testbed.flaky_store import FlakyStore

SECOND = 1_000_000


@pytest.fixture
def recorder(books: Books) -> SessionRecorder:
    return SessionRecorder(books.store, wall_clock=lambda: books.now)


async def rows(books: Books) -> list[tuple[Any, ...]]:
    found = await books.rows(
        "SELECT session_id, provider_key, account_id, connected_at, last_seen, disconnected_at, disconnect_reason"
        " FROM provider_sessions ORDER BY session_id"
    )
    return [
        tuple(value - START if isinstance(value, int) else value for value in (row[name] for name in row))
        for row in found
    ]


async def test_a_session_from_its_start_to_its_end(books: Books, recorder: SessionRecorder) -> None:
    recorder.opened("s1", provider_key="key", account_id="ann", serial_hash="hash")
    await recorder.flush()
    assert await rows(books) == [("s1", "key", "ann", 0, 0, None, "")]
    books.now += 30 * SECOND
    recorder.seen("s1")
    await recorder.flush()
    assert await rows(books) == [("s1", "key", "ann", 0, 30 * SECOND, None, "")]
    books.now += 10 * SECOND
    recorder.closed("s1", "stale")
    recorder.seen("s1")
    recorder.closed("s1", "again")
    await recorder.flush()
    assert await rows(books) == [("s1", "key", "ann", 0, 40 * SECOND, 40 * SECOND, "stale")]


async def test_nothing_is_written_when_nothing_happened(books: Books, recorder: SessionRecorder) -> None:
    flaky = FlakyStore(books.store)
    quiet = SessionRecorder(flaky, wall_clock=lambda: books.now)  # type: ignore[arg-type]
    quiet.opened("s1", provider_key="key")
    await quiet.flush()
    await quiet.flush()
    quiet.seen("unknown")
    quiet.closed("unknown")
    await quiet.flush()
    assert flaky.writes == 1


async def test_registering_anew_keeps_the_start_and_takes_the_new_owner(
    books: Books, recorder: SessionRecorder
) -> None:
    recorder.opened("s1", provider_key="key")
    books.now += SECOND
    recorder.opened("s1", provider_key="key", account_id="ann")
    await recorder.flush()
    assert await rows(books) == [("s1", "key", "ann", 0, SECOND, None, "")]


async def test_many_sessions_are_written_in_batches(books: Books, recorder: SessionRecorder) -> None:
    for number in range(450):
        recorder.opened(f"s{number:03}", provider_key=f"key{number}")
    for number in range(0, 450, 2):
        recorder.closed(f"s{number:03}")
    await recorder.flush()
    found = await rows(books)
    assert len(found) == 450
    assert sum(row[5] is None for row in found) == 225


async def test_an_outage_loses_nothing(books: Books) -> None:
    flaky = FlakyStore(books.store)
    recorder = SessionRecorder(flaky, wall_clock=lambda: books.now)  # type: ignore[arg-type]
    flaky.down = True
    recorder.opened("s1", provider_key="a")
    recorder.opened("s2", provider_key="b")
    recorder.closed("s1", "left")
    with pytest.raises(StoreUnavailable):
        await recorder.flush()
    flaky.down = False
    await recorder.flush()
    assert [(row[0], row[6]) for row in await rows(books)] == [("s1", "left"), ("s2", "")]


async def test_a_heartbeat_during_a_write_is_written_next(books: Books) -> None:
    recorder: SessionRecorder

    class Slow(FlakyStore):
        async def write(self, work: Any) -> Any:
            result = await super().write(work)
            if self.writes == 1:
                books.now += 7 * SECOND
                recorder.seen("s1")
            return result

    recorder = SessionRecorder(Slow(books.store), wall_clock=lambda: books.now)  # type: ignore[arg-type]
    recorder.opened("s1", provider_key="key")
    await recorder.flush()
    assert await rows(books) == [("s1", "key", "", 0, 7 * SECOND, None, "")]


async def test_ended_sessions_that_cannot_be_written_are_bounded(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ENDED", 3)
    recorder = SessionRecorder(books.store, wall_clock=lambda: books.now)
    for number in range(5):
        recorder.opened(f"s{number}", provider_key="key")
        recorder.closed(f"s{number}")
    assert recorder.dropped == 2
    await recorder.flush()
    assert [row[0] for row in await rows(books)] == ["s2", "s3", "s4"]


async def test_the_start_closes_what_a_crash_left_open(books: Books, recorder: SessionRecorder) -> None:
    recorder.opened("s1", provider_key="key")
    await recorder.flush()
    books.now += 301 * SECOND
    after_the_crash = SessionRecorder(books.store, wall_clock=lambda: books.now)
    assert await after_the_crash.clean_up() == 1
    assert await rows(books) == [("s1", "key", "", 0, 0, OPEN_GRACE_US, "lost")]
    assert await after_the_crash.clean_up() == 0


async def test_a_quick_restart_closes_only_what_can_belong_to_nobody_else(
    books: Books, recorder: SessionRecorder
) -> None:
    recorder.opened("s1", provider_key="key")
    await recorder.flush()
    books.now += 20 * SECOND
    alone = books.store.kind == "sqlite"
    assert await SessionRecorder(books.store, wall_clock=lambda: books.now).clean_up() == (1 if alone else 0)
    assert await rows(books) == [("s1", "key", "", 0, 0, 20 * SECOND if alone else None, "lost" if alone else "")]
    # Another process took it for lost; whoever holds the connection knows better.
    recorder.seen("s1")
    await recorder.flush()
    assert await rows(books) == [("s1", "key", "", 0, 20 * SECOND, None, "")]


async def test_closing_for_somebody_does_not_change_the_uptime(books: Books, recorder: SessionRecorder) -> None:
    recorder.opened("s1", provider_key="key")
    await recorder.flush()

    async def uptime() -> int:
        found = await books.store.read(lambda tx: sessions_within(tx, START, START + 300 * SECOND))
        return uptime_ms(found["key"], START, START + 300 * SECOND)

    before = await uptime()
    books.now += 301 * SECOND
    assert await recorder.clean_up() == 1
    assert (before, await uptime()) == (90_000, 90_000)


async def test_sessions_that_touch_a_period(store: Store, books: Books, recorder: SessionRecorder) -> None:
    recorder.opened("before", provider_key="a")
    recorder.closed("before")
    books.now += 1_000 * SECOND
    recorder.opened("within", provider_key="a")
    recorder.opened("nobody", provider_key="")
    books.now += 100 * SECOND
    recorder.opened("after", provider_key="b")
    await recorder.flush()
    start = START + 1_000 * SECOND
    assert await store.read(lambda tx: sessions_within(tx, start, start + 100 * SECOND)) == {
        "a": [Interval(start, start, None)]
    }


async def test_the_task_writes_once_more_when_it_is_stopped(books: Books) -> None:
    recorder = SessionRecorder(books.store, wall_clock=lambda: books.now, flush_seconds=3_600)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(recorder.run)
        await trio.testing.wait_all_tasks_blocked()
        recorder.opened("s1", provider_key="key")
        nursery.cancel_scope.cancel()
    assert [row[0] for row in await rows(books)] == ["s1"]


async def test_a_session_heard_of_shortly_before_a_period_reaches_into_it(
    books: Books, recorder: SessionRecorder
) -> None:
    recorder.opened("s1", provider_key="key")
    await recorder.flush()
    start = START + 30 * SECOND
    found = await books.store.read(lambda tx: sessions_within(tx, start, start + 300 * SECOND))
    assert uptime_ms(found["key"], start, start + 300 * SECOND) == 60_000
    late = START + OPEN_GRACE_US + 1
    assert await books.store.read(lambda tx: sessions_within(tx, late, late + 300 * SECOND)) == {}
