"""One-time codes for administrators without a browser, sent by Privy; only listed addresses get one.

Invariant: whether an address is listed shows neither in the answer nor in its time: a task of its own sends the codes.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import trio

from server.accounts.privy_failures import CodeRefused, PrivyUnavailable
from server.accounts.users import normal_email

if TYPE_CHECKING:
    from server.accounts.privy_api import PrivyApi
    from server.accounts.users import AdminRule

_log = logging.getLogger("darkbloom.accounts")

MAX_WAITING: Final = 16


class AdminCodes:
    """Sends codes and exchanges them for tokens."""

    def __init__(self, api: PrivyApi, is_admin: AdminRule) -> None:
        self._api = api
        self._is_admin = is_admin
        self._send, self._receive = trio.open_memory_channel[str](MAX_WAITING)

    def request(self, email: str) -> bool:
        """Have a code sent if the address is listed; False when too many wait."""
        if self._is_admin.listed(email):
            try:
                self._send.send_nowait(normal_email(email))
            except trio.WouldBlock:
                return False
        return True

    async def sign_in(self, email: str, code: str) -> str:
        """Give the access token of a listed address and its code; raises CodeRefused, PrivyUnavailable."""
        if not self._is_admin.listed(email):
            raise CodeRefused
        return await self._api.sign_in(normal_email(email), code)

    async def run(self) -> None:
        """Send the codes that were asked for, until cancelled."""
        async for email in self._receive:
            try:
                await self._api.send_code(email)
            except PrivyUnavailable:
                _log.warning("a one-time code for an administrator could not be sent")
