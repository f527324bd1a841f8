"""Which version this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """Return the version of the installed distribution, or 0.0.0 in a bare checkout."""
    try:
        return version("darkbloom")
    except PackageNotFoundError:
        return "0.0.0"
