"""How a call to Stripe can fail, and what each way proves about money."""

from __future__ import annotations

from typing import Final

GONE_CODES: Final = frozenset({"account_invalid", "resource_missing"})
AGREEMENT_CODES: Final = frozenset({"transfers_not_allowed", "insufficient_capabilities_for_transfer"})


class StripeFailure(Exception):
    """Base of both; texts are ours and hold no answer of Stripe."""


class StripeRejected(StripeFailure):
    """Stripe refused this very call: a 4xx that proves it had no effect."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"Stripe refused the call with status {status}, code {code or 'none'}.")
        self.status = status
        self.code = code

    @property
    def is_gone(self) -> bool:
        """Whether the account, or what else the call names, no longer exists for us."""
        return self.code in GONE_CODES

    @property
    def is_agreement(self) -> bool:
        """Whether the account cannot receive transfers under its agreement."""
        return self.code in AGREEMENT_CODES


class StripeUnclear(StripeFailure):
    """No answer, a fault of Stripe, or a conflict of keys: the call may or may not have had its effect."""

    def __init__(self, why: str) -> None:
        super().__init__(f"The outcome of a call to Stripe is not known ({why}); repeat it with the same key.")
        self.why = why
