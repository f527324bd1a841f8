"""From a verified token to a user: the first sight makes the account, the address follows when Privy can be asked.

Invariant: one external id has one account, however many first requests come at once: the row decides.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trio

from server.accounts import users
from server.accounts.key_cache import LookupCache
from server.accounts.privy_failures import NoSuchUser, PrivyUnavailable
from server.accounts.privy_tokens import TokenRefused
from server.store import StoreUnavailable

if TYPE_CHECKING:
    from server.accounts.changes import Changes
    from server.accounts.privy_api import PrivyApi
    from server.accounts.users import User
    from server.store import Store, Tx

_log = logging.getLogger("darkbloom.accounts")

FIRST_RETRY_SECONDS: Final = 60.0
LAST_RETRY_SECONDS: Final = 3600.0
MAX_WAITING: Final = 10_000
AT_ONCE: Final = 50


@dataclass(slots=True)
class _Waiting:
    """An address still to be asked for: when next, and how long to wait after that."""

    next_at: float
    delay: float


class PrivyUsers:
    """Finds or makes the user of a verified token. `api` is None where addresses cannot be looked up."""

    def __init__(
        self,
        store: Store,
        *,
        api: PrivyApi | None,
        changes: Changes,
        clock: Callable[[], float],
        wall_clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._api = api
        self._clock = clock
        self._wall_clock = wall_clock
        self._changes = changes
        self._waiting: dict[str, _Waiting] = {}
        self.cache: LookupCache[User] = LookupCache(clock=clock, labels=lambda user: (user.account_id,))
        changes.listen("account", self.cache.drop)

    def recall(self, did: str) -> User | None:
        """Give a user that was seen a few seconds ago."""
        return self.cache.find(did)

    async def user_of(self, did: str) -> User:
        """Give the user of an external id; raises TokenRefused when Privy has deleted him, StoreUnavailable."""
        found = self.cache.find(did)
        if found is not None:
            return found
        generation = self.cache.generation
        found = await self._store.read(lambda tx: users.find_external(tx, did))
        if found is None:
            found = await self._first_sight(did)
        self.cache.keep(did, found, generation)
        return found

    async def run(self) -> None:
        """Look up addresses that could not be had at once, those left over by an earlier process too."""
        if self._api is None:
            return
        for did in await self._store.read(lambda tx: users.without_checked_email(tx, MAX_WAITING)):
            self._wait_for(did, 0.0)
        while True:
            await self.retry()
            await trio.sleep(FIRST_RETRY_SECONDS)

    async def retry(self) -> None:
        """Ask for the addresses that are due, at most 50."""
        now = self._clock()
        due = [did for did, one in self._waiting.items() if one.next_at <= now][:AT_ONCE]
        for did in due:
            try:
                await self._note_email(did)
                self._waiting.pop(did, None)
            except NoSuchUser:
                self._waiting.pop(did, None)
            except (PrivyUnavailable, StoreUnavailable):
                entry = self._waiting[did]
                entry.delay = min(LAST_RETRY_SECONDS, max(FIRST_RETRY_SECONDS, entry.delay * 2))
                entry.next_at = now + entry.delay

    async def _first_sight(self, did: str) -> User:
        email, verified = "", False
        if self._api is not None and did.startswith(users.PRIVY_PREFIX):
            try:
                email, verified = await self._api.email_of(did), True
            except NoSuchUser:
                raise TokenRefused("The identity provider does not know this user any more.") from None
            except PrivyUnavailable:
                _log.info("the address of a new user could not be looked up; it is tried again later")
                self._wait_for(did, FIRST_RETRY_SECONDS)
        now = self._wall_clock()

        async def work(tx: Tx) -> User | None:
            made = await users.insert(tx, did, now, email=email, verified=verified)
            return made or await users.find_external(tx, did)

        user = await self._store.write(work)
        if user is None:
            raise TokenRefused("This account was deleted.")
        return user

    async def _note_email(self, did: str) -> None:
        assert self._api is not None
        email = await self._api.email_of(did)
        now = self._wall_clock()

        async def work(tx: Tx) -> str | None:
            account_id = await users.set_verified_email(tx, did, email, now)
            if account_id is not None:
                await self._changes.announce(tx, "account", account_id)
            return account_id

        with self.cache.changing(did):
            await self._store.write(work)

    def _wait_for(self, did: str, delay: float) -> None:
        if len(self._waiting) < MAX_WAITING:
            self._waiting.setdefault(did, _Waiting(self._clock() + delay, max(delay, FIRST_RETRY_SECONDS)))
