"""The server for programs on this machine: the public API's dialects over the same engine, without a coordinator."""

from provider.local.discovery import LocalInfo, read_local_info
from provider.local.options import LocalOptions
from provider.local.token import TokenUnusable, load_or_create_token

__all__ = ["LocalInfo", "LocalOptions", "TokenUnusable", "load_or_create_token", "read_local_info"]
