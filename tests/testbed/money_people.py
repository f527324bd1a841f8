"""People with money, keys and machines: their rows in a store, and providers that say whose they are."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from protocol.messages.from_provider import Register
from server.accounts import api_keys, provider_tokens, users
from server.billing.balance import Balance
from server.billing.ledger import GRANTS, Entry, post, read_balance
from server.billing.price_book import write_price
from server.billing.prices import Price
from server.billing.verify import LedgerReport, verify
from server.store.engine import Store, Tx, Value
from tests.testbed.sim_provider import SimulatedProvider
from tests.testbed.sim_wire import SimWire

DOLLAR = 1_000_000


@dataclass(frozen=True, slots=True)
class Person:
    """An account with one API key and one provider token."""

    account: str
    key: str
    key_id: str
    token: str


def now_micro() -> int:
    """Microseconds since the Unix epoch."""
    return time.time_ns() // 1000


class LinkedProvider(SimulatedProvider):
    """A simulated provider that registers with a provider token."""

    token: str = ""

    def register_message(self, wire: SimWire | None = None) -> Register:
        """Build a signed `register` with the token."""
        return msgspec.structs.replace(super().register_message(wire), auth_token=self.token)

    def owned_by(self, person: Person) -> LinkedProvider:
        """Link it to a person from its next connection on."""
        self.token = person.token
        return self


class People:
    """Writes and reads the rows that the scenarios need, straight in a store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def join(self, name: str, *, credit: int = 0, key: Mapping[str, Value] | None = None) -> Person:
        """Make an account with credits, an API key with these settings, and a provider token."""

        async def work(tx: Tx) -> Person:
            now = now_micro()
            user = await users.insert(tx, f"local:{name}", now)
            assert user is not None, f"{name} has joined before"
            made = await api_keys.create(tx, user.account_id, key or {}, now)
            token = await provider_tokens.insert(tx, user.account_id, "testbed", now)
            if credit:
                entries = [Entry(GRANTS, "admin_credit", -credit), Entry(user.account_id, "admin_credit", credit)]
                await post(tx, "admin", f"test-seed:{user.account_id}", entries, now)
            return Person(user.account_id, made.secret, made.key.id, token)

        return await self.store.write(work)

    async def price(self, account: str, model: str, each: int) -> None:
        """Set a price for input and output, in micro-USD per million tokens."""
        await self.store.write(lambda tx: write_price(tx, account, model, Price(each, each, None), now_micro()))

    async def balance(self, person: Person) -> Balance:
        """Read a balance."""
        return await self.store.read(lambda tx: read_balance(tx, person.account))

    async def rows(self, sql: str, *values: Value) -> list[dict[str, Value]]:
        """Read rows as plain dicts."""
        return [dict(row) for row in await self.store.read(lambda tx: tx.fetch(sql, *values))]

    async def usage(self, person: Person) -> list[dict[str, Value]]:
        """Give the usage rows of an account, oldest first."""
        return await self.rows(
            "SELECT request_id, key_id, prompt_tokens, completion_tokens, cost_micro_usd, private FROM usage"
            " WHERE account_id = $1 ORDER BY created_at, request_id",
            person.account,
        )

    async def reservations(self, person: Person) -> list[tuple[Value, Value]]:
        """Give state and settled cost of all reservations of an account, oldest first."""
        found = await self.rows(
            "SELECT state, settled_cost_micro_usd AS cost FROM reservations WHERE account_id = $1"
            " ORDER BY created_at, request_id",
            person.account,
        )
        return [(row["state"], row["cost"]) for row in found]

    async def audit(self) -> LedgerReport:
        """Recompute the books."""
        return await self.store.statistics(verify)
