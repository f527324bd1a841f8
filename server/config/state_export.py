"""Settings of the state export."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from protocol.settings import boolean, path, setting, text, words

_RECIPIENT: Final = re.compile(r"age1[02-9ac-hj-np-z]{58}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class StateExportSettings:
    """Off by default: the archive holds everything that the installation must not lose."""

    state_export_enabled: bool = setting(
        "STATE_EXPORT_ENABLED",
        boolean(),
        default=False,
        group="State export",
        meaning="Let admin keys download the persistent-data directory; otherwise the path does not exist.",
    )
    state_export_root: Path | None = setting(
        "STATE_EXPORT_ROOT", path(), default=None, group="State export", meaning="The directory that is exported."
    )
    state_export_recipient: str | None = setting(
        "STATE_EXPORT_RECIPIENT",
        text(),
        default=None,
        group="State export",
        meaning="Public key (`age1…`, from `age-keygen`) for which archives are encrypted.",
    )
    state_export_allow_plaintext: bool = setting(
        "STATE_EXPORT_ALLOW_PLAINTEXT",
        boolean(),
        default=False,
        group="State export",
        meaning="Without a recipient, send archives unencrypted.",
    )
    state_export_databases: tuple[str, ...] = setting(
        "STATE_EXPORT_DATABASES",
        words(),
        default=(),
        group="State export",
        meaning="SQLite databases below the root, by relative path, without which an export is refused.",
    )


def state_export_problems(settings: StateExportSettings) -> Iterable[str]:
    """Name every rule about the export that is broken."""
    if settings.state_export_enabled and settings.state_export_root is None:
        yield "DARKBLOOM_STATE_EXPORT_ENABLED=true needs DARKBLOOM_STATE_EXPORT_ROOT; set the directory to export."
    recipient = settings.state_export_recipient
    if recipient is not None and _RECIPIENT.fullmatch(recipient) is None:
        yield (
            "DARKBLOOM_STATE_EXPORT_RECIPIENT is no age recipient; make a key pair with `age-keygen` and set the "
            "public key, which begins with age1."
        )
