"""One admin command's work on the database: open it, run, answer, or say clearly why not.

A SQLite file belongs to the coordinator that runs on it. Commands that only read look at it all the same, through
connections that cannot write; commands that change something refuse, and say how to ask the running coordinator.
"""

from __future__ import annotations

import os
import pwd
import re
import shlex
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import click
import trio

from protocol.api.errors import ApiError
from protocol.setting_forms import duration
from server.accounts.changes import Changes
from server.administration.operator import Operator
from server.cli.admin.screen import Answer, print_json
from server.cli.loading import EXIT_CONFIGURATION, EXIT_RUN, load_or_exit
from server.store import Conflict, InsufficientBalance, Invalid, NotFound, Store, StoreError, StoreUnavailable
from server.store.address import Address, Memory, Postgres, SqliteFile, parse_address
from server.store.errors_at_start import StoreCannotOpen, StoreNotConfigured
from server.store.file_lock import lock_holder
from server.store.inspect import inspect_database
from server.store.open import opened
from server.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from server.config import CoordinatorSettings

_KINDS: Final[tuple[tuple[type[StoreError], str], ...]] = (
    (NotFound, "not_found"),
    (Conflict, "conflict"),
    (Invalid, "invalid"),
    (InsufficientBalance, "insufficient_balance"),
    (StoreUnavailable, "store_unavailable"),
)

_ACCOUNT_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|legacy:[0-9a-f]{64}", re.ASCII)

ADMIN_KEYS: Final = "DARKBLOOM_ADMIN_KEYS"

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What a command works with. `actor` is the name under which the audit knows it."""

    settings: CoordinatorSettings
    store: Store
    operator: Operator
    actor: str
    wall_clock: Callable[[], int]


class _HttpWay(NamedTuple):
    """How a running coordinator is asked for the same: method, path and body, and the setting of the key."""

    request: str | None
    key: str

    @property
    def variable(self) -> str:
        return self.key.removeprefix("DARKBLOOM_").removesuffix("S")

    @property
    def meaning(self) -> str:
        return f"a key of {self.key}" if self.key.endswith("S") else f"the key of {self.key}"


Work: TypeAlias = Callable[[Desk], Awaitable[Answer]]


class Refusal(Exception):
    """A command cannot be done; the text is for the operator."""

    def __init__(self, kind: str, text: str, code: int = EXIT_RUN) -> None:
        super().__init__(text)
        self.kind = kind
        self.code = code


def run(work: Work, *, as_json: bool, over_http: str | None = None, key: str = ADMIN_KEYS, reads: bool = False) -> int:
    """Run a command's work and print its answer; returns the exit code.

    `over_http` is how a running coordinator does the same, such as `DELETE /v1/admin/keys/ID`, and `key` the setting
    whose key it wants; `reads`: the work changes nothing. Raises click.UsageError for arguments that the work refuses.
    """
    settings = load_or_exit().settings
    try:
        answer = trio.run(_work, settings, work, _HttpWay(over_http, key), reads)
    except Refusal as refusal:
        return refuse(refusal, as_json=as_json)
    return answer.give(as_json=as_json)


def refuse(refusal: Refusal, *, as_json: bool) -> int:
    """Say why not, and return the exit code."""
    if as_json:
        print_json({"error": {"type": refusal.kind, "message": str(refusal)}})
    else:
        click.echo(str(refusal), err=True)
    return refusal.code


def wall_clock() -> int:
    """Give the time in microseconds since the epoch."""
    return time.time_ns() // 1000


def actor_name() -> str:
    """Give the name of the operator's account on this machine, as the audit shows it."""
    try:
        return f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:
        return f"cli:{os.getuid()}"


