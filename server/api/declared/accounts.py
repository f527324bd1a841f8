"""Declarations of signing in, browser sessions, and the linking of machines."""

from __future__ import annotations

from typing import Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from server.api.declared.forms import Moment
from server.openapi.operation import NO_BODY, Operation, Parameter


class SignIn(msgspec.Struct, kw_only=True):
    """Who wants in: `local` with login and password, `key` with an API key, `privy` with an identity token."""

    mode: Literal["local", "key", "privy"]
    login: str | UnsetType = UNSET
    password: str | UnsetType = UNSET
    key: str | UnsetType = UNSET
    token: str | UnsetType = UNSET


class SignUp(msgspec.Struct, kw_only=True):
    """A new local account; the first one needs the set-up token, others perhaps an invite."""

    login: str
    password: str
    setup: str | UnsetType = UNSET
    invite: str | UnsetType = UNSET


class PasswordChange(msgspec.Struct, kw_only=True):
    """The old password and the new one; all sessions of the account end."""

    old_password: str
    new_password: str


class SessionState(msgspec.Struct, kw_only=True):
    """Whether this browser is signed in, and as whom."""

    authenticated: bool
    account_id: str | UnsetType = UNSET
    display: str | UnsetType = UNSET
    mode: str | UnsetType = UNSET
    admin: bool | UnsetType = UNSET
    scopes: list[str] | UnsetType = UNSET
    expires_at: Moment | UnsetType = UNSET


class BrowserSession(msgspec.Struct, kw_only=True):
    """One signed-in browser."""

    id: str
    mode: str
    label: str
    current: bool
    created_at: Moment
    last_seen: Moment


class BrowserSessions(msgspec.Struct, kw_only=True):
    """All signed-in browsers of an account."""

    object: Literal["list"]
    data: list[BrowserSession]


class DeviceStart(msgspec.Struct, kw_only=True):
    """What a machine says of itself to the person who links it."""

    client_label: str | UnsetType = UNSET
    chip: str | UnsetType = UNSET


class DeviceCode(msgspec.Struct, kw_only=True):
    """The code that a person types, and the one with which the machine asks for its token."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: int
    interval: int


class DevicePoll(msgspec.Struct, kw_only=True):
    """The machine's question; RFC 8628's form is taken too."""

    device_code: str


class DeviceToken(msgspec.Struct, kw_only=True):
    """Not yet, or the machine's token, this one time."""

    status: Literal["authorization_pending", "authorized"]
    token: str | UnsetType = UNSET
    account_id: str | UnsetType = UNSET


class UserCode(msgspec.Struct, kw_only=True):
    """The code as typed; case and dash do not matter."""

    user_code: str


class PendingDevice(msgspec.Struct, kw_only=True):
    """The machine behind a code."""

    user_code: str
    client_label: str
    chip: str
    region: str
    created_at: Moment
    expires_at: Moment


class Decided(msgspec.Struct, kw_only=True):
    """The machine is linked, or refused."""

    status: Literal["approved", "denied"]
    message: str | UnsetType = UNSET


ACCOUNTS: Final[tuple[Operation, ...]] = (
    Operation(
        method="POST",
        path="/auth/session",
        family="Accounts",
        summary="Sign in",
        auth="browser",
        meaning="Sets the session's cookie.",
        body=SignIn,
        answer=NO_BODY,
        status=204,
        errors=(401, 429),
    ),
    Operation(
        method="GET",
        path="/auth/session",
        family="Accounts",
        summary="Show who is signed in",
        auth="browser",
        answer=SessionState,
    ),
    Operation(
        method="DELETE",
        path="/auth/session",
        family="Accounts",
        summary="Sign out",
        auth="browser",
        answer=NO_BODY,
        status=204,
    ),
    Operation(
        method="GET",
        path="/auth/sessions",
        family="Accounts",
        summary="List signed-in browsers",
        auth="session",
        answer=BrowserSessions,
    ),
    Operation(
        method="DELETE",
        path="/auth/sessions/{session_id}",
        family="Accounts",
        summary="Sign a browser out",
        auth="session",
        answer=NO_BODY,
        status=204,
    ),
    Operation(
        method="POST",
        path="/auth/signup",
        family="Accounts",
        summary="Make a local account",
        auth="browser",
        body=SignUp,
        answer=NO_BODY,
        status=204,
        errors=(401, 429),
    ),
    Operation(
        method="POST",
        path="/auth/password",
        family="Accounts",
        summary="Change the password",
        auth="session",
        body=PasswordChange,
        answer=NO_BODY,
        status=204,
    ),
    Operation(
        method="POST",
        path="/v1/device/code",
        family="Accounts",
        summary="Begin to link a machine",
        auth="none",
        body=DeviceStart,
        body_required=False,
        answer=DeviceCode,
        errors=(429, 503),
    ),
    Operation(
        method="POST",
        path="/v1/device/token",
        family="Accounts",
        summary="Ask for the machine's token",
        auth="none",
        body=DevicePoll,
        answer=DeviceToken,
        errors=(403, 410, 429, 503),
    ),
    Operation(
        method="GET",
        path="/v1/device/pending",
        family="Accounts",
        summary="Show the machine behind a code",
        auth="session",
        parameters=(Parameter(name="user_code", meaning="The code as typed.", required=True),),
        answer=PendingDevice,
        errors=(409, 410),
    ),
    Operation(
        method="POST",
        path="/v1/device/approve",
        family="Accounts",
        summary="Link a machine",
        auth="session",
        body=UserCode,
        answer=Decided,
        errors=(409, 410),
    ),
    Operation(
        method="POST",
        path="/v1/device/deny",
        family="Accounts",
        summary="Refuse a machine",
        auth="session",
        body=UserCode,
        answer=Decided,
        errors=(409, 410),
    ),
    Operation(
        method="DELETE",
        path="/v1/device/token",
        family="Accounts",
        summary="Log this machine out",
        auth="machine",
        answer=NO_BODY,
        status=204,
    ),
)
