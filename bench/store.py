"""What money costs: a hold and its settlement on SQLite and on PostgreSQL, through the code that a request uses.

A pair is one paid request: open the hold, fix the price for the provider, settle into the ledger. `pairs_s` is the
throughput of 16 tasks over many accounts; `pair_ms` the median time of one pair alone; `cpu_us` the processor time of
this process for one pair (on SQLite that is all of it; PostgreSQL's own is not counted). `statements_per_request`
leaves BEGIN and COMMIT out. `added_ttft_ms_*` is what money adds to a streaming request in a running coordinator.
`fsync_ms` is the median time of this disk to make 4 KiB durable: a pair on SQLite waits for two of them. The PostgreSQL
server is a throw-away one with fsync off, unless DARKBLOOM_TEST_DATABASE_URL names another.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio

from bench import store_ttft
from server.billing.hold_desk import HoldRequest, Serving
from server.billing.ledger import GRANTS, Entry, post
from server.billing.prices import Tariff
from server.billing.service import Billing, make_billing
from server.relay.settlement import BilledUsage, Outcome, SettlementRecord
from server.store.dialect import EngineKind
from server.store.engine import Store
from tests.testbed.postgres_server import NoServer
from tests.testbed.store import open_test_store

TASKS = 16
CONSUMERS = 64
OWNERS = 16
CREDIT = 10**12
MOST_STATEMENTS = 12
MOST_HOLD_STATEMENTS = 4


def run(*, quick: bool = False) -> dict[str, Any]:
    """Measure both engines; PostgreSQL is left out (None) where no server can be had."""
    pairs, rounds = (100, 10) if quick else (3000, 200)
    with tempfile.TemporaryDirectory(prefix="darkbloom-bench-") as folder:
        work = Path(folder)
        result: dict[str, Any] = {"fsync_ms": _fsync_ms(work, rounds)}
        result |= trio.run(_statements)
        result |= trio.run(partial(_engine, "sqlite", work / "bench.db", pairs, rounds))
        try:
            result |= trio.run(partial(_engine, "postgres", None, pairs, rounds))
        except NoServer:
            result |= {f"postgres_{name}": None for name in ("pairs_s", "pair_ms", "cpu_us")}
    return result | store_ttft.run(quick=quick)


def table(result: dict[str, Any]) -> str:
    """Render the figures."""
    lines = ["| | SQLite (file) | PostgreSQL |", "|---|---|---|"]
    for name, title, form in (
        ("pairs_s", f"hold + settle pairs a second, {TASKS} tasks", "{:,.0f}"),
        ("pair_ms", "one pair alone, median", "{:.2f} ms"),
        ("cpu_us", "CPU of the coordinator for a pair", "{:,.0f} µs"),
        ("added_ttft_ms", "added to the time to the first token, median", "{:.2f} ms"),
    ):
        cells = [result.get(f"{engine}_{name}", result.get(f"{name}_{engine}")) for engine in ("sqlite", "postgres")]
        lines.append(f"| {title} | " + " | ".join("–" if cell is None else form.format(cell) for cell in cells) + " |")
    lines += [
        "",
        f"A paid request takes {result['statements_per_request']} statements (target ≤ {MOST_STATEMENTS}), of which"
        f" {result['hold_statements']} for the hold (target ≤ {MOST_HOLD_STATEMENTS}). One fsync of this disk takes"
        f" {result['fsync_ms']:.2f} ms.",
    ]
    return "\n".join(lines)


def _fsync_ms(folder: Path, rounds: int) -> float:
    times: list[float] = []
    with (folder / "fsync").open("wb") as file:
        for _ in range(rounds):
            started = time.perf_counter()
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
            times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


async def _statements() -> dict[str, int]:
    """Count the statements of one paid request whose parties have been there before."""
    heard: list[str] = []
    async with _billing("sqlite", None, heard.append) as (store, billing):
        await _fund(store)
        await _pair(billing, 0)
        heard.clear()
        await _pair(billing, CONSUMERS * OWNERS)
    counts = [0]
    for sql in heard:
        if sql.startswith("BEGIN"):
            counts.append(0)
        elif not sql.startswith(("COMMIT", "--", "ROLLBACK")):
            counts[-1] += 1
    return {"statements_per_request": sum(counts), "hold_statements": counts[1]}


async def _engine(kind: EngineKind, path: Path | None, pairs: int, rounds: int) -> dict[str, float]:
    async with _billing(kind, path) as (store, billing):
        await _fund(store)
        for n in range(OWNERS):
            await _pair(billing, n)
        alone: list[float] = []
        for n in range(rounds):
            started = time.perf_counter()
            await _pair(billing, OWNERS + n)
            alone.append((time.perf_counter() - started) * 1000)
        first = OWNERS + rounds
        started, cpu = time.perf_counter(), time.process_time()
        async with trio.open_nursery() as nursery:
            for task in range(TASKS):
                nursery.start_soon(_worker, billing, range(first + task, first + pairs, TASKS))
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    return {
        f"{kind}_pairs_s": pairs / seconds,
        f"{kind}_pair_ms": statistics.median(alone),
        f"{kind}_cpu_us": cpu / pairs * 1e6,
    }


@asynccontextmanager
async def _billing(
    kind: EngineKind, path: Path | None, on_statement: Callable[[str], None] | None = None
) -> AsyncGenerator[tuple[Store, Billing], None]:
    async with open_test_store(kind, path, on_statement=on_statement) as store:
        yield (
            store,
            make_billing(
                store,
                Tariff(),
                wall_clock=lambda: time.time_ns() // 1000,
                instance_id="bench",
                is_known_model=lambda _model: True,
            ),
        )


async def _fund(store: Store) -> None:
    for n in range(CONSUMERS):
        account = f"consumer-{n}"
        entries = (Entry(GRANTS, "admin_credit", -CREDIT), Entry(account, "admin_credit", CREDIT))
        await store.write(partial(_grant, account, entries))


async def _grant(account: str, entries: tuple[Entry, Entry], tx: Any) -> None:
    await post(tx, "admin", f"bench:{account}", entries, 1)


async def _worker(billing: Billing, numbers: range) -> None:
    for n in numbers:
        await _pair(billing, n)


async def _pair(billing: Billing, n: int) -> None:
    request, consumer, owner = f"request-{n}", f"consumer-{n % CONSUMERS}", f"owner-{n % OWNERS}"
    hold = await billing.desk.open_hold(
        HoldRequest(
            request_id=request,
            account_id=consumer,
            model="build",
            prompt_tokens=4000,
            max_tokens=8192,
            key_id=f"key-{consumer}",
        )
    )
    serving = Serving(account_id=owner, provider_key=f"machine-{owner}", model="build")
    if not await billing.desk.raise_for_provider(hold, serving):
        raise RuntimeError("The benchmark's accounts can pay every price.")
    await billing.settlement.settle(
        SettlementRecord(
            coord_request_id=request,
            job_id=f"job-{n}",
            account_id=consumer,
            key_id=f"key-{consumer}",
            public_model="model",
            build="build",
            session_id="session",
            provider_id=f"machine-{owner}",
            provider_account_id=owner,
            stream=True,
            outcome=Outcome.SUCCESS,
            status=200,
            usage=BilledUsage(prompt_tokens=900, completion_tokens=350),
            delivered_deltas=350,
            delivered_text_bytes=1400,
            max_tokens=8192,
            attempts=1,
            started_at=0.0,
            ended_at=1.0,
            segments=None,
        )
    )
