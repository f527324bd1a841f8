"""What a person must look at: a closed set of alerts, each one log line and one count; no content, no secrets."""

from __future__ import annotations

import logging
from typing import Literal, Protocol, TypeAlias

_log = logging.getLogger("darkbloom.payments")

AlertKind: TypeAlias = Literal[
    "deposit_mismatch",
    "deposit_unknown_order",
    "charge_refunded",
    "charge_disputed",
    "transfer_rejected_after_doubt",
    "transfer_outcome_unknown",
    "withdrawal_needs_review",
    "first_withdrawal_held",
    "payout_of_refunded_row",
    "payout_rejected_after_doubt",
    "reversal_of_paid_row",
    "reversal_partial",
    "transferred_too_long",
    "schedule_was_manual",
]
WebhookResult: TypeAlias = Literal["handled", "duplicate", "ignored", "refused", "failed"]
WebhookEndpoint: TypeAlias = Literal["deposits", "connect"]


class PaymentsMeter(Protocol):
    """Counts what happens; the metrics implement it."""

    def alert(self, kind: AlertKind) -> None:
        """Count one alert."""

    def webhook(self, endpoint: WebhookEndpoint, result: WebhookResult) -> None:
        """Count one webhook."""


class Alerts:
    """Raises alerts. Fields are ids and amounts only; they stand in the log line."""

    def __init__(self, meter: PaymentsMeter) -> None:
        self.meter = meter

    def __call__(self, kind: AlertKind, **fields: str | int) -> None:
        """Log and count one alert."""
        _log.error("payments need attention", extra={"alert": kind, **fields})
        self.meter.alert(kind)
