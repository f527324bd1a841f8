"""The hand that carries acts out: the change, its audit row and the news of it in one transaction.

Invariant: when an act is done, no cache of this process answers from before it, and other processes on the same
database hear of it with the commit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from server.administration import audit

if TYPE_CHECKING:
    from server.accounts.changes import Changes, Topic
    from server.administration.audit import Facts
    from server.store import Store, Tx, Work

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Deed(Generic[T]):
    """What came of an act: its result, whose row it changed, how, and which caches must forget what they know."""

    result: T = field(repr=False)
    target: str
    before: Facts = field(default_factory=dict)
    after: Facts = field(default_factory=dict)
    news: tuple[tuple[Topic, str], ...] = ()


class Operator:
    """Acts on a store. `wall_clock` gives microseconds; raises errors of `server.store`."""

    def __init__(self, store: Store, *, changes: Changes, wall_clock: Callable[[], int]) -> None:
        self._store = store
        self._changes = changes
        self._wall_clock = wall_clock

    async def read(self, work: Work[T]) -> T:
        """Look something up."""
        return await self._store.read(work)

    async def act(self, actor: str, action: str, work: Callable[[Tx, int], Awaitable[Deed[T]]]) -> T:
        """Run `work(tx, now)` and note what it says; nothing is kept of it when it raises."""
        now = self._wall_clock()
        news: tuple[tuple[Topic, str], ...] = ()
        runs = 0

        async def whole(tx: Tx) -> T:
            nonlocal news, runs
            runs += 1
            deed = await work(tx, now)
            news = deed.news
            await audit.note(
                tx,
                at=now,
                actor=actor,
                action=action,
                target=deed.target,
                before=deed.before,
                after=deed.after,
                again=runs > 1,
            )
            for topic, subject in news:
                await self._changes.announce(tx, topic, subject)
            return deed.result

        try:
            return await self._store.write(whole)
        finally:
            # Whether or not the answer of the database arrived.
            for topic, subject in news:
                self._changes.heard(f"{topic} {subject}")

    def now(self) -> int:
        """Give the time, in microseconds."""
        return self._wall_clock()


class AuditedStore:
    """A store whose write transactions each leave an audit row: for services that know nothing of the audit.

    `describe` makes target and facts of the row from what the transaction returned; None: it changed nothing.
    """

    def __init__(
        self,
        store: Store,
        *,
        actor: str,
        action: str,
        describe: Callable[[object], tuple[str, Facts] | None],
        wall_clock: Callable[[], int],
    ) -> None:
        self._store = store
        self.kind = store.kind
        self._actor = actor
        self._action = action
        self._describe = describe
        self._wall_clock = wall_clock

    async def write(self, work: Work[T]) -> T:
        """Run the transaction and note it."""

        at, runs = self._wall_clock(), 0

        async def whole(tx: Tx) -> T:
            nonlocal runs
            runs += 1
            result = await work(tx)
            described = self._describe(result)
            if described is not None:
                target, after = described
                await audit.note(
                    tx, at=at, actor=self._actor, action=self._action, target=target, after=after, again=runs > 1
                )
            return result

        return await self._store.write(whole)

    async def read(self, work: Work[T]) -> T:
        """See Store."""
        return await self._store.read(work)

    async def statistics(self, work: Work[T]) -> T:
        """See Store."""
        return await self._store.statistics(work)

    async def upkeep(self, work: Work[T]) -> T:
        """See Store."""
        return await self._store.upkeep(work)

    async def ping(self) -> None:
        """See Store."""
        await self._store.ping()

    async def aclose(self) -> None:
        """See Store."""
        await self._store.aclose()
