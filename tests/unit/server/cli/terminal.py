"""Admin commands run as in a shell, on a database of each engine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import trio
from click.testing import CliRunner

from server.cli.admin.session import wall_clock
from server.cli.loading import EXIT_USAGE
from server.cli.main import cli
from server.store.address import parse_address
from server.store.open import opened


@dataclass(frozen=True)
class Ended:
    """How a command ended and what it wrote."""

    code: int
    output: str
    errors: str

    @property
    def json(self) -> Any:
        return json.loads(self.output)


class Terminal:
    """Runs commands with the database's URL in their environment."""

    def __init__(self, url: str, **environment: str) -> None:
        self.url = url
        self.environment = {"DARKBLOOM_DATABASE_URL": url, **environment}
        self.everything: list[str] = []

    async def __call__(self, *args: str, typed: str = "") -> Ended:
        """Run `admin ARGS`, in a thread because the command brings its own event loop."""
        return await trio.to_thread.run_sync(lambda: self.run("admin", *args, typed=typed))

    async def migrate(self) -> None:
        """Make the database."""
        ended = await trio.to_thread.run_sync(lambda: self.run("migrate"))
        assert ended.code == 0, ended

    def run(self, *args: str, typed: str = "") -> Ended:
        result = CliRunner().invoke(cli, [*args], env=self.environment, input=typed, standalone_mode=False)
        ended = Ended(_code(result), result.stdout, result.stderr)
        self.everything += [result.stdout, result.stderr, str(result.exception or "")]
        return ended

    async def change(self, sql: str, *args: int | str) -> None:
        """Run a statement on the database, as the coordinator would."""
        async with opened(parse_address(self.url, allow_memory=False), wall_clock=wall_clock) as store:
            await store.write(lambda tx: tx.execute(sql, *args))

    async def good(self, *args: str, typed: str = "") -> Any:
        """Run a command with `--json` that must succeed, and give its answer."""
        ended = await self(*args, "--json", typed=typed)
        assert ended.code == 0, ended
        return ended.json

    async def make(self, login: str = "ada", *options: str) -> str:
        """Make an account and give its id."""
        answer = await self.good("accounts", "create", login, "--generate-password", *options)
        account_id: str = answer["account"]["account_id"]
        return account_id

    async def acts(self) -> list[tuple[str, str]]:
        """Action and target of what was done, oldest first."""
        found = (await self.good("audit"))["acts"]
        assert all(act["actor"].startswith("cli:") for act in found)
        return [(act["action"], act["target"]) for act in reversed(found)]


def _code(result: Any) -> int:
    error = result.exception
    if error is None:
        return int(result.return_value or 0)
    if isinstance(error, SystemExit):
        return int(error.code or 0)
    if type(error).__name__ in ("UsageError", "BadParameter", "MissingParameter", "NoSuchOption", "BadOptionUsage"):
        return EXIT_USAGE
    raise error
