"""All parts of accounts, built in one place over one store; nothing is global.

Owner: whoever opens them starts the tasks of `Accounts.tasks` and closes the store after them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import trio

from server.accounts import api_keys, provider_tokens, publishing_keys, web_sessions
from server.accounts.bearer import BearerDirectory, PrivyLogin
from server.accounts.callers import Callers
from server.accounts.changes import Changes
from server.accounts.credentials import ListedSecrets
from server.accounts.device_login import SWEEP_SECONDS, DeviceLogin
from server.accounts.key_desk import KeyDesk
from server.accounts.local_login import LocalLogin, SignUp
from server.accounts.passwords import PasswordHasher
from server.accounts.provider_tokens import ProviderTokens, TokenBook
from server.accounts.publishing_keys import PublishingKeys
from server.accounts.settings_keys import SettingsKeys
from server.accounts.store_keys import StoreKeys
from server.accounts.use_notes import UseNotes
from server.accounts.users import AdminRule
from server.accounts.web_sessions import WebSessions
from server.limits import NetworkLimits, RequestLimiter, TierRates

if TYPE_CHECKING:
    from server.accounts.admin_codes import AdminCodes
    from server.accounts.privy_users import PrivyUsers
    from server.config import CoordinatorSettings
    from server.limits.network import OnNetworkRejected
    from server.limits.request_limiter import OnRejected
    from server.store import Store

Task = tuple[str, Callable[[], Awaitable[None]]]
MICROSECONDS: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """The parts. `local` is None where passwords do not sign in, the Privy parts where it is not configured."""

    changes: Changes
    keys: BearerDirectory
    key_desk: KeyDesk
    callers: Callers
    sessions: WebSessions
    local: LocalLogin | None
    device: DeviceLogin
    provider_tokens: ProviderTokens
    book: TokenBook
    publishing: PublishingKeys
    admin_keys: ListedSecrets
    release_keys: ListedSecrets
    is_admin: AdminRule
    limiter: RequestLimiter
    limits: NetworkLimits
    privy: PrivyLogin | None
    privy_users: PrivyUsers | None
    admin_codes: AdminCodes | None
    notes: tuple[UseNotes, ...]

    def tasks(self) -> list[Task]:
        """Name the background tasks: each runs until cancelled and may be started again after a crash."""
        found: list[Task] = [(f"use_notes_{number}", notes.run) for number, notes in enumerate(self.notes)]
        found.append(("accounts_upkeep", self.upkeep))
        if self.privy_users is not None:
            found.append(("privy_users", self.privy_users.run))
        if self.admin_codes is not None:
            found.append(("admin_codes", self.admin_codes.run))
        return found

    async def upkeep(self) -> None:
        """Every five minutes, delete old device codes and look again at the tokens of live connections."""
        while True:
            await self.device.sweep()
            await self.provider_tokens.recheck()
            await trio.sleep(SWEEP_SECONDS)


@asynccontextmanager
async def open_accounts(
    settings: CoordinatorSettings,
    store: Store,
    *,
    clock: Callable[[], float],
    wall_clock: Callable[[], int],
    on_rejected: OnRejected | None = None,
    on_network_rejected: OnNetworkRejected | None = None,
    hasher: PasswordHasher | None = None,
) -> AsyncGenerator[Accounts, None]:
    """Build the parts. `clock` is monotonic seconds, `wall_clock` microseconds since the epoch.

    The two rejection hooks are for metrics.
    """
    changes = Changes(store)
    key_notes = UseNotes(store, api_keys.note_used)
    session_notes = UseNotes(store, web_sessions.note_seen)
    token_notes = UseNotes(store, provider_tokens.note_used)
    publishing_notes = UseNotes(store, publishing_keys.note_used)
    is_admin = AdminRule(settings.admin_emails)
    admin_keys = ListedSecrets(settings.admin_keys)
    stored = StoreKeys(store, changes=changes, uses=key_notes, clock=clock, wall_clock=wall_clock)
    limits = NetworkLimits(clock=clock, on_rejected=on_network_rejected)
    book = TokenBook()
    async with AsyncExitStack() as stack:
        privy, people, codes = await _privy(settings, store, stack, changes, is_admin, clock, wall_clock)
        bearer = BearerDirectory(
            listed=SettingsKeys(settings.api_keys), stored=stored, admin_keys=admin_keys, privy=privy
        )
        sessions = WebSessions(store, uses=session_notes, wall_clock=wall_clock)
        yield Accounts(
            changes=changes,
            keys=bearer,
            key_desk=KeyDesk(store, keys=stored, changes=changes, wall_clock=wall_clock),
            callers=Callers(store=store, bearer=bearer, sessions=sessions, limits=limits, is_admin=is_admin),
            sessions=sessions,
            local=_local(settings, store, hasher, wall_clock),
            device=DeviceLogin(store, wall_clock=wall_clock),
            provider_tokens=ProviderTokens(store, changes=changes, uses=token_notes, book=book, wall_clock=wall_clock),
            book=book,
            publishing=PublishingKeys(
                store,
                bootstrap=ListedSecrets([settings.publishing_key]),
                admin_keys=admin_keys,
                uses=publishing_notes,
                wall_clock=wall_clock,
            ),
            admin_keys=admin_keys,
            release_keys=ListedSecrets([settings.release_key]),
            is_admin=is_admin,
            limiter=RequestLimiter(
                TierRates.of(settings),
                clock=clock,
                wall_clock=lambda: wall_clock() / MICROSECONDS,
                on_rejected=on_rejected,
            ),
            limits=limits,
            privy=privy,
            privy_users=people,
            admin_codes=codes,
            notes=(key_notes, session_notes, token_notes, publishing_notes),
        )


def _local(
    settings: CoordinatorSettings, store: Store, hasher: PasswordHasher | None, wall_clock: Callable[[], int]
) -> LocalLogin | None:
    if not settings.local_auth_on:
        return None
    sign_up = cast(SignUp, settings.signup)
    return LocalLogin(store, hasher=hasher or PasswordHasher(), sign_up=sign_up, wall_clock=wall_clock)


async def _privy(
    settings: CoordinatorSettings,
    store: Store,
    stack: AsyncExitStack,
    changes: Changes,
    is_admin: AdminRule,
    clock: Callable[[], float],
    wall_clock: Callable[[], int],
) -> tuple[PrivyLogin | None, PrivyUsers | None, AdminCodes | None]:
    """Build what Privy needs; nothing of it is loaded without an app id."""
    if settings.privy_app_id is None:
        return None, None, None
    from server.accounts.admin_codes import AdminCodes
    from server.accounts.privy_api import PrivyAddress, PrivyApi, privy_client
    from server.accounts.privy_keys import KeySet
    from server.accounts.privy_tokens import PinnedKey, PrivyTokens, PublicKeys
    from server.accounts.privy_users import PrivyUsers

    client = await stack.enter_async_context(privy_client())
    keys: PublicKeys
    if settings.privy_verification_key is not None:
        keys = PinnedKey(settings.privy_verification_key.reveal())
    else:
        assert settings.privy_jwks_url is not None, "the settings are checked at start"
        keys = KeySet(settings.privy_jwks_url, client=client, clock=clock)
    secret = settings.privy_app_secret
    api = None
    if secret is not None:
        api = PrivyApi(PrivyAddress(settings.privy_api_url, settings.privy_app_id, secret), client)
    tokens = PrivyTokens(settings.privy_app_id, keys, now=lambda: wall_clock() / MICROSECONDS)
    people = PrivyUsers(store, api=api, changes=changes, clock=clock, wall_clock=wall_clock)
    codes = None if api is None else AdminCodes(api, is_admin)
    return PrivyLogin(tokens, people, is_admin), people, codes
