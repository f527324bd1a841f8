"""What billing, payments and rate limits report, turned into metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, get_args

from server.billing.observer import HoldOutcome, MoneyStep
from server.limits import Dimension, Tier
from server.payments.alerts import AlertKind, WebhookEndpoint, WebhookResult

if TYPE_CHECKING:
    from server.billing.service import Billing
    from server.billing.settle import Settled
    from server.observe.metrics import Metrics

_OPERATIONS: Final = ("settle", "release")
_TRANSACTION_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class MoneyMetrics:
    """Counts money in micro-USD; a BillingObserver, a PaymentsMeter, and the ear of the rate limits."""

    def __init__(self, metrics: Metrics) -> None:
        declare = metrics.families
        self._holds = declare.counter(
            "darkbloom_billing_reservations", "Holds that were asked for.", outcome=get_args(HoldOutcome)
        )
        number = declare.number
        self._held = number("darkbloom_billing_reserved_micro_usd", "Money put on hold.")
        self._released = number("darkbloom_billing_reservation_refunds", "Holds given back without a charge.")
        self._settled = number("darkbloom_billing_settled_requests", "Requests that were settled.")
        self._cost = number("darkbloom_billing_charged_micro_usd", "Charges to consumers.")
        self._unused = number("darkbloom_billing_settlement_refund_micro_usd", "Parts of holds that were not charged.")
        self._overage = number("darkbloom_billing_overage_charged_micro_usd", "Charges beyond what was on hold.")
        self._payout = number("darkbloom_billing_provider_credits_micro_usd", "Earnings of machines' owners.")
        self._fees = number("darkbloom_billing_platform_fees_micro_usd", "Fees that the platform kept.")
        self._clamped = number("darkbloom_billing_cost_clamped", "Costs cut to twice the hold.")
        self._zeroed = number(
            "darkbloom_billing_uncollected_zeroed", "Requests whose cost could not be collected, so nobody was paid."
        )
        self._zero_usage = number(
            "darkbloom_billing_zero_usage_complete", "Answers with content for which a provider reported no tokens."
        )
        self._discount = number(
            "darkbloom_billing_cache_read_discount_micro_usd", "What cached prompt tokens saved consumers."
        )
        self._deferred = number("darkbloom_billing_deferred", "Operations that wait for the database to come back.")
        self._lost = declare.counter(
            "darkbloom_billing_credit_failed", "Operations that were given up.", op=_OPERATIONS
        )
        took = declare.histogram(
            "darkbloom_billing_transaction_seconds",
            "Time from asking for a transaction on the books to its commit.",
            _TRANSACTION_BUCKETS,
            step=get_args(MoneyStep),
        )
        self._took = {step: took.series(step) for step in get_args(MoneyStep)}
        self._rejections = declare.counter(
            "darkbloom_ratelimit_rejections", "Refused calls.", tier=get_args(Tier), dimension=get_args(Dimension)
        )
        self._alerts = declare.counter(
            "darkbloom_payment_alerts", "What an operator must look at.", kind=get_args(AlertKind)
        )
        self._webhooks = declare.counter(
            "darkbloom_payment_webhooks",
            "Webhooks from Stripe.",
            endpoint=get_args(WebhookEndpoint),
            result=get_args(WebhookResult),
        )

    # --- billing ----------------------------------------------------------------------------------------------------

    def hold_taken(self, outcome: HoldOutcome, amount: int) -> None:
        """See BillingObserver."""
        self._holds.inc(outcome)
        if outcome == "held":
            self._held.amount += amount

    def hold_released(self, amount: int, reason: str) -> None:
        """See BillingObserver."""
        self._released.inc()

    def settled(self, result: Settled, *, discount: int) -> None:
        """See BillingObserver."""
        self._settled.amount += 1
        self._cost.amount += result.cost
        self._unused.amount += max(0, result.reserved - result.cost)
        self._overage.amount += max(0, result.cost - result.reserved)
        self._payout.amount += result.payout
        self._fees.amount += max(0, result.platform)
        self._discount.amount += discount
        if result.clamped:
            self._clamped.inc()
        if result.uncollected:
            self._zeroed.inc()

    def zero_usage(self) -> None:
        """See BillingObserver."""
        self._zero_usage.inc()

    def deferred(self, depth: int) -> None:
        """See BillingObserver."""
        self._deferred.inc()

    def lost(self, operation: str) -> None:
        """See BillingObserver."""
        self._lost.inc(operation)

    def took(self, step: MoneyStep, seconds: float) -> None:
        """See BillingObserver."""
        self._took[step].observe(seconds)

    # --- payments and limits ----------------------------------------------------------------------------------------

    def alert(self, kind: AlertKind) -> None:
        """See PaymentsMeter."""
        self._alerts.inc(kind)

    def webhook(self, endpoint: WebhookEndpoint, result: WebhookResult) -> None:
        """See PaymentsMeter."""
        self._webhooks.inc(endpoint, result)

    def rejected(self, tier: Tier, dimension: Dimension) -> None:
        """Count one call that a rate limit refused."""
        self._rejections.inc(tier, dimension)


def declare_money_gauges(metrics: Metrics, billing: Billing) -> None:
    """Declare what is read whenever metrics are asked for: open holds, what waits for the database, the last audit."""
    desk, queue, audit = billing.desk, billing.queue, billing.audit
    metrics.reading("darkbloom_billing_open_holds", "Open holds.", (), lambda: [((), desk.gauge().number)])
    metrics.reading("darkbloom_billing_open_holds_micro_usd", "Money on hold.", (), lambda: [((), desk.gauge().amount)])
    metrics.reading(
        "darkbloom_billing_oldest_hold_seconds",
        "Age of the oldest open hold.",
        (),
        lambda: [((), desk.gauge().oldest_seconds)],
    )
    metrics.reading(
        "darkbloom_billing_waiting_operations", "Operations that wait for the database.", (), lambda: [((), len(queue))]
    )
    metrics.reading(
        "darkbloom_ledger_sum_micro_usd",
        "Sum of all entries of the ledger at the last hourly audit; anything but 0 is an error.",
        (),
        lambda: [] if audit.report is None else [((), audit.report.total)],
    )
    metrics.reading(
        "darkbloom_ledger_differences",
        "Differences that the last hourly audit of the books found.",
        (),
        lambda: [] if audit.report is None else [((), audit.problems)],
    )
