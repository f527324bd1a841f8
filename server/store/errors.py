"""What the store and the parts above it raise; nothing else leaves them."""

from __future__ import annotations


class StoreError(Exception):
    """Base of all of them; texts are safe to show and never hold a secret, a URL with a password, or a row."""


class NotFound(StoreError):
    """There is no such row, or it is not the caller's."""


class Conflict(StoreError):
    """The row exists in another state, or a unique name is taken."""


class Invalid(StoreError):
    """A value can never be stored: negative money, an empty name, a text with NUL."""


class InsufficientBalance(StoreError):
    """The account's free balance (or, for a withdrawal, its free earnings) does not carry the amount."""


class TransactionAborted(StoreError):
    """The work went on after a statement had failed; nothing of the transaction was kept."""

    def __init__(self) -> None:
        super().__init__(
            "A statement failed and the work caught its error; the transaction was rolled back. Let errors of "
            "statements leave the transaction, and use ON CONFLICT DO NOTHING where a row may be there."
        )


class CapExceeded(StoreError):
    """The spend cap of an API key would be passed; amounts in micro-USD."""

    def __init__(self, window: str, cap: int, used: int) -> None:
        super().__init__(f"The {window} cap of this key is {cap} micro-USD, of which {used} are used.")
        self.window = window
        self.cap = cap
        self.used = used


class StoreUnavailable(StoreError):
    """The database did not answer in time, or cannot be reached; the operation may be tried again."""
