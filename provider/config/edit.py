"""Changing `provider.toml` without losing what people wrote in it.

Invariant: the file is read again under the lock, and appears complete or not at all; comments and unknown keys stay.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import tomlkit
import tomlkit.exceptions
from tomlkit import TOMLDocument
from tomlkit.container import Container
from tomlkit.items import Table

from provider.files import replace_file
from provider.host.file_lock import FileLock, FileLocked

LOCK_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.02


class EditRefused(Exception):
    """The file cannot be changed; the text names it and the remedy."""


def change_config(path: Path, values: Mapping[str, object | None]) -> None:
    """Write values by dotted name; None takes a key out. Raises `EditRefused`."""
    edit_config(path, lambda document: _apply(document, values))


def edit_config(path: Path, edit: Callable[[TOMLDocument], None]) -> None:
    """Read, change and write the file under its lock; raises `EditRefused`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(path.with_name(path.name + ".lock")):
            try:
                document = tomlkit.parse(path.read_text(encoding="utf-8"))
            except FileNotFoundError:
                document = tomlkit.document()
            edit(document)
            replace_file(path, tomlkit.dumps(document).encode(), durable=True)
    except (tomlkit.exceptions.TOMLKitError, UnicodeDecodeError) as error:
        raise EditRefused(f"{path} is not TOML ({type(error).__name__}); mend it by hand first.") from None
    except OSError as error:
        raise EditRefused(
            f"{path} cannot be written ({error.strerror}); check the directory's owner and mode."
        ) from None


def _apply(document: TOMLDocument, values: Mapping[str, object | None]) -> None:
    for name, value in values.items():
        *sections, key = name.split(".")
        table: TOMLDocument | Container | Table = document
        for section in sections:
            if section not in table:
                if value is None:
                    break
                table[section] = tomlkit.table()
            inner = table[section]
            if not isinstance(inner, Table):
                raise EditRefused(f"{section} is no table in the configuration; mend it by hand first.")
            table = inner
        else:
            if value is None:
                table.pop(key, None)
            else:
                table[key] = value


def _locked(path: Path) -> FileLock:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return FileLock.take(path)
        except FileLocked as held:
            if time.monotonic() >= deadline:
                raise EditRefused(f"Another program changes the configuration ({held.holder}); try again.") from None
            time.sleep(_POLL_SECONDS)
