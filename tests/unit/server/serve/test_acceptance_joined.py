"""Every part of accounts and money is joined to a running coordinator: its endpoints answer, its tasks run."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from protocol.settings import Secret
from server.rewards.runner import BaseRewardRunner
from tests.testbed.money_ask import COST, answering, ask
from tests.testbed.money_people import DOLLAR, LinkedProvider, People

from .conftest import OpenCoordinator, get
from .conftest import ask as ask_plainly

ADMIN_KEY = "admin-" + "k" * 30
ROUTES = [
    ("GET", "/v1/keys"),
    ("POST", "/v1/keys"),
    ("GET", "/v1/key"),
    ("POST", "/v1/auth/keys"),
    ("POST", "/v1/device/code"),
    ("POST", "/v1/device/token"),
    ("POST", "/v1/device/approve"),
    ("GET", "/v1/me/provider-tokens"),
    ("POST", "/v1/admin/auth/init"),
    ("POST", "/auth/session"),
    ("GET", "/v1/pricing"),
    ("PUT", "/v1/pricing"),
    ("PUT", "/v1/admin/pricing"),
    ("GET", "/v1/billing/methods"),
    ("POST", "/v1/billing/stripe/create-session"),
    ("POST", "/v1/billing/stripe/webhook"),
    ("GET", "/v1/billing/stripe/session"),
    ("GET", "/v1/billing/wallet/balance"),
    ("POST", "/v1/billing/stripe/onboard"),
    ("GET", "/v1/billing/stripe/status"),
    ("POST", "/v1/billing/stripe/dashboard"),
    ("DELETE", "/v1/billing/stripe/account"),
    ("GET", "/v1/billing/stripe/withdrawals"),
    ("POST", "/v1/billing/withdraw/stripe"),
    ("POST", "/v1/billing/stripe/connect/webhook"),
    ("POST", "/v1/referral/register"),
    ("POST", "/v1/referral/apply"),
    ("GET", "/v1/referral/stats"),
    ("GET", "/v1/referral/info"),
    ("POST", "/v1/admin/invite-codes"),
    ("GET", "/v1/admin/invite-codes"),
    ("POST", "/v1/invite/redeem"),
    ("POST", "/v1/admin/credit"),
    ("POST", "/v1/admin/reward"),
    ("PUT", "/v1/admin/users/role"),
    ("PUT", "/v1/admin/users/platform-fee"),
    ("GET", "/v1/admin/base-rewards"),
    ("GET", "/v1/payments/balance"),
    ("GET", "/v1/payments/usage"),
    ("GET", "/v1/payments/usage/export"),
    ("GET", "/v1/provider/account-earnings"),
    ("GET", "/v1/provider/node-earnings"),
    ("GET", "/v1/provider/earnings"),
    ("GET", "/v1/provider/earnings/by-device"),
    ("GET", "/v1/me/summary"),
    ("GET", "/v1/leaderboard"),
    ("GET", "/v1/network/totals"),
    ("GET", "/v1/admin/users"),
    ("GET", "/v1/admin/keys"),
    ("GET", "/v1/admin/audit"),
]


async def test_every_endpoint_of_the_specification_is_there(running: OpenCoordinator) -> None:
    async with running() as (_, port):
        missing = []
        for method, path in ROUTES:
            status, _, _ = await ask_plainly(port, get(path, method=method))
            if status in (404, 405) or (status == 500):
                missing.append((method, path, status))
    assert missing == []


async def test_a_state_export_is_there_where_it_is_enabled(running: OpenCoordinator) -> None:
    path = "/v1/admin/state-export"
    asked = get(path, f"Authorization: Bearer {ADMIN_KEY}")
    keys = (Secret(ADMIN_KEY),)
    async with running(admin_keys=keys) as (_, port):
        assert (await ask_plainly(port, asked))[0] == 404
    async with running(admin_keys=keys, state_export_enabled=True) as (_, port):
        assert (await ask_plainly(port, asked))[0] == 412


@pytest.mark.parametrize("on", [False, True])
async def test_base_rewards_run_where_they_are_switched_on(
    running: OpenCoordinator, on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = trio.Event()

    async def run(_self: BaseRewardRunner) -> None:
        started.set()
        await trio.sleep_forever()

    monkeypatch.setattr(BaseRewardRunner, "run", run)
    asked = get("/v1/admin/base-rewards", f"Authorization: Bearer {ADMIN_KEY}")
    async with running(admin_keys=(Secret(ADMIN_KEY),), base_rewards=on) as (_, port):
        status, _, body = await ask_plainly(port, asked)
        assert (status, b'"enabled":true' in body) == (200, on)
        assert started.is_set() == on


async def test_a_machines_connection_and_its_earnings_have_the_same_key(running: OpenCoordinator) -> None:
    async with running(min_trust="self_signed") as (coordinator, port):
        people = People(coordinator.books.store)
        consumer, owner = await people.join("consumer", credit=DOLLAR), await people.join("owner")
        machine = LinkedProvider(answering=answering).owned_by(owner)
        async with machine.session(f"ws://127.0.0.1:{port}/ws/provider"):
            assert (await ask(port, consumer)).status == 200
        (earning,) = await people.rows("SELECT provider_key, amount_micro_usd FROM provider_earnings")
        assert earning["amount_micro_usd"] == COST
        sessions = coordinator.books.rewards.sessions
        with trio.fail_after(10):
            while coordinator.registry.sessions():
                await trio.testing.wait_all_tasks_blocked(0.01)
        await sessions.flush()
        (found,) = await people.rows("SELECT * FROM provider_sessions")
        assert found["disconnected_at"] is not None
        assert (found["account_id"], found["provider_key"]) == (owner.account, earning["provider_key"])
