"""What a limiter must know of a caller; the identity of the accounts package fits it."""

from __future__ import annotations

from typing import Protocol


class LimitedCaller(Protocol):
    """`key_id` is empty without an API key; the per-key limits are a minute's amounts, None or 0 inherit."""

    @property
    def account_id(self) -> str:
        """The account whose buckets count; empty is never limited."""

    @property
    def key_id(self) -> str:
        """The key whose own buckets count before those of the account."""

    @property
    def is_service(self) -> bool:
        """Whether the elevated rates of partners apply."""

    @property
    def unlimited(self) -> bool:
        """Whether no limit applies (the admin key)."""

    @property
    def rpm_limit(self) -> int | None:
        """Requests a minute of the key."""

    @property
    def itpm_limit(self) -> int | None:
        """Prompt tokens a minute of the key."""

    @property
    def otpm_limit(self) -> int | None:
        """Output tokens a minute of the key."""
