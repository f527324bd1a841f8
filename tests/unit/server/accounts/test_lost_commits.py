"""A transaction whose COMMIT took effect, but whose answer was lost, is run again: nobody may lose a secret by it."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from server.accounts import Identity
from server.accounts.device_login import DeviceLogin, LinkedMachine
from server.accounts.local_login import LocalLogin
from server.accounts.passwords import PasswordHasher
from server.store import Store
from tests.testbed.lost_commits import LostCommits, open_lossy_store
from tests.testbed.needs import absent
from tests.testbed.postgres_server import NoServer
from tests.unit.server.accounts.people import KeyWorld, Times, add_user


@pytest.fixture(params=["sqlite", "postgres"])
async def lossy(request: pytest.FixtureRequest) -> AsyncGenerator[tuple[Store, LostCommits], None]:
    try:
        async with open_lossy_store(request.param) as opened:
            yield opened
    except NoServer as problem:
        absent(problem)


async def test_one_key_is_made_and_its_secret_is_the_one_that_is_shown(lossy: tuple[Store, LostCommits]) -> None:
    store, losses = lossy
    world = KeyWorld(store)
    ada = (await add_user(store)).account_id
    losses.pending = 1
    made = await world.desk.create(ada, {"name": "laptop"})
    assert losses.pending == 0
    assert [record.key.id for record in await world.desk.list_live(ada)] == [made.key.id]
    assert isinstance(await world.keys.authenticate(made.secret), Identity)


async def test_a_rotated_key_has_a_successor_that_is_shown(lossy: tuple[Store, LostCommits]) -> None:
    store, losses = lossy
    world = KeyWorld(store)
    ada = (await add_user(store)).account_id
    old = await world.desk.create(ada, {"name": "laptop"})
    losses.pending = 1
    made = await world.desk.rotate(ada, old.key.id)
    assert losses.pending == 0
    assert [record.key.id for record in await world.desk.list_live(ada)] == [made.key.id]
    assert made.key.settings.name == "laptop"
    assert isinstance(await world.keys.authenticate(made.secret), Identity)


async def test_a_machine_gets_the_token_that_is_stored(lossy: tuple[Store, LostCommits]) -> None:
    store, losses = lossy
    ada = (await add_user(store)).account_id
    device = DeviceLogin(store, wall_clock=Times().wall_clock)
    losses.pending = 1
    started = await device.start(client_label="mini")
    assert losses.pending == 0
    assert await device.approve(started.user_code, ada) == "done"
    losses.pending = 1
    found = await device.poll(started.device_code)
    assert losses.pending == 0
    assert isinstance(found, LinkedMachine)
    assert found.account_id == ada
    tokens = KeyWorld(store)
    rows = await tokens.store.read(lambda tx: tx.fetch("SELECT label FROM provider_tokens WHERE active = 1"))
    assert [row["label"] for row in rows] == [f"device-{started.user_code}"]
    assert await device.poll(started.device_code) == "invalid_grant"


async def test_an_invitation_and_a_new_password_work_once(lossy: tuple[Store, LostCommits]) -> None:
    store, losses = lossy
    login = LocalLogin(store, hasher=PasswordHasher(log_n=4), sign_up="invite", wall_clock=Times().wall_clock)
    losses.pending = 1
    code = await login.invite("admin")
    losses.pending = 1
    user = await login.join("grace", "a long password", code)
    assert losses.pending == 0
    assert await login.sign_in("grace", "a long password") == user
    losses.pending = 1
    assert await login.change_password(user.account_id, "a long password", "another password") is not None
    assert losses.pending == 0
    assert await login.sign_in("grace", "another password") == user
    assert await login.sign_in("grace", "a long password") is None
