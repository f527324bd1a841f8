"""Why a store could not be opened; both end the start of the coordinator."""

from __future__ import annotations

from server.store.errors import StoreError


class StoreNotConfigured(StoreError):
    """The settings name no usable database: exit code 2."""


class StoreCannotOpen(StoreError):
    """The configured database is unreachable, in use, or has another history than this program: exit code 1."""
