"""The mode that moves no money: buying, onboarding and paying out end to end, with ids that say so."""

from __future__ import annotations

import pytest

from protocol.api.errors import ApiError
from protocol.settings import SettingsError
from server.config import load_settings
from server.config.payments import PaymentSettings
from server.payments.open import Payments, open_payments
from server.store import Store
from tests.testbed.stripe_peer_world import CountingMeter, HandClock, World, open_world

MOCK = PaymentSettings(billing_mock=True)


async def test_whole_way_without_a_network(store: Store) -> None:
    async with open_world(store) as world:
        await _whole_way(world)


async def _whole_way(world: World) -> None:
    await world.person("ann", earned=40_000_000)
    async with open_payments(
        MOCK, store=world.store, meter=CountingMeter(), clock=HandClock(), coordinator_host="x"
    ) as payments:
        assert payments.mock
        assert payments.deposits is not None
        assert payments.payouts is not None
        assert payments.deposit_hooks is None
        assert payments.connect_hooks is None
        begun = await payments.deposits.begin("ann", cents=1_000)
        assert begun.stripe_session_id.startswith("cs_mock_")
        assert begun.url == f"http://localhost/billing?session_id={begun.stripe_session_id}"
        assert (await world.balance("ann")) == (50_000_000, 40_000_000, 0, 0)
        onboarded = await payments.payouts.onboarding.begin("ann", country="IN", return_url=None, refresh_url=None)
        again = await payments.payouts.onboarding.begin("ann", country="", return_url=None, refresh_url=None)
        assert onboarded.stripe_account_id == again.stripe_account_id
        assert onboarded.stripe_account_id.startswith("acct_mock_")
        assert onboarded.status == "ready"
        assert (await payments.payouts.onboarding.dashboard("ann")).startswith("https://")
        answer = await payments.payouts.withdrawals.withdraw("ann", gross_micro_usd=10_000_000, method="instant")
        assert answer.row.transfer_id.startswith("tr_mock_")
        assert answer.row.payout_id.startswith("po_mock_")
        assert answer.status == 200
        assert (await world.balance("ann")) == (40_000_000, 30_000_000, 0, 0)
    assert world.peer.calls == []


async def test_accounts_of_the_real_stripe_are_gone(store: Store) -> None:
    async with open_world(store) as world:
        await world.payee("ann", earned=5_000_000)
        async with open_payments(
            MOCK, store=store, meter=CountingMeter(), clock=HandClock(), coordinator_host="x"
        ) as payments:
            assert payments.payouts is not None
            with pytest.raises(ApiError) as caught:
                await payments.payouts.withdrawals.withdraw("ann", gross_micro_usd=2_000_000, method="standard")
            assert caught.value.code == "stripe_account_gone"


async def test_nothing_is_open_without_settings(store: Store) -> None:
    async with open_payments(
        PaymentSettings(), store=store, meter=CountingMeter(), clock=HandClock(), coordinator_host="x"
    ) as payments:
        assert payments == Payments()


KEY = {"DARKBLOOM_STRIPE_SECRET_KEY": "sk_test_1"}
HOOKS = {
    "DARKBLOOM_STRIPE_WEBHOOK_SECRET": "whsec_1, whsec_2",
    "DARKBLOOM_STRIPE_SUCCESS_URL": "https://c.test/ok",
    "DARKBLOOM_STRIPE_CANCEL_URL": "https://c.test/no",
}
CONNECT = {"DARKBLOOM_STRIPE_CONNECT_WEBHOOK_SECRET": "whsec_3"}
PRODUCTION = {"DARKBLOOM_ENV": "production", "DARKBLOOM_API_KEYS": "sk-db-1"}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({**KEY, **HOOKS, "DARKBLOOM_BILLING_MOCK": "1"}, "DARKBLOOM_BILLING_MOCK"),
        ({**PRODUCTION, "DARKBLOOM_BILLING_MOCK": "1"}, "DARKBLOOM_BILLING_MOCK"),
        ({**PRODUCTION, "DARKBLOOM_STRIPE_API_URL": "http://localhost:1"}, "DARKBLOOM_STRIPE_API_URL"),
        (KEY, "DARKBLOOM_STRIPE_WEBHOOK_SECRET"),
        ({**KEY, "DARKBLOOM_STRIPE_WEBHOOK_SECRET": "whsec_1"}, "DARKBLOOM_STRIPE_SUCCESS_URL"),
        ({**KEY, **CONNECT, **PRODUCTION}, "DARKBLOOM_STRIPE_CONNECT_RETURN_URL"),
        ({"DARKBLOOM_STRIPE_CONNECT_COUNTRY": "USA"}, "DARKBLOOM_STRIPE_CONNECT_COUNTRY"),
    ],
)
def test_settings_that_do_not_fit_together(values: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named) as caught:
        load_settings(values)
    assert "sk_test" not in str(caught.value)
    assert "whsec" not in str(caught.value)


@pytest.mark.parametrize("values", [{}, {**KEY, **HOOKS}, {**KEY, **CONNECT}, {"DARKBLOOM_BILLING_MOCK": "true"}])
def test_settings_that_do(values: dict[str, str]) -> None:
    settings = load_settings(values).settings
    assert len(settings.stripe_webhook_secret) == (2 if "DARKBLOOM_STRIPE_SUCCESS_URL" in values else 0)
    assert "sk_test" not in repr(settings)
    assert "whsec" not in repr(settings)
