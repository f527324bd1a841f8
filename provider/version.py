"""Which version of this program runs."""

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """Give the version of the installed distribution; a bare tree has none and is older than any release."""
    try:
        return version("darkbloom")
    except PackageNotFoundError:
        return "0.0.0"
