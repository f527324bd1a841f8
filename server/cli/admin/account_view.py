"""An account as commands show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.cli.admin.screen import money, time

if TYPE_CHECKING:
    from server.administration.accounts import AccountView


def account_data(account: AccountView) -> dict[str, object]:
    """Describe an account as JSON; what can be spent and withdrawn is without what running requests hold."""
    return {
        "account_id": account.account_id,
        "external_id": account.external_id,
        "login": account.login,
        "email": account.email,
        "email_verified": account.verified,
        "role": account.role,
        "is_admin": account.is_admin,
        "fee_percent": account.fee_percent,
        "suspended_at": time(account.suspended_at),
        "suspended_reason": account.suspended_reason,
        "stripe_account_status": account.stripe_status,
        "live_keys": account.live_keys,
        "machine_tokens": account.machine_tokens,
        "balance_micro_usd": account.balance - account.held,
        "withdrawable_micro_usd": account.withdrawable - account.held_withdrawable,
        "held_micro_usd": account.held,
        "created_at": time(account.created_at),
    }


def account_facts(account: AccountView) -> list[tuple[str, object]]:
    """Describe an account to a person."""
    address = account.email and f"{account.email} ({'verified' if account.verified else 'not verified'})"
    return [
        ("account", account.account_id),
        ("login", account.login),
        ("e-mail", address),
        ("identity", account.external_id),
        ("role", account.role or "normal"),
        ("administrator", account.is_admin),
        ("platform fee", "default" if account.fee_percent is None else f"{account.fee_percent} %"),
        ("suspended", _suspension(account)),
        ("balance", money(account.balance - account.held)),
        ("  of it withdrawable", money(account.withdrawable - account.held_withdrawable)),
        ("  held by requests", money(account.held)),
        ("payouts", account.stripe_status or "not set up"),
        ("live keys", account.live_keys),
        ("linked machines", account.machine_tokens),
        ("made", time(account.created_at)),
    ]


def _suspension(account: AccountView) -> str:
    return "" if account.suspended_at is None else f"since {time(account.suspended_at)}: {account.suspended_reason}"
