"""Money: amounts and prices, balances and the double-entry ledger, holds, settlement, recovery and the books' audit."""

from server.billing.hold_desk import Hold, HoldDesk, HoldRequest, Serving
from server.billing.key_spend import KeyCap
from server.billing.prices import Price, Tariff
from server.billing.refusals import provider_price_too_high
from server.billing.service import Billing, make_billing

__all__ = [
    "Billing",
    "Hold",
    "HoldDesk",
    "HoldRequest",
    "KeyCap",
    "Price",
    "Serving",
    "Tariff",
    "make_billing",
    "provider_price_too_high",
]
