"""The checks of `doctor`: each looks at one thing, changes nothing, and says what to do about it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import native
from server.cli.loading import EXIT_CONFIGURATION, EXIT_OK, EXIT_RUN
from server.listener.sockets import open_listening_sockets
from server.store.address import Address, Memory, SqliteFile, parse_address
from server.store.errors_at_start import StoreCannotOpen, StoreNotConfigured
from server.store.file_lock import lock_path
from server.store.inspect import Inspection, inspect_database

if TYPE_CHECKING:
    from server.config import CoordinatorSettings

Status: TypeAlias = Literal["ok", "warning", "failed"]

_OTHERS: Final = 0o077


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check; `exit_code` counts when it failed."""

    check: str
    status: Status
    text: str
    exit_code: int = EXIT_OK

    def shown(self) -> dict[str, object]:
        """Return the finding for JSON."""
        return asdict(self)


async def examine(settings: CoordinatorSettings) -> list[Finding]:
    """Run all checks."""
    findings = [*native_findings(), *secret_file_findings(settings)]
    store, running = await store_findings(settings)
    return [*findings, *store, *port_findings(settings.host, settings.port, running=running)]


def exit_code(findings: list[Finding]) -> int:
    """Return 2 if the configuration is at fault, else 1 if anything failed, else 0; warnings do not count."""
    failed = {finding.exit_code for finding in findings if finding.status == "failed"}
    if EXIT_CONFIGURATION in failed:
        return EXIT_CONFIGURATION
    return EXIT_RUN if failed else EXIT_OK


def native_findings() -> Iterator[Finding]:
    """Tell which implementation of the hot path would run."""
    if native.WHY:
        text = f"the hot path runs in Python, several times slower: {native.WHY}"
        yield Finding(check="native", status="warning", text=text)
    else:
        yield Finding(check="native", status="ok", text=f"the hot path runs in {native.IMPLEMENTATION.upper()}")


def secret_file_findings(settings: CoordinatorSettings) -> Iterator[Finding]:
    """Tell whether others may read the TLS key."""
    if settings.tls_key is not None:
        yield _private(settings.tls_key, "TLS key")


async def store_findings(settings: CoordinatorSettings) -> tuple[list[Finding], bool]:
    """Look at the configured database; also return whether a coordinator is running on it."""
    url = None if settings.database_url is None else settings.database_url.reveal()
    try:
        address = parse_address(url, allow_memory=settings.allow_memory_store)
    except StoreNotConfigured as problem:
        return [Finding(check="store", status="failed", text=str(problem), exit_code=EXIT_CONFIGURATION)], False
    if isinstance(address, Memory):
        text = "the store is in memory: all accounts, balances and keys are lost at every stop"
        return [Finding(check="store", status="warning", text=text)], False
    try:
        found = await inspect_database(address)
    except StoreCannotOpen as problem:
        return [Finding(check="store", status="failed", text=str(problem), exit_code=EXIT_RUN)], False
    findings = [_reached(address, found), *_schema(found)]
    if isinstance(address, SqliteFile):
        findings += _file_findings(address.path, found)
    return findings, found.used_by is not None


def port_findings(host: str, port: int, *, running: bool) -> Iterator[Finding]:
    """Tell whether the listener could open its port."""
    try:
        for sock in open_listening_sockets(host, port):
            sock.close()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if running and error.errno == errno.EADDRINUSE:
            yield Finding(check="port", status="ok", text=f"{host}:{port} is in use, and a coordinator is running")
            return
        text = f"{host}:{port} cannot be opened ({reason}); stop what uses it, or set DARKBLOOM_HOST and DARKBLOOM_PORT"
        yield Finding(check="port", status="failed", text=text, exit_code=EXIT_RUN)
        return
    yield Finding(check="port", status="ok", text=f"{host}:{port} is free")


def _reached(address: Address, found: Inspection) -> Finding:
    text = f"{address} answers" if found.exists else f"{address} does not exist yet; the first start makes it"
    return Finding(check="store", status="ok", text=text)


def _schema(found: Inspection) -> Iterator[Finding]:
    if found.missing and found.exists:
        count = len(found.missing)
        text = f"{count} migrations are missing; `darkbloom-coordinator migrate` or the next start applies them"
        yield Finding(check="schema", status="warning", text=text)
    elif found.exists:
        yield Finding(check="schema", status="ok", text=f"migrated up to {found.applied[-1].label}")


def _file_findings(path: Path, found: Inspection) -> Iterator[Finding]:
    folder = path.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        text = f"the folder {folder.absolute()} is missing or not writable; create it and give it to this user"
        yield Finding(check="files", status="failed", text=text, exit_code=EXIT_RUN)
    for file in (path, lock_path(path)):
        if file.exists():
            yield _private(file, "database file" if file == path else "lock file")
    if found.used_by is not None:
        yield Finding(check="lock", status="ok", text=f"a coordinator runs on this file (process {found.used_by})")
    elif found.exists:
        yield Finding(check="lock", status="ok", text="no coordinator uses this file")


def _private(path: Path, what: str) -> Finding:
    try:
        mode = path.stat().st_mode & 0o777
    except OSError as error:
        text = f"the {what} {path} cannot be looked at: {error.strerror}"
        return Finding(check="files", status="failed", text=text, exit_code=EXIT_CONFIGURATION)
    if mode & _OTHERS:
        text = f"the {what} {path} is open to other users (mode {mode:04o}); run: chmod 600 {path}"
        return Finding(check="files", status="warning", text=text)
    return Finding(check="files", status="ok", text=f"the {what} {path} is private")