async def _work(settings: CoordinatorSettings, work: Work, over_http: _HttpWay, reads: bool) -> Answer:
    failure: Refusal | click.UsageError
    try:
        async with _store(settings, over_http, reads) as store:
            desk = Desk(
                settings=settings,
                store=store,
                operator=Operator(store, changes=Changes(store), wall_clock=wall_clock),
                actor=actor_name(),
                wall_clock=wall_clock,
            )
            # Kept and raised outside: the store's task group would wrap it.
            try:
                return await work(desk)
            except StoreError as error:
                failure = Refusal(_kind_of(error), str(error))
            except ApiError as error:
                failure = click.UsageError(error.message)
            except (Refusal, click.UsageError) as error:
                failure = error
    except StoreCannotOpen as error:
        raise Refusal("store_unavailable", str(error)) from None
    raise failure


def _kind_of(error: StoreError) -> str:
    return next((kind for found, kind in _KINDS if isinstance(error, found)), "store_error")


@asynccontextmanager
async def _store(settings: CoordinatorSettings, over_http: _HttpWay, reads: bool) -> AsyncGenerator[Store, None]:
    address = _address(settings)
    if isinstance(address, SqliteFile):
        if not address.path.exists():
            text = f"The {address} does not exist yet; make it with `darkbloom-coordinator migrate`, or check the URL."
            raise Refusal("not_found", text)
        holder = lock_holder(address.path)
        if holder is not None:
            if not reads:
                raise Refusal("in_use", _in_use(settings, address, holder, over_http))
            async with _beside(address) as store:
                yield store
            return
    async with opened(address, wall_clock=wall_clock) as store:
        yield store


@asynccontextmanager
async def _beside(address: SqliteFile) -> AsyncGenerator[Store, None]:
    """Yield the store of a file that a coordinator runs on, for reading."""
    if (await inspect_database(address)).missing:
        text = f"The {address} is in use by an older coordinator; run that version's command, or restart it upgraded."
        raise Refusal("in_use", text)
    store = SqliteStore(address.path)
    try:
        yield store
    finally:
        await store.aclose()


def _address(settings: CoordinatorSettings) -> Address:
    url = None if settings.database_url is None else settings.database_url.reveal()
    try:
        address = parse_address(url, allow_memory=settings.allow_memory_store)
    except StoreNotConfigured as problem:
        raise Refusal("not_configured", str(problem), EXIT_CONFIGURATION) from None
    if isinstance(address, Memory):
        text = (
            "A store in memory belongs to one process and cannot be managed from outside; set DARKBLOOM_DATABASE_URL."
        )
        raise Refusal("not_configured", text, EXIT_CONFIGURATION)
    return address


def _in_use(settings: CoordinatorSettings, address: SqliteFile | Postgres, holder: int, over_http: _HttpWay) -> str:
    process = f" (process {holder})" if holder else ""
    text = f"A coordinator{process} is running on the {address}, so this command leaves it alone."
    if over_http.request is None:
        return f"{text}\nStop the coordinator, run the command again, and start it; PostgreSQL has no such limit."
    method, _, rest = over_http.request.partition(" ")
    path, _, body = rest.partition(" ")
    origin = settings.base_url or f"http://127.0.0.1:{settings.port}"
    sent = f" -d {shlex.quote(body)}" if body else ""
    return (
        f"{text}\nAsk the running coordinator, with {over_http.meaning} in ${over_http.variable}:\n"
        f'  curl -X {method} {origin.rstrip("/")}{path} -H "Authorization: Bearer ${over_http.variable}"{sent}\n'
        "or stop it, run the command again, and start it."
    )


def others_follow(desk: Desk) -> str:
    """Say when coordinators that run on this database know of a change to credentials."""
    return " Other coordinators on this database follow within 15 seconds." if desk.store.kind == "postgres" else ""


def named(who: str) -> str:
    """Give an account for a request over HTTP, which wants its id."""
    return who if _ACCOUNT_ID.fullmatch(who) else "ACCOUNT_ID"


def seconds_of(option: str, text: str, most: int) -> int:
    """Read an option's time span, such as `15m` or `30d`, as whole seconds; raises click.UsageError."""
    form = duration(1, most)
    try:
        return int(form.parse(text))
    except ValueError:
        raise click.UsageError(f"{option} must be {form.accepted}.") from None


def is_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty()
