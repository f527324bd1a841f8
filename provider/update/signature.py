"""Who made a release: an Ed25519 signature over its bundle's hash, by a key that was known before the release was.

What is signed are the 64 characters of the bundle's SHA-256 in lower-case hex. The hash covers the bundle's mark, and
the mark names the version: a signed bundle cannot be passed off as another version.
Source: provider rules, self-update; trust rules, releases.
"""

import base64
import binascii
from collections.abc import Sequence
from pathlib import Path

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from provider.update.mark import read_mark
from provider.update.release import Release, ReleaseRefused


def check_signature(release: Release, signature: str, keys: Sequence[bytes]) -> None:
    """Check that one of `keys` signed the bundle's hash; raises `ReleaseRefused`."""
    if not signature.strip():
        raise ReleaseRefused(
            f"The release {release.version} carries no signature, and one is asked for here; nothing was installed."
        )
    try:
        taken = base64.b64decode(signature.strip(), validate=True)
    except (binascii.Error, ValueError):
        taken = b""
    if not any(_signed(release.bundle_hash.encode("ascii"), taken, key) for key in keys):
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


def _signed(text: bytes, signature: bytes, key: bytes) -> bool:
    try:
        VerifyKey(key).verify(text, signature)
    except (BadSignatureError, ValueError):
        return False
    return True
