"""Local accounts: passwords, the first administrator, invitations, sign-in, change of password."""

from __future__ import annotations

import pytest
import trio

from protocol.api.errors import ApiError
from server.accounts import passwords, users
from server.accounts.local_login import (
    INVITE_USED,
    SETUP_TOKEN_LIVES,
    SETUP_UNKNOWN,
    SETUP_USED,
    LocalLogin,
    SignUp,
    SignUpRefused,
    normal_login,
)
from server.accounts.passwords import PasswordHasher, PasswordRefused, check_new_password
from server.accounts.use_notes import UseNotes
from server.accounts.web_sessions import WebSessions, note_seen
from server.store import NotFound, Store
from tests.unit.server.accounts.people import Times, add_user

GOOD = "correct horse battery"


def login_of(store: Store, times: Times, sign_up: SignUp = "open") -> LocalLogin:
    return LocalLogin(store, hasher=PasswordHasher(log_n=4), sign_up=sign_up, wall_clock=times.wall_clock)


@pytest.mark.parametrize(
    "password", ["tiny pass", "123456789", "1234567890", "Password123", "aaaaaaaaaaaa", "ada@example.com", "x" * 257]
)
def test_bad_passwords_are_refused(password: str) -> None:
    with pytest.raises(PasswordRefused) as caught:
        check_new_password(password, "Ada@example.com")
    assert password not in str(caught.value)


def test_good_passwords_are_taken() -> None:
    for password in (GOOD, "äöüß-ünïcode", "x7$kQ!p2zz"):
        check_new_password(password, "ada@example.com")


async def test_hashes_are_salted_scrypt_of_the_agreed_cost() -> None:
    hasher = PasswordHasher()
    first, second = await hasher.hash(GOOD), await hasher.hash(GOOD)
    assert first != second
    assert first.startswith("scrypt$15$")
    assert GOOD not in first
    assert await hasher.matches(GOOD, first)
    assert not await hasher.matches(GOOD + "x", first)


async def test_nobody_costs_a_hash_and_never_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    costs: list[int] = []
    real = passwords._scrypt

    def counted(secret: bytes, salt: bytes, log_n: int) -> bytes:
        costs.append(log_n)
        return real(secret, salt, log_n)

    monkeypatch.setattr(passwords, "_scrypt", counted)
    hasher = PasswordHasher(log_n=4)
    assert not await hasher.matches(GOOD, None)
    assert not await hasher.matches(GOOD, await hasher.hash("another password"))
    assert costs == [4, 4, 4]
    monkeypatch.setattr(passwords, "_scrypt", lambda *_: b"\0" * 32)
    assert not await hasher.matches(GOOD, None)


async def test_spellings_of_one_password_are_one() -> None:
    hasher = PasswordHasher(log_n=4)
    assert await hasher.matches("cafe\u0301 au lait!", await hasher.hash("caf\u00e9 au lait!"))


async def test_at_most_two_hashes_run_and_64_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    running, most = 0, 0
    release = trio.Event()

    async def slow(*_: object, limiter: trio.CapacityLimiter) -> bytes:
        nonlocal running, most
        async with limiter:
            running += 1
            most = max(most, running)
            await release.wait()
            running -= 1
        return b"\0" * 32

    monkeypatch.setattr(passwords.trio.to_thread, "run_sync", slow)
    hasher = PasswordHasher()
    async with trio.open_nursery() as nursery:
        for _ in range(passwords.MAX_WAITING):
            nursery.start_soon(hasher.hash, GOOD)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ApiError) as caught:
            await hasher.hash(GOOD)
        assert caught.value.status == 429
        release.set()
    assert most == passwords.AT_ONCE
    assert running == 0


@pytest.mark.parametrize(
    ("typed", "norm"), [(" Ada@Example.COM ", "ada@example.com"), ("ＡＤＡ", "ada"), ("Straße", "strasse")]
)
def test_names_are_compared_without_case_and_width(typed: str, norm: str) -> None:
    assert normal_login(typed) == norm


@pytest.mark.parametrize("typed", ["", "ab", "a b c", "a\x00bc", "x" * 300, "a\u2028bcd"])
def test_what_is_no_name_is_refused(typed: str) -> None:
    with pytest.raises(ValueError):
        normal_login(typed)


async def test_sign_up_and_sign_in(store: Store) -> None:
    local = login_of(store, Times())
    made = await local.join("Ada@example.com", GOOD)
    assert made.is_local
    assert not made.is_admin
    assert (made.email, made.email_norm) == ("ada@example.com", "")
    assert await local.sign_in("ADA@example.com ", GOOD) == made
    assert await local.name_of(made.account_id) == "ada@example.com"
    for login, password in (("ada@example.com", GOOD + "x"), ("eve@example.com", GOOD), ("a\x00", GOOD), ("", "")):
        assert await local.sign_in(login, password) is None


async def test_a_local_address_is_not_verified_and_earns_no_grants(store: Store) -> None:
    await login_of(store, Times()).join("boss@example.com", GOOD)
    assert await store.read(lambda tx: users.find_by_email(tx, "boss@example.com")) == []


