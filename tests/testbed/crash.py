"""Kills a process at every SQL statement of an operation, and looks at what is left.

A `CrashScenario` is a set of async functions of a store. `crash_everywhere` prepares a database and plays it again and
again, each time on a copy: run it in a process that dies, by `os._exit`, at statement n (BEGIN and COMMIT count, and so
does the moment after a COMMIT); recover as a restarted coordinator would; check; run it once more; check the end. It
stops when n is so large that the process came to its end.
"""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from server.store.address import parse_address
from server.store.dialect import EngineKind
from server.store.engine import Store
from server.store.open import opened
from tests.testbed.store import make_sqlite_file, postgres_database, ticking_clock

Step = Callable[[Store], Awaitable[None]]

MOST_STATEMENTS = 500
SURVIVED = 0
KILLED = 77


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashScenario:
    """One operation on money. `run` is what dies, and is repeated after `recover`; the checks raise AssertionError.

    `check` holds after recovery wherever the process died; `check_end` holds after the repetition.
    """

    prepare: Step
    run: Step
    recover: Step
    check: Step
    check_end: Step


@asynccontextmanager
async def open_url(url: str, *, on_statement: Callable[[str], None] | None = None) -> AsyncGenerator[Store, None]:
    """Open a database as a coordinator does."""
    address = parse_address(url, allow_memory=False)
    async with opened(address, wall_clock=ticking_clock(), on_statement=on_statement) as store:
        yield store


async def crash_everywhere(kind: EngineKind, where: str, scenario: CrashScenario, folder: Path) -> int:
    """Play the scenario that `where` ("module:name") names; returns at how many statements it was killed."""
    with _Victims(where) as victims:
        async with _database(kind, folder / "prepared.db") as prepared:
            async with open_url(prepared) as store:
                await scenario.prepare(store)
            for n in range(1, MOST_STATEMENTS):
                async with _copy(kind, prepared, folder / f"crash-{n}.db") as url:
                    code = victims.run(url, n)
                    assert code in (SURVIVED, KILLED), f"the process ended with {code} at statement {n}"
                    await _go_on(scenario, url, n)
                if code == SURVIVED:
                    return n - 1
    raise AssertionError(f"The operation has more than {MOST_STATEMENTS} statements.")


async def _go_on(scenario: CrashScenario, url: str, n: int) -> None:
    """Do what a restarted coordinator does, and look at what is left."""
    async with open_url(url) as store:
        try:
            await scenario.recover(store)
            await scenario.check(store)
            await scenario.run(store)
            await scenario.check_end(store)
        except AssertionError as error:
            error.add_note(f"killed at statement {n}")
            raise


@asynccontextmanager
async def _database(kind: EngineKind, path: Path) -> AsyncGenerator[str, None]:
    """Yield the address of a migrated, empty database."""
    if kind == "sqlite":
        await make_sqlite_file(path)
        yield f"sqlite:///{path}"
        return
    async with postgres_database() as url:
        yield url


@asynccontextmanager
async def _copy(kind: EngineKind, prepared: str, path: Path) -> AsyncGenerator[str, None]:
    """Yield the address of a copy of a database that nobody has open."""
    if kind == "sqlite":
        shutil.copyfile(prepared.removeprefix("sqlite:///"), path)
        yield f"sqlite:///{path}"
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()
        return
    async with postgres_database(copy_of=prepared) as url:
        yield url


class _Victims:
    """A process that forks one victim after the other, so that the imports are done once."""

    def __init__(self, where: str) -> None:
        self._command = [sys.executable, "-m", "tests.testbed.crash_victim", where]
        self._serial = itertools.count(1)

    def __enter__(self) -> _Victims:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
        )
        return self

    def run(self, url: str, stop_at: int) -> int:
        """Run a victim to its end; returns its exit status."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{stop_at} {url}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the process that makes victims died"
        return int(answer)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()
