"""Choosing the identity key: the security chip's where there is one, else a file."""

import logging
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from protocol.identity import Signer
from provider.identity.enclave import HELPER_NAME, EnclaveSigner, EnclaveUnavailable
from provider.identity.key_file import load_or_create_signer

log = logging.getLogger(__name__)


class Identity(NamedTuple):
    """The signer, and whether its key is a file: such a machine is for development and never more than self-signed."""

    signer: Signer
    is_software: bool

    def close(self) -> None:
        """End the helper, where there is one."""
        if isinstance(self.signer, EnclaveSigner):
            self.signer.close()


def open_identity(home: Path, *, helper: Path | None = None, platform: str = sys.platform) -> Identity:
    """Open the machine's key; blocks. A named `helper` must work; one that was only found may be missing its chip.

    Raises `EnclaveUnavailable` and `KeyFileRefused`.
    """
    if helper is not None:
        return Identity(EnclaveSigner.open(helper), is_software=False)
    found = find_helper() if platform == "darwin" else None
    if found is not None:
        try:
            return Identity(EnclaveSigner.open(found), is_software=False)
        except EnclaveUnavailable as unavailable:
            log.warning("the security chip is not used: %s", unavailable)
    return Identity(load_or_create_signer(home), is_software=True)


def find_helper() -> Path | None:
    """Find the helper beside this program's own command; never by the search path, which others may set."""
    beside = Path(sys.prefix) / "bin" / HELPER_NAME
    return beside if shutil.which(str(beside)) is not None else None
