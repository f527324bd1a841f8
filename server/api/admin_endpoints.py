"""All endpoints of operators that this folder has, as blueprints for the application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.administration.accounts import AccountActs
from server.administration.keys import KeyActs
from server.administration.moves import MoveActs
from server.administration.operator import Operator
from server.administration.payouts import PayoutActs
from server.administration.prices import PriceActs
from server.api.account_endpoints import account_gate
from server.api.admin_accounts import AdminAccountServices, admin_accounts_blueprint
from server.api.admin_payouts import AdminPayoutServices, admin_payouts_blueprint
from server.api.admin_pricing import AdminPricingServices, admin_pricing_blueprint
from server.api.pricing import PriceList, PricingServices, pricing_blueprint
from server.api.state_export import StateExportServices, state_export_blueprint
from server.state_export import StateExport

if TYPE_CHECKING:
    from collections.abc import Callable

    from quart import Blueprint

    from server.accounts.open import Accounts
    from server.billing.price_book import PriceBook
    from server.config import CoordinatorSettings
    from server.store import Store


def admin_blueprints(
    accounts: Accounts,
    *,
    store: Store,
    book: PriceBook,
    settings: CoordinatorSettings,
    clock: Callable[[], float],
    wall_clock: Callable[[], int],
) -> list[Blueprint]:
    """Give the endpoints of accounts, keys, audit, payouts, prices and, where it is enabled, the state export.

    `clock` is monotonic seconds, `wall_clock` microseconds since the epoch.
    """
    gate = account_gate(accounts, settings)
    operator = Operator(store, changes=accounts.changes, wall_clock=wall_clock)
    prices = PriceList(book, clock=clock)
    found = [
        admin_accounts_blueprint(
            AdminAccountServices(
                gate=gate,
                operator=operator,
                accounts=AccountActs(operator),
                moves=MoveActs(operator),
                keys=KeyActs(operator),
            )
        ),
        admin_payouts_blueprint(AdminPayoutServices(gate=gate, operator=operator, acts=PayoutActs(operator))),
        pricing_blueprint(PricingServices(gate=gate, book=book, prices=prices)),
        admin_pricing_blueprint(AdminPricingServices(gate=gate, acts=PriceActs(operator), prices=prices)),
    ]
    if settings.state_export_enabled:
        found.append(
            state_export_blueprint(
                StateExportServices(
                    gate=gate,
                    admin_keys=accounts.admin_keys,
                    export=configured_export(settings),
                    wall_clock=wall_clock,
                )
            )
        )
    return found


def configured_export(settings: CoordinatorSettings) -> StateExport | None:
    """Give the export that the settings describe; None when nobody could read it and plain is not permitted."""
    root, recipient = settings.state_export_root, settings.state_export_recipient
    if root is None or (recipient is None and not settings.state_export_allow_plaintext):
        return None
    return StateExport(root, recipient=recipient, expected=settings.state_export_databases)
