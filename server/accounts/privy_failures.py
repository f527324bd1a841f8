"""How Privy fails; apart from those who call it, whose HTTP client takes 0.1 s to import."""

from __future__ import annotations


class PrivyUnavailable(Exception):
    """Privy did not answer, or not as agreed; to be tried again later."""


class NoSuchUser(Exception):
    """Privy does not know the user (any more)."""


class CodeRefused(Exception):
    """The one-time code is wrong or too old."""
