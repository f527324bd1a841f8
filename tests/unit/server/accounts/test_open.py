"""The parts of accounts together: their background tasks run, and what they noted is written when they end."""

from __future__ import annotations

import trio

from protocol.settings import Secret
from server.accounts import Identity
from server.accounts.device_login import LinkedMachine
from server.accounts.open import open_accounts
from server.config import CoordinatorSettings
from server.store import Store
from tests.unit.server.accounts.people import APP, START, Signer, Times, add_user


async def test_background_tasks_run_and_write_their_notes_at_the_end(store: Store) -> None:
    times, signer = Times(), Signer()
    settings = CoordinatorSettings(privy_app_id=APP, privy_verification_key=Secret(signer.pem))
    async with open_accounts(settings, store, clock=times.clock, wall_clock=times.wall_clock) as accounts:
        assert accounts.local is None
        assert accounts.admin_codes is None
        names = [name for name, _task in accounts.tasks()]
        assert len(names) == len(set(names)) == 6
        async with trio.open_nursery() as nursery:
            for _name, task in accounts.tasks():
                nursery.start_soon(task)
            ada = await add_user(store)
            made = await accounts.key_desk.create(ada.account_id, {})
            assert isinstance(await accounts.keys.authenticate(made.secret), Identity)
            assert isinstance(await accounts.keys.authenticate(signer.token()), Identity)
            started = await accounts.device.start()
            await accounts.device.approve(started.user_code, ada.account_id)
            machine = await accounts.device.poll(started.device_code)
            assert isinstance(machine, LinkedMachine)
            assert await accounts.provider_tokens.link("session", machine.token) == ada.account_id
            nursery.cancel_scope.cancel()
    used = await store.read(lambda tx: tx.value("SELECT last_used_at FROM api_keys"))
    linked = await store.read(lambda tx: tx.value("SELECT last_used_at FROM provider_tokens"))
    assert used == linked == START * 1_000_000


async def test_sign_in_without_privy_is_local(store: Store) -> None:
    times = Times()
    async with open_accounts(CoordinatorSettings(), store, clock=times.clock, wall_clock=times.wall_clock) as accounts:
        assert accounts.local is not None
        assert (accounts.privy, accounts.privy_users) == (None, None)
        assert await accounts.local.new_setup_token() is not None
