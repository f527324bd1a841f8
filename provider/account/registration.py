"""The token that a registration carries: read anew for each one, and shown to nobody but the coordinator that gave it.

Without a usable token the machine still serves, unlinked; the log says why and what to do.
"""

import logging

from provider.account.door import door_address
from provider.account.token_file import TokenFile, TokenFileRefused
from provider.link.address import LinkAddress

log = logging.getLogger(__name__)


class RegistrationToken:
    """Reads the token of a home for the coordinator at `address`."""

    def __init__(self, file: TokenFile, address: LinkAddress) -> None:
        self._file = file
        self._coordinator = door_address(address)

    def read(self) -> str:
        """Give the token, or "" when the machine is not linked; blocks on the disk."""
        try:
            token = self._file.read()
        except TokenFileRefused as refused:
            log.warning("%s This machine serves without an account until then.", refused)
            return ""
        if token is None:
            return ""
        if token.coordinator and token.coordinator != self._coordinator:
            log.warning(
                "The token in %s was given by %s and is not shown to %s; this machine serves there without an account. "
                "Run `darkbloom logout`, then `darkbloom login --coordinator %s`.",
                self._file.path,
                token.coordinator,
                self._coordinator,
                self._coordinator,
            )
            return ""
        return token.secret
