"""All endpoints of accounts, as blueprints for the application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.api.admin_auth import admin_auth_blueprint
from server.api.auth_sessions import SessionServices, auth_sessions_blueprint
from server.api.device import DeviceServices, device_blueprint
from server.api.gate import AccountGate
from server.api.key_self import key_self_blueprint
from server.api.keys import KeysServices, keys_blueprint
from server.api.provider_tokens import provider_tokens_blueprint

if TYPE_CHECKING:
    from collections.abc import Callable

    from quart import Blueprint

    from server.accounts.open import Accounts
    from server.config import CoordinatorSettings


def account_gate(accounts: Accounts, settings: CoordinatorSettings) -> AccountGate:
    """Give the gate that every endpoint with a caller shares."""
    origins = (settings.base_url, settings.console_url)
    return AccountGate(
        callers=accounts.callers,
        limiter=accounts.limiter,
        limits=accounts.limits,
        origins=frozenset(origin.rstrip("/") for origin in origins if origin is not None),
    )


def account_blueprints(
    accounts: Accounts, *, settings: CoordinatorSettings, wall_clock: Callable[[], int]
) -> list[Blueprint]:
    """Give the endpoints of keys, device login, machine tokens, browser sessions and administrators' codes."""
    gate = account_gate(accounts, settings)
    return [
        keys_blueprint(KeysServices(gate=gate, desk=accounts.key_desk, wall_clock=wall_clock)),
        key_self_blueprint(gate, accounts.key_desk),
        device_blueprint(
            DeviceServices(
                gate=gate,
                device=accounts.device,
                tokens=accounts.provider_tokens,
                console_url=settings.console_url or settings.base_url,
            )
        ),
        provider_tokens_blueprint(gate, accounts.provider_tokens),
        auth_sessions_blueprint(
            SessionServices(gate=gate, sessions=accounts.sessions, bearer=accounts.keys, local=accounts.local)
        ),
        admin_auth_blueprint(gate, accounts.admin_codes),
    ]
