"""What a bundle of the provider program holds, and what it must not; coordinator and provider check it alike.

Source: trust rules, releases.
"""

from typing import Final

ENTRY: Final = "bin/darkbloom"
"""The program in the bundle; the hash of this very file is what machines show of themselves."""

MAX_BUNDLE_BYTES: Final = 2 * 1024**3
MAX_UNPACKED_BYTES: Final = 8 * 1024**3
MAX_ENTRY_BYTES: Final = 512 * 1024**2
MAX_ENTRIES: Final = 16_384


def bundle_name(platform: str) -> str:
    """The file name under which the bundle of a platform is published."""
    return f"darkbloom-bundle-{platform}.tar.gz"
