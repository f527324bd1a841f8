"""Who a caller is: the order of credentials, cookies and their origin, failed tries, and the guards."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.api.errors import ApiError
from protocol.settings import Secret
from server.accounts import AuthRefusal, Identity, guards
from server.accounts.bearer import ADMIN_IDENTITY, BearerDirectory, PrivyLogin
from server.accounts.browser import BrowserFacts
from server.accounts.callers import MAX_TOKEN_CHARACTERS, Callers, RequestFacts
from server.accounts.credentials import ListedSecrets
from server.accounts.privy_tokens import PinnedKey, PrivyTokens
from server.accounts.privy_users import PrivyUsers
from server.accounts.provider_tokens import ProviderTokens, TokenBook, insert, note_used
from server.accounts.publishing_keys import PublishingKeys
from server.accounts.publishing_keys import note_used as note_publishing
from server.accounts.settings_keys import SettingsKeys
from server.accounts.use_notes import UseNotes
from server.accounts.users import AdminRule
from server.accounts.web_sessions import WebSessions, note_seen
from server.limits import NetworkLimits, RateLimited
from server.store import Store
from tests.unit.server.accounts.people import APP, KeyWorld, Signer, add_user

ADMIN_KEY = "admin-key-" + "a" * 30
LISTED_KEY = "sk-db-listed-in-settings"
OURS = frozenset({"https://console.example"})


class World(KeyWorld):
    def __init__(self, store: Store, *, with_privy: bool = True) -> None:
        super().__init__(store)
        self.signer = Signer()
        self.is_admin = AdminRule(["ada@example.com"])
        people = PrivyUsers(
            store, api=None, changes=self.changes, clock=self.times.clock, wall_clock=self.times.wall_clock
        )
        tokens = PrivyTokens(APP, PinnedKey(self.signer.pem), now=self.times.unix)
        self.admin_keys = ListedSecrets([Secret(ADMIN_KEY), Secret("another-" + "b" * 30)])
        self.bearer = BearerDirectory(
            listed=SettingsKeys([Secret(LISTED_KEY)]),
            stored=self.keys,
            admin_keys=self.admin_keys,
            privy=PrivyLogin(tokens, people, self.is_admin) if with_privy else None,
        )
        self.sessions = WebSessions(store, uses=UseNotes(store, note_seen), wall_clock=self.times.wall_clock)
        self.limits = NetworkLimits(clock=self.times.clock)
        self.callers = Callers(
            store=store, bearer=self.bearer, sessions=self.sessions, limits=self.limits, is_admin=self.is_admin
        )

    async def ask(self, **facts: Any) -> Identity:
        browser = BrowserFacts(
            method=facts.pop("method", "GET"),
            own_origins=OURS,
            origin=facts.pop("origin", ""),
            fetch_site=facts.pop("site", ""),
            csrf=facts.pop("csrf", ""),
        )
        token = facts.pop("token", None)
        if token is not None:
            facts["authorization"] = f"Bearer {token}"
        return await self.callers.identify(RequestFacts(ip=facts.pop("ip", "203.0.113.7"), browser=browser, **facts))

    async def refusal(self, **facts: Any) -> ApiError:
        with pytest.raises(ApiError) as caught:
            await self.ask(**facts)
        return caught.value


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


async def test_no_credentials_are_missing_credentials(world: World) -> None:
    for facts in ({}, {"authorization": "Bearer "}, {"authorization": "Basic abc"}, {"api_key": "  "}):
        error = await world.refusal(**facts)
        assert (error.status, error.error_type) == (401, "authentication_error")
        assert "missing credentials" in error.message


async def test_an_identity_token_is_its_user(world: World) -> None:
    ada = await add_user(world.store, "ada")
    found = await world.ask(token=world.signer.token())
    assert (found.account_id, found.credential, found.key_id) == (ada.account_id, "jwt", "")
    assert found.is_admin
    eve = await world.ask(token=world.signer.token(sub="did:privy:eve"))
    assert not eve.is_admin
    assert eve.has_user


async def test_a_bad_identity_token_is_never_tried_as_a_key(world: World) -> None:
    error = await world.refusal(token="eyJhbGciOiJub25lIn0.e30.")
    assert (error.status, error.error_type, error.code) == (401, "authentication_error", "authentication_error")
    assert "Privy token" in error.message
    assert len(world.keys.cache) == 0


async def test_without_privy_a_token_is_an_unknown_key(store: Store) -> None:
    world = World(store, with_privy=False)
    error = await world.refusal(token=world.signer.token())
    assert "API key" in error.message


async def test_admin_keys_are_the_admin(world: World) -> None:
    for key in (ADMIN_KEY, "another-" + "b" * 30):
        found = await world.ask(token=key)
        assert found == ADMIN_IDENTITY
        assert (found.account_id, found.covered, found.unlimited) == ("admin", True, True)
    assert await world.refusal(token=ADMIN_KEY + "x")


async def test_admin_keys_and_identity_tokens_do_not_count_as_x_api_key(world: World) -> None:
    await add_user(world.store, "ada")
    assert (await world.refusal(api_key=ADMIN_KEY)).status == 401
    assert (await world.refusal(api_key=world.signer.token())).status == 401
    assert (await world.ask(api_key=LISTED_KEY)).credential == "key"


async def test_bearer_wins_over_x_api_key_and_over_the_cookie(world: World) -> None:
    opened = await world.sessions.open((await add_user(world.store, "eve")).account_id, "local")
    found = await world.ask(token=ADMIN_KEY, api_key=LISTED_KEY, cookie=opened.cookie)
    assert found.account_id == "admin"
    assert (await world.ask(api_key=LISTED_KEY, cookie=opened.cookie)).credential == "key"
    assert (await world.refusal(token="wrong", cookie=opened.cookie)).status == 401


async def test_keys_of_the_settings_come_before_stored_ones(world: World) -> None:
    found = await world.ask(token=LISTED_KEY)
    assert found.account_id.startswith("acct_")
    assert (found.covered, found.unlimited, found.has_user, found.is_admin) == (True, True, False, False)
    assert len(world.keys.cache) == 0


async def test_stored_keys(world: World) -> None:
    ada = await add_user(world.store, "ada")
    made = await world.desk.create(ada.account_id, {})
    found = await world.ask(token=made.secret)
    assert found.account_id == ada.account_id
    assert not found.is_admin
    await world.desk.revoke(ada.account_id, made.key.id)
    error = await world.refusal(token=made.secret)
    assert (error.status, error.error_type, error.code) == (401, "authentication_error", "key_revoked")


async def test_an_endless_token_is_refused_unread(world: World) -> None:
    assert (await world.refusal(token="x" * (MAX_TOKEN_CHARACTERS + 1))).status == 401
    assert len(world.keys.cache) == 0


async def test_a_cookie_is_its_person_on_same_origin_requests(world: World) -> None:
    ada = await add_user(world.store, "ada", local=True, is_admin=True)
    cookie = (await world.sessions.open(ada.account_id, "local")).cookie
    found = await world.ask(cookie=cookie)
    assert (found.account_id, found.credential, found.is_admin) == (ada.account_id, "cookie", True)
    assert found.session_hash
    assert found.session_hash not in repr(found)
    for site in ("cross-site", "same-site"):
        assert "missing credentials" in (await world.refusal(cookie=cookie, site=site)).message
    assert "missing" in (await world.refusal(cookie=cookie, origin="https://evil.example")).message


async def test_unsafe_methods_with_a_cookie_need_proof(world: World) -> None:
    ada = await add_user(world.store, "ada")
    cookie = (await world.sessions.open(ada.account_id, "privy")).cookie
    for proof in ({"site": "same-origin"}, {"origin": "https://console.example"}):
        assert await world.ask(cookie=cookie, method="POST", csrf="1", **proof)
        assert (await world.refusal(cookie=cookie, method="POST", **proof)).code == "csrf_failed"
    assert (await world.refusal(cookie=cookie, method="POST", csrf="1")).code == "csrf_failed"
    assert await world.ask(token=LISTED_KEY, method="POST")


async def test_an_ended_session_has_expired(world: World) -> None:
    ada = await add_user(world.store, "ada")
    opened = await world.sessions.open(ada.account_id, "local")
    await world.sessions.end(opened.session.token_hash)
    for cookie in (opened.cookie, "0" * 64, "nonsense", "\x00"):
        assert (await world.refusal(cookie=cookie)).code == "session_expired"


async def test_the_session_of_an_erased_person_is_worth_nothing(world: World) -> None:
    ada = await add_user(world.store, "ada")
    opened = await world.sessions.open(ada.account_id, "local")
    sql = "UPDATE users SET erased_at = 1 WHERE account_id = $1"
    await world.store.write(lambda tx: tx.execute(sql, ada.account_id))
    assert (await world.refusal(cookie=opened.cookie)).status == 401


async def test_a_session_of_a_key_has_the_rights_of_the_key_and_ends_with_it(world: World) -> None:
    ada = await add_user(world.store, "ada", is_admin=True)
    made = await world.desk.create(ada.account_id, {"rpm_limit": 5})
    opened = await world.sessions.open(ada.account_id, "key", key_id=made.key.id)
    found = await world.ask(cookie=opened.cookie)
    assert (found.credential, found.key_id, found.rpm_limit, found.is_admin) == ("key", made.key.id, 5, False)
    with pytest.raises(ApiError, match="signed-in person"):
        guards.require_session(found)
    await world.desk.revoke(ada.account_id, made.key.id)
    assert (await world.refusal(cookie=opened.cookie)).code == "key_revoked"


async def test_a_session_of_a_listed_key_works_while_it_is_listed(world: World) -> None:
    listed = await world.ask(token=LISTED_KEY)
    opened = await world.sessions.open(listed.account_id, "key", key_id=listed.key_id)
    assert (await world.ask(cookie=opened.cookie)).account_id == listed.account_id
    gone = await world.sessions.open("acct_000000000000", "key", key_id="key_000000000000")
    assert (await world.refusal(cookie=gone.cookie)).status == 401


async def test_thirty_failures_shut_a_network_out_but_not_known_good_keys(world: World) -> None:
    ada = await add_user(world.store, "ada")
    made = await world.desk.create(ada.account_id, {})
    await world.ask(token=made.secret)
    for number in range(30):
        assert (await world.refusal(token=f"wrong{number}")).status == 401
    error = await world.refusal(token="wrong again")
    assert isinstance(error, RateLimited)
    assert error.retry_after_seconds == 1
    looked_up = len(world.keys.cache)
    await world.refusal(token="not even looked up")
    assert len(world.keys.cache) == looked_up
    assert (await world.ask(token=made.secret)).account_id == ada.account_id
    assert (await world.ask(token=ADMIN_KEY)).account_id == "admin"
    assert (await world.refusal(token="wrong", ip="203.0.113.8")).status == 401


KEY = Identity(account_id="a", key_id="k", has_user=True)
OWNERLESS = Identity(account_id="legacy:1", key_id="k")
JWT = Identity(account_id="a", key_id="", credential="jwt", has_user=True)
COOKIE = Identity(account_id="a", key_id="", credential="cookie", has_user=True)
ADMIN_PERSON = Identity(account_id="a", key_id="", credential="cookie", has_user=True, is_admin=True)
ADMIN_OWNED_KEY = Identity(account_id="a", key_id="k", has_user=True, is_admin=True)


@pytest.mark.parametrize(
    ("guard", "passing", "status", "error_type"),
    [
        (guards.require_session, [JWT, COOKIE, ADMIN_PERSON], 403, "forbidden"),
        (guards.require_user, [KEY, JWT, COOKIE, ADMIN_PERSON, ADMIN_OWNED_KEY], 401, "auth_error"),
        (guards.require_user_session, [JWT, COOKIE, ADMIN_PERSON], 403, "forbidden"),
        (guards.require_api_key, [KEY, OWNERLESS, ADMIN_OWNED_KEY], 404, "not_found"),
        (guards.require_admin, [ADMIN_IDENTITY, ADMIN_PERSON], 403, "forbidden"),
    ],
)
def test_guards_of_callers(guard: Any, passing: list[Identity], status: int, error_type: str) -> None:
    for caller in (KEY, OWNERLESS, JWT, COOKIE, ADMIN_PERSON, ADMIN_OWNED_KEY, ADMIN_IDENTITY):
        if caller in passing:
            assert guard(caller) is caller
        else:
            with pytest.raises(ApiError) as caught:
                guard(caller)
            assert (caught.value.status, caught.value.error_type) == (status, error_type)


def test_admin_and_release_keys() -> None:
    listed = ListedSecrets([Secret(ADMIN_KEY)])
    guards.require_admin_key(ADMIN_KEY, listed)
    guards.require_release_key(ADMIN_KEY, listed)
    for token in (None, "", ADMIN_KEY[:-1]):
        with pytest.raises(ApiError) as caught:
            guards.require_admin_key(token, listed)
        assert (caught.value.status, caught.value.error_type) == (403, "forbidden")
        with pytest.raises(ApiError) as caught:
            guards.require_release_key(token, listed)
        assert (caught.value.status, caught.value.error_type) == (401, "unauthorized")


async def test_publishing_keys(world: World) -> None:
    keys = PublishingKeys(
        world.store,
        bootstrap=ListedSecrets([Secret("bootstrap-publishing-key")]),
        admin_keys=world.admin_keys,
        uses=UseNotes(world.store, note_publishing),
        wall_clock=world.times.wall_clock,
    )
    made = await keys.create(" build machine ")
    assert await guards.require_publishing(made.secret, None, keys) == "build machine"
    assert await guards.require_publishing(None, made.secret, keys) == "build machine"
    assert await guards.require_publishing(None, ADMIN_KEY, keys) == "admin"
    assert await guards.require_publishing("bootstrap-publishing-key", "wrong", keys) == "publishing"
    for header, token, status in ((None, None, 401), ("", "", 401), ("wrong", made.secret, 403), (None, "x", 403)):
        with pytest.raises(ApiError) as caught:
            await guards.require_publishing(header, token, keys)
        assert caught.value.status == status
    assert [(one.name, one.active) for one in await keys.list()] == [("build machine", True)]
    assert await keys.revoke(made.id)
    assert not await keys.revoke(made.id)
    with pytest.raises(ApiError):
        await guards.require_publishing(made.secret, None, keys)
    assert made.secret not in repr((made, keys, await keys.list()))


async def test_provider_guard(world: World) -> None:
    tokens = ProviderTokens(
        world.store,
        changes=world.changes,
        uses=UseNotes(world.store, note_used),
        book=TokenBook(),
        wall_clock=world.times.wall_clock,
    )
    token = await world.store.write(lambda tx: insert(tx, "ada", "device", 1))
    assert await guards.require_provider(token, tokens) == "ada"
    for wrong in (None, "", ADMIN_KEY, LISTED_KEY):
        with pytest.raises(ApiError) as caught:
            await guards.require_provider(wrong, tokens)
        assert caught.value.status == 401
    assert await world.keys.authenticate(token) == AuthRefusal("invalid_api_key")
