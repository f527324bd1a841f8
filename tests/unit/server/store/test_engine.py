"""What both engines promise: whole transactions, shielded writes, exact types, one vocabulary of errors."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from server.store import Conflict, Invalid, Store, StoreError, TransactionAborted, Tx
from server.store.binding import Real

INSERT = "INSERT INTO locks (name, holder, expires_at) VALUES ($1, $2, $3)"
ARGUMENTS = (1, 2, 3, "a", "a", "b", "b", "c", "c", 10)


async def _insert(store: Store, name: str) -> None:
    await store.write(lambda tx: tx.execute(INSERT, name, "holder", 1))


async def _names(store: Store) -> list[object]:
    rows = await store.read(lambda tx: tx.fetch("SELECT name FROM locks ORDER BY name"))
    return [row["name"] for row in rows]


async def test_write_commits_and_returns_what_the_work_returns(store: Store) -> None:
    async def work(tx: Tx) -> tuple[int, object]:
        changed = await tx.execute(INSERT, "a", "h", 2**62)
        return changed, await tx.value("SELECT expires_at FROM locks WHERE name = $1", "a")

    assert await store.write(work) == (1, 2**62)
    assert await _names(store) == ["a"]


async def test_error_of_the_work_rolls_back(store: Store) -> None:
    async def work(tx: Tx) -> None:
        await tx.execute(INSERT, "a", "h", 1)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        await store.write(work)
    assert await _names(store) == []


async def test_rows_are_mappings_by_column_name(store: Store) -> None:
    async def work(tx: Tx) -> None:
        rows = await tx.fetch(INSERT + " RETURNING name, expires_at", "a", "h", 7)
        assert [dict(row) for row in rows] == [{"name": "a", "expires_at": 7}]
        row = await tx.row("SELECT name, holder, expires_at FROM locks")
        assert row == {"name": "a", "holder": "h", "expires_at": 7}
        assert await tx.row("SELECT name FROM locks WHERE name = $1", "none") is None
        assert await tx.value("SELECT name FROM locks WHERE name = $1", "none") is None
        assert await tx.execute("UPDATE locks SET expires_at = expires_at + 1") == 1
        assert await tx.execute("DELETE FROM locks WHERE name = $1", "none") == 0

    await store.write(work)


@pytest.mark.parametrize("value", [1.5, 2.0, True, 2**63, -(2**63) - 1, "nul\x00", "\ud800", bytearray(b"x")])
async def test_values_of_the_wrong_type_are_refused(store: Store, value: object) -> None:
    with pytest.raises(Invalid, match=r"^Parameter \$3 is"):
        await store.write(lambda tx: tx.execute(INSERT, "a", "h", value))  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="not a finite number"):
        await store.read(lambda tx: tx.value("SELECT CAST($1 AS BIGINT)", Real("nan")))


async def test_placeholders_may_repeat_and_come_in_any_order(store: Store) -> None:
    parts = ", ".join(f"CAST(${n} AS BIGINT) AS a{place}" for place, n in enumerate((10, 1, 2, 10, 3)))
    row = await store.read(lambda tx: tx.row(f"SELECT {parts} WHERE $4 = $5 AND $6 = $7 AND $8 = $9", *ARGUMENTS))
    assert row is not None
    assert list(row.values()) == [10, 1, 2, 10, 3]


async def test_a_caller_who_was_cancelled_reads_nothing(store: Store) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.read(lambda tx: tx.value("SELECT COUNT(*) FROM locks"))
        pytest.fail("it was read")
    assert scope.cancelled_caught


async def test_constraints_have_their_own_errors_without_values(store: Store) -> None:
    await _insert(store, "secret-name")
    with pytest.raises(Conflict) as conflict:
        await _insert(store, "secret-name")
    assert "secret-name" not in str(conflict.value)
    insert = "INSERT INTO balances (account_id, balance_micro_usd, updated_at) VALUES ($1, $2, $3)"
    with pytest.raises(Invalid):
        await store.write(lambda tx: tx.execute(insert, "a", -1, 0))
    with pytest.raises(Invalid):
        await store.write(lambda tx: tx.execute(insert, None, 1, 0))
    assert await _names(store) == ["secret-name"]


async def test_caught_error_of_a_statement_rolls_everything_back(store: Store) -> None:
    async def go_on(tx: Tx, *, after: bool) -> None:
        await tx.execute(INSERT, "a", "h", 1)
        with pytest.raises(Conflict):
            await tx.execute(INSERT, "a", "h", 1)
        if after:
            await tx.execute(INSERT, "b", "h", 1)

    for after in (True, False):
        with pytest.raises(TransactionAborted, match="ON CONFLICT DO NOTHING"):
            await store.write(partial(go_on, after=after))
        assert await _names(store) == []


async def test_reads_go_on_after_a_failed_statement(store: Store) -> None:
    async def work(tx: Tx) -> object:
        with pytest.raises(StoreError):
            await tx.fetch("SELECT nothing FROM nowhere")
        return await tx.value("SELECT COUNT(*) FROM locks")

    assert await store.read(work) == 0


async def test_reads_cannot_write(store: Store) -> None:
    for run in (store.read, store.statistics):
        with pytest.raises(StoreError, match="use `write`"):
            await run(lambda tx: tx.execute(INSERT, "a", "h", 1))
    await _insert(store, "b")
    assert await _names(store) == ["b"]


async def test_statement_after_the_transaction_is_refused(store: Store) -> None:
    kept: list[Tx] = []

    async def work(tx: Tx) -> None:
        kept.append(tx)

    await store.write(work)
    with pytest.raises(StoreError, match="after its transaction had ended"):
        await kept[0].fetch("SELECT 1")


async def test_broken_statement_names_itself_and_no_value(store: Store) -> None:
    with pytest.raises(StoreError, match="FROM nowhere") as error:
        await store.read(lambda tx: tx.fetch("SELECT * FROM nowhere WHERE x = $1", "a secret"))
    assert "a secret" not in str(error.value)


async def test_cancelled_write_commits_first(store: Store) -> None:
    begun = trio.Event()

    async def work(tx: Tx) -> str:
        begun.set()
        await tx.execute(INSERT, "a", "h", 1)
        await trio.lowlevel.checkpoint()
        await tx.execute(INSERT, "b", "h", 1)
        return "done"

    async def caller() -> None:
        answers.append(await store.write(work))
        await trio.lowlevel.checkpoint()
        answers.append("not cancelled")

    answers: list[str] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(caller)
        await begun.wait()
        nursery.cancel_scope.cancel()
    assert answers == ["done"]
    assert await _names(store) == ["a", "b"]


async def test_writers_do_not_lose_updates(store: Store) -> None:
    await _insert(store, "counter")

    async def add_one(tx: Tx) -> None:
        value = await tx.value("SELECT expires_at FROM locks WHERE name = 'counter'@LOCK")
        assert isinstance(value, int)
        await trio.lowlevel.checkpoint()
        await tx.execute("UPDATE locks SET expires_at = $1 WHERE name = 'counter'", value + 1)

    async with trio.open_nursery() as nursery:
        for _ in range(30):
            nursery.start_soon(store.write, add_one)
    assert await store.read(lambda tx: tx.value("SELECT expires_at FROM locks")) == 31


async def test_upkeep_and_ping(store: Store) -> None:
    await store.upkeep(lambda tx: tx.execute(INSERT, "a", "h", 1))
    assert await _names(store) == ["a"]
    await store.ping()