async def test_a_taken_name_is_refused_and_leaves_no_account(store: Store) -> None:
    local = login_of(store, Times())
    await local.join("ada", GOOD)
    with pytest.raises(SignUpRefused, match="taken"):
        await local.join("ADA", GOOD)
    assert await store.read(lambda tx: tx.value("SELECT COUNT(*) FROM users")) == 1


async def test_of_two_who_want_one_name_one_gets_it(store: Store) -> None:
    local = login_of(store, Times())
    outcomes: list[bool] = []

    async def join() -> None:
        try:
            await local.join("ada", GOOD)
            outcomes.append(True)
        except SignUpRefused:
            outcomes.append(False)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(join)
    assert sorted(outcomes) == [False, False, False, True]


async def test_closed_means_closed(store: Store) -> None:
    with pytest.raises(SignUpRefused, match="not open"):
        await login_of(store, Times(), "closed").join("ada", GOOD)


async def test_invitations_count_their_uses(store: Store) -> None:
    times = Times()
    local = login_of(store, times, "invite")
    code = await local.invite("admin", max_uses=2)
    made = await local.join("ada", GOOD, code)
    await local.join("eve", GOOD, code)
    for wrong in (code, "", "0" * 64):
        with pytest.raises(SignUpRefused, match=INVITE_USED):
            await local.join("bob", GOOD, wrong)
    uses = await store.read(lambda tx: tx.fetch("SELECT account_id FROM signup_invite_uses"))
    assert made.account_id in {row["account_id"] for row in uses}
    short = await local.invite("admin", lives=60 * 1_000_000)
    times.go(60)
    with pytest.raises(SignUpRefused, match=INVITE_USED):
        await local.join("bob", GOOD, short)


async def test_a_name_that_is_taken_does_not_use_up_the_invitation(store: Store) -> None:
    local = login_of(store, Times(), "invite")
    code = await local.invite("admin", max_uses=2)
    await local.join("ada", GOOD, code)
    with pytest.raises(SignUpRefused, match="taken"):
        await local.join("ada", GOOD, code)
    await local.join("eve", GOOD, code)


async def test_the_setup_link_makes_one_administrator(store: Store) -> None:
    local = login_of(store, Times(), "closed")
    token = await local.new_setup_token()
    assert token is not None
    with pytest.raises(SignUpRefused):
        await local.set_up(token, "ada", "short")
    user = await local.set_up(token, "ada", GOOD)
    assert user.is_admin
    with pytest.raises(SignUpRefused, match=SETUP_USED):
        await local.set_up(token, "eve", GOOD)
    assert await local.new_setup_token() is None
    rows = await store.read(lambda tx: tx.fetch("SELECT * FROM setup_tokens"))
    assert token not in repr([dict(row) for row in rows])


async def test_a_setup_link_ends_after_an_hour(store: Store) -> None:
    times = Times()
    local = login_of(store, times)
    token = await local.new_setup_token()
    assert token is not None
    times.wall += SETUP_TOKEN_LIVES
    for wrong in (token, "0" * 64):
        with pytest.raises(SignUpRefused, match=SETUP_UNKNOWN.partition(";")[0]):
            await local.set_up(wrong, "ada", GOOD)


async def test_two_setup_links_make_one_administrator(store: Store) -> None:
    local = login_of(store, Times())
    tokens = [await local.new_setup_token() for _ in range(4)]
    outcomes: list[bool] = []

    async def set_up(number: int) -> None:
        try:
            await local.set_up(tokens[number] or "", f"admin{number}", GOOD)
            outcomes.append(True)
        except SignUpRefused:
            outcomes.append(False)

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(set_up, number)
    assert sorted(outcomes) == [False, False, False, True]
    assert await store.read(lambda tx: tx.value("SELECT COUNT(*) FROM users")) == 1


async def test_a_new_password_ends_every_session_but_the_new_one(store: Store) -> None:
    times = Times()
    local = login_of(store, times)
    sessions = WebSessions(store, uses=UseNotes(store, note_seen), wall_clock=times.wall_clock)
    user = await local.join("ada", GOOD)
    old = [await sessions.open(user.account_id, "local") for _ in range(2)]
    assert await local.change_password(user.account_id, "not the password", "another good one") is None
    opened = await local.change_password(user.account_id, GOOD, "another good one", label="browser")
    assert opened is not None
    assert [one.id for one in await sessions.list(user.account_id)] == [opened.session.id]
    assert await sessions.find(old[0].cookie) is None
    assert await sessions.find(opened.cookie) is not None
    assert await local.sign_in("ada", GOOD) is None
    assert await local.sign_in("ada", "another good one") == user


async def test_an_account_without_password_cannot_change_it(store: Store) -> None:
    user = await add_user(store, "ada")
    with pytest.raises(NotFound):
        await login_of(store, Times()).change_password(user.account_id, GOOD, GOOD)
