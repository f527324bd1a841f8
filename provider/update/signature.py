"""Who made a release: an Ed25519 signature over its bundle's hash, by a key that was known before the release was.

What is signed are the 64 characters of the bundle's SHA-256 in lower-case hex. The hash covers the bundle's mark, and
the mark names the version: a signed bundle cannot be passed off as another version.
Source: provider rules, self-update; trust rules, releases.
"""

from collections.abc import Sequence
from pathlib import Path

from protocol.release_signature import is_signed
from provider.update.mark import read_mark
from provider.update.release import Release, ReleaseRefused


def check_signature(release: Release, signature: str, keys: Sequence[bytes]) -> None:
    """Check that one of `keys` signed the bundle's hash; raises `ReleaseRefused`."""
    if not signature.strip():
        raise ReleaseRefused(
            f"The release {release.version} carries no signature, and one is asked for here; nothing was installed."
        )
    if not is_signed(release.bundle_hash, signature, keys):
        raise ReleaseRefused(
            f"The signature of the release {release.version} is by none of the keys that are trusted here; nothing was "
            "installed."
        )


def check_version(release: Release, unpacked: Path) -> None:
    """Check that a signed bundle is the version under which it is offered; raises `ReleaseRefused`."""
    version = read_mark(unpacked).version
    if version != release.version:
        raise ReleaseRefused(
            f"The bundle that is offered as {release.version} calls itself {version or 'nothing'!r}; nothing was "
            "installed."
        )
