"""What the network did, counted alike by both engines."""

from __future__ import annotations

from server.billing.activity import MINUTE, Work, recent_work, total_work
from server.billing.usage_totals import add_totals
from server.store import Store, Tx

NOW = 1_780_000_000_000_000


async def use(store: Store, at: int, *, private: int = 0) -> None:
    async def insert(tx: Tx) -> None:
        await tx.execute(
            "INSERT INTO usage (request_id, account_id, provider_id, model, prompt_tokens, completion_tokens, private,"
            " created_at) VALUES ($1, 'a', 'p', 'm', 10, 5, $2, $3)",
            f"r{at}",
            private,
            at,
        )

    await store.write(insert)


async def test_totals(store: Store) -> None:
    assert await store.read(total_work) == Work()
    await store.write(lambda tx: add_totals(tx, 2, 30, 12))
    assert await store.read(total_work) == Work(2, 30, 12)
    assert Work(2, 30, 12).tokens == 42


async def test_only_whole_buckets_of_public_requests_count(store: Store) -> None:
    end = NOW // MINUTE * MINUTE
    for at in (end - 1, end - 2, end - 3 * MINUTE, end - 3 * MINUTE - 1, end, end + 1):
        await use(store, at)
    await use(store, end - 3, private=1)
    found = await store.statistics(lambda tx: recent_work(tx, NOW, count=3))
    assert found == [
        (end - 3 * MINUTE, Work(1, 10, 5)),
        (end - 2 * MINUTE, Work()),
        (end - MINUTE, Work(2, 20, 10)),
    ]
    (hour,) = await store.statistics(lambda tx: recent_work(tx, NOW, bucket=60 * MINUTE, count=1))
    assert hour[0] == (NOW // (60 * MINUTE) - 1) * 60 * MINUTE
