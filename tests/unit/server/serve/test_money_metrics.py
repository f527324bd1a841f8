"""What billing, payments and limits report arrives under the names that dashboards read."""

from __future__ import annotations

from server.billing.prices import Tariff
from server.billing.service import make_billing
from server.billing.settle import Settled
from server.observe import Metrics
from server.observe.exposition import render
from server.serve.money_metrics import MoneyMetrics, declare_money_gauges
from server.store import Store
from tests.testbed.books import Books


def exported(metrics: Metrics) -> dict[str, float]:
    """The samples of the text format, by name with labels."""
    body, _kind = render(metrics.families.registry, "")
    lines = [line for line in body.decode().splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_what_is_reported_is_counted() -> None:
    metrics = Metrics()
    money = MoneyMetrics(metrics)
    money.hold_taken("held", 700)
    money.hold_taken("insufficient_funds", 900)
    money.hold_released(700, "unused")
    money.settled(
        Settled(fresh=True, cost=500, payout=400, reward=10, platform=90, reserved=700, clamped=True), discount=7
    )
    money.settled(Settled(fresh=True, cost=900, payout=0, platform=0, reserved=700, uncollected=True), discount=0)
    money.zero_usage()
    money.deferred(3)
    money.lost("settle")
    money.took("settle", 0.002)
    money.alert("first_withdrawal_held")
    money.webhook("deposits", "duplicate")
    money.rejected("consumer", "input_tokens")
    found = exported(metrics)
    billing = "darkbloom_billing_"
    expected = {
        f'{billing}reservations_total{{outcome="held"}}': 1,
        f'{billing}reservations_total{{outcome="insufficient_funds"}}': 1,
        f"{billing}reserved_micro_usd_total": 700,
        f"{billing}reservation_refunds_total": 1,
        f"{billing}settled_requests_total": 2,
        f"{billing}charged_micro_usd_total": 1400,
        f"{billing}settlement_refund_micro_usd_total": 200,
        f"{billing}overage_charged_micro_usd_total": 200,
        f"{billing}provider_credits_micro_usd_total": 400,
        f"{billing}platform_fees_micro_usd_total": 90,
        f"{billing}cost_clamped_total": 1,
        f"{billing}uncollected_zeroed_total": 1,
        f"{billing}zero_usage_complete_total": 1,
        f"{billing}cache_read_discount_micro_usd_total": 7,
        f"{billing}deferred_total": 1,
        f'{billing}credit_failed_total{{op="settle"}}': 1,
        f'{billing}transaction_seconds_count{{step="settle"}}': 1,
        f'{billing}transaction_seconds_bucket{{le="0.001",step="settle"}}': 0,
        f'{billing}transaction_seconds_bucket{{le="0.0025",step="settle"}}': 1,
        'darkbloom_payment_alerts_total{kind="first_withdrawal_held"}': 1,
        'darkbloom_payment_webhooks_total{endpoint="deposits",result="duplicate"}': 1,
        'darkbloom_ratelimit_rejections_total{dimension="input_tokens",tier="consumer"}': 1,
    }
    assert {name: found.get(name) for name in expected} == expected


async def test_the_gauges_read_holds_and_the_last_audit(store: Store) -> None:
    books = Books(store)
    await books.grant("ann", credit=1_000)
    billing = make_billing(
        store, Tariff(), wall_clock=lambda: books.now, instance_id="one", is_known_model=lambda _name: True
    )
    metrics = Metrics()
    declare_money_gauges(metrics, billing)
    before = exported(metrics)
    assert (before["darkbloom_billing_open_holds"], before["darkbloom_billing_waiting_operations"]) == (0, 0)
    assert "darkbloom_ledger_sum_micro_usd" not in before
    await billing.audit.look()
    sound = exported(metrics)
    assert (sound["darkbloom_ledger_sum_micro_usd"], sound["darkbloom_ledger_differences"]) == (0, 0)
    await books.run("UPDATE ledger_entries SET amount_micro_usd = amount_micro_usd + 5 WHERE account_id = 'ann'")
    await billing.audit.look()
    broken = exported(metrics)
    assert broken["darkbloom_ledger_sum_micro_usd"] == 5
    assert broken["darkbloom_ledger_differences"] > 0
