"""Every kind of secret is planted in a whole coordinator, used, abused and refused; then everything that was written,
shown, stored or exported is searched for it.
"""

from __future__ import annotations

import io
import json
import logging
import secrets
import time
import zipfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import trio

from protocol.settings import declared_settings, effective_values
from server.administration.minting import load_signing_key, mint, new_key_pair
from server.config import CoordinatorSettings, load_settings
from server.observe.log_format import JsonFormatter, TextFormatter
from server.serve import Coordinator, open_coordinator
from server.serve.coordinator import _cache_secret
from server.state_export import StateExport
from server.store import Store, StoreUnavailable
from server.store.open import open_store
from tests.testbed.needs import absent
from tests.testbed.postgres_server import NoServer
from tests.testbed.store import postgres_database
from tests.unit.server.cli.terminal import Terminal

PAGE = {"Sec-Fetch-Site": "same-origin", "X-CSRF": "1"}
PASSWORD = "planted password of ada"
APP = "planted-app"


@pytest.fixture(params=["sqlite", "postgres"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[str]:
    """A database's URL; SQLite in a folder of its own."""
    if request.param == "sqlite":
        (tmp_path / "data").mkdir()
        yield f"sqlite:///{tmp_path / 'data' / 'coordinator.db'}"
        return
    try:
        async with postgres_database() as found:
            yield found
    except NoServer as problem:
        absent(problem)


class Planted:
    """All secrets so far, by what they are."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def plant(self, what: str, secret: str) -> str:
        assert len(secret) >= 16
        self.found[what] = secret
        return secret

    def search(self, where: str, haystack: str | bytes) -> None:
        """Fail when a secret, or the middle of one, is in the text; labels show heads and tails on purpose."""
        text = haystack if isinstance(haystack, bytes) else haystack.encode()
        for what, secret in self.found.items():
            third = len(secret) // 3
            middle = secret[third : third + 16].encode()
            assert secret.encode() not in text, f"{where} holds the {what}"
            assert middle not in text, f"{where} holds a part of the {what}"


def environment(url: str, planted: Planted, public_key: str) -> dict[str, str]:
    """Settings with a planted secret in every setting that is one; a new one cannot be forgotten."""
    given = {
        "DARKBLOOM_DATABASE_URL": url,
        "DARKBLOOM_PRIVY_APP_ID": APP,
        "DARKBLOOM_PRIVY_VERIFICATION_KEY": public_key,
        "DARKBLOOM_PRIVY_API_URL": "http://127.0.0.1:9",
        "DARKBLOOM_LOCAL_AUTH": "true",
        "DARKBLOOM_SIGNUP": "open",
        "DARKBLOOM_FINANCIAL_RATE_LIMIT_RPS": "0",
        "DARKBLOOM_STRIPE_API_URL": "http://127.0.0.1:9",
        "DARKBLOOM_STRIPE_SUCCESS_URL": "https://console.example/ok",
        "DARKBLOOM_STRIPE_CANCEL_URL": "https://console.example/no",
        "DARKBLOOM_ALLOW_DEV_ATTESTATION": "true",
    }
    beginnings = {"STRIPE_SECRET_KEY": "sk_test_", "STRIPE_WEBHOOK_SECRET": "whsec_", "API_KEYS": "sk-db-"}
    for declared in declared_settings(CoordinatorSettings).values():
        if declared.form.secret and declared.name not in given:
            name = declared.name.removeprefix("DARKBLOOM_")
            words = 12 if "MNEMONIC" in name else 1
            made = " ".join(secrets.token_hex(32 // words) for _ in range(words))
            given[declared.name] = planted.plant(name, beginnings.get(name, "") + made)
    return given


@contextmanager
def logs() -> Iterator[list[io.StringIO]]:
    """Collect all log lines, ours from DEBUG on, in both forms."""
    written = [io.StringIO(), io.StringIO()]
    handlers: list[logging.Handler] = [logging.StreamHandler(one) for one in written]
    for handler, formatter in zip(handlers, (JsonFormatter(), TextFormatter()), strict=True):
        handler.setFormatter(formatter)
    root = logging.getLogger()
    levels = {name: logging.getLogger(name).level for name in ("", "darkbloom", "server", "httpx", "stripe")}
    for handler in handlers:
        root.addHandler(handler)
    for name in levels:
        logging.getLogger(name).setLevel(logging.DEBUG if name in ("", "darkbloom", "server") else logging.INFO)
    try:
        yield written
    finally:
        for handler in handlers:
            root.removeHandler(handler)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


class Caller:
    """Sends requests to the application, and keeps the answers that are searched."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._client = coordinator.app.test_client(use_cookies=False)
        self.answers: list[str] = []

    async def once(self, method: str, path: str, body: object = None, **more: Any) -> tuple[int, Any, dict[str, str]]:
        """Send a request whose answer may hold a secret, which is shown this one time."""
        headers = dict(more.get("headers") or {})
        if "token" in more:
            headers["Authorization"] = f"Bearer {more['token']}"
        if "cookie" in more:
            headers["Cookie"] = f"db_sess={more['cookie']}"
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        response = await self._client.open(  # type: ignore[call-arg]
            path, method=method, headers=headers, data=data, scope_base={"client": ("203.0.113.7", 1)}
        )
        text = await response.get_data(as_text=True)
        return (
            response.status_code,
            json.loads(text) if response.is_json and text else text,
            {name.lower(): value for name, value in response.headers.items()},
        )

    async def ask(self, method: str, path: str, body: object = None, **more: Any) -> int:
        """Send a request whose answer is searched, head and all."""
        status, answer, headers = await self.once(method, path, body, **more)
        self.answers.append(json.dumps([status, answer, headers]))
        return status


async def make_credentials(caller: Caller, planted: Planted, jwt: str) -> dict[str, str]:
    """Make one of everything over HTTP; each secret is in one answer, and planted from then on."""
    made: dict[str, str] = {"jwt": jwt}
    status, answer, _ = await caller.once("POST", "/v1/keys", {"name": "n"}, token=jwt)
    assert status == 200
    made["API key"] = answer["key"]
    made["key id"] = answer["data"]["id"]
    _, answer, _ = await caller.once("POST", f"/v1/keys/{made['key id']}/rotate", token=jwt)
    made["rotated key"] = answer["key"]
    _, answer, _ = await caller.once("POST", "/v1/auth/keys", token=jwt)
    made["plain key"] = answer["api_key"]
    login = {"login": "ada", "password": PASSWORD}
    status, _, headers = await caller.once("POST", "/auth/signup", login, headers=PAGE)
    assert status < 300
    made["cookie"] = headers["set-cookie"].partition(";")[0].removeprefix("db_sess=")
    _, _, headers = await caller.once(
        "POST", "/auth/session", {"mode": "key", "key": made["rotated key"]}, headers=PAGE
    )
    made["key cookie"] = headers["set-cookie"].partition(";")[0].removeprefix("db_sess=")
    _, answer, _ = await caller.once("POST", "/v1/device/code")
    made["device code"] = answer["device_code"]
    assert await caller.ask("POST", "/v1/device/approve", {"user_code": answer["user_code"]}, token=jwt) == 200
    _, answer, _ = await caller.once("POST", "/v1/device/token", {"device_code": made["device code"]})
    made["provider token"] = answer["token"]
    for what, secret in made.items():
        if what != "key id":
            planted.plant(what, secret)
    return made


async def use_and_abuse(caller: Caller, made: dict[str, str], planted: Planted) -> None:
    """Send every secret everywhere: to where it belongs, to where it does not, and a letter off."""
    paths = (
        "/v1/keys", "/v1/key", "/v1/me/provider-tokens", "/auth/session", "/auth/sessions", "/v1/models",
        "/v1/admin/users", "/v1/admin/keys", "/v1/admin/audit", "/v1/admin/state-export", "/v1/pricing",
        "/v1/payments/balance", "/v1/billing/wallet/balance", "/v1/billing/stripe/status", "/metrics", "/nothing",
    )  # fmt: skip
    for number, secret in enumerate(planted.found.values()):
        if "\n" in secret:
            continue
        await caller.ask("GET", paths[number % len(paths)], token=secret)
        await caller.ask("GET", "/v1/models", headers={"x-api-key": secret + "x"})
        await caller.ask("DELETE", "/v1/auth/keys", {"key": secret}, token=made["jwt"])
        await caller.ask("POST", "/auth/session", {"mode": "key", "key": secret}, headers=PAGE)
        await caller.ask("POST", "/auth/session", {"mode": "privy", "token": secret}, headers=PAGE)
        await caller.ask("POST", "/v1/device/token", {"device_code": secret})
        if secret.startswith("sk-db-"):
            await caller.ask("GET", f"/v1/keys/{secret}", token=made["jwt"])
    for path in paths:
        for what in ("jwt", "plain key", "ADMIN_KEYS", "provider token"):
            await caller.ask("GET", path, token=made.get(what) or planted.found[what])
        for what in ("cookie", "key cookie"):
            await caller.ask("GET", path, cookie=made[what])
    chat = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
    await caller.ask("POST", "/v1/chat/completions", chat, token=made["plain key"])
    await caller.ask("POST", "/auth/session", {"mode": "local", "login": "ada", "password": PASSWORD}, headers=PAGE)
    change = {"old_password": PASSWORD + "x", "new_password": PASSWORD + "y"}
    await caller.ask("POST", "/auth/password", change, cookie=made["cookie"], headers=PAGE)
    await caller.ask("POST", "/v1/billing/stripe/create-session", {"amount_usd": "5"}, token=made["jwt"])
    for path in ("/v1/billing/stripe/webhook", "/v1/billing/stripe/connect/webhook"):
        await caller.ask("POST", path, b'{"id":"evt_1"}', headers={"Stripe-Signature": "t=1,v1=00"})
    await caller.ask("POST", "/v1/admin/auth/init", {"email": "ada@example.com"})


async def stored(store: Store) -> str:
    """All rows of all tables, as texts."""
    names = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table'",
        "postgres": "SELECT CAST(table_name AS TEXT) AS name FROM information_schema.tables "
        "WHERE table_schema = 'public'",
    }
    tables = [cast(str, row["name"]) for row in await store.read(lambda tx: tx.fetch(names[store.kind]))]
    assert len(tables) > 30
    found: list[str] = []
    for table in tables:
        rows = await store.read(lambda tx, table=table: tx.fetch(f'SELECT * FROM "{table}"'))  # type: ignore[misc]
        found += [f"{table} {dict(row)!r}" for row in rows]
    return "\n".join(found)


@pytest.mark.usefixtures("_restored_collector")
async def test_no_secret_leaves_its_place(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = Planted()
    private, public = new_key_pair()
    given = environment(url, planted, public)
    loaded = load_settings(given)
    settings = loaded.settings
    now = int(time.time())
    jwt = mint(load_signing_key(private), app_id=APP, subject="local:bot", now=now, life_seconds=3600)
    with logs() as written:
        async with open_coordinator(settings) as coordinator:
            caller = Caller(coordinator)
            made = await make_credentials(caller, planted, jwt)
            await use_and_abuse(caller, made, planted)
            tables = await stored(coordinator.books.store)
            accounts = coordinator.books.accounts
            known = await accounts.keys.authenticate(made["plain key"])
            shown = repr(
                [settings, loaded, effective_values(loaded), coordinator, coordinator.books, known]
                + [getattr(accounts, name) for name in accounts.__slots__]
            )
            metrics = coordinator.metrics

            async def down(_work: object) -> None:
                raise StoreUnavailable("The database is down.")

            monkeypatch.setattr(coordinator.books.store, "read", down)
            monkeypatch.setattr(coordinator.books.store, "write", down)
            await use_and_abuse(caller, made, planted)
            monkeypatch.undo()
    assert len(caller.answers) > 200
    assert "local_credentials" in tables
    assert _cache_secret(settings) not in tables.encode()
    planted.search("the log", written[0].getvalue())
    planted.search("the log in words", written[1].getvalue())
    planted.search("an answer", "\n".join(caller.answers))
    planted.search("the database", tables)
    planted.search("a repr", shown)
    planted.search("a repr of metrics", repr(metrics))
    await search_commands(given, planted, tmp_path)
    async with open_store(url, allow_memory=False, wall_clock=lambda: 1) as store:
        planted.search("the database after the commands", await stored(store))
    if url.startswith("sqlite"):
        await search_files(tmp_path / "data", planted)


async def search_commands(given: dict[str, str], planted: Planted, folder: Path) -> None:
    """Run the commands of the terminal; what makes a secret shows it once, and nothing shows it afterwards."""
    terminal = Terminal(given["DARKBLOOM_DATABASE_URL"], **given)
    once: list[tuple[str, ...]] = [
        ("accounts", "create", "cli", "--admin", "--generate-password"),
        ("keys", "create", "cli", "--name", "n"),
        ("publishing-keys", "create", "builder"),
    ]
    for arguments in once:
        answer = await terminal.good(*arguments)
        planted.plant(f"secret of {arguments[0]}", answer.get("key") or answer["password"])
    key_file = folder / "signing.pem"
    await terminal.good("tokens", "keygen", "--key-file", str(key_file))
    planted.plant("signing key", key_file.read_text().splitlines()[1])
    terminal.everything.clear()
    await terminal.good("credit", "cli", "5", "--reason", "welcome")
    for arguments in (
        ("accounts", "find"), ("accounts", "show", "cli"), ("keys", "list", "--all"), ("publishing-keys", "list"),
        ("ledger", "verify"), ("ledger", "show", "cli"), ("prices", "list"), ("invites", "list"), ("audit",),
        ("keys", "revoke", planted.found["secret of keys"]), ("accounts", "show", planted.found["API key"]),
        ("tokens", "mint", "x", "--key-file", str(key_file)), ("setup-token",),
    ):  # fmt: skip
        await terminal(*arguments)
        await terminal(*arguments, "--json")
    for command in (("config",), ("config", "--json"), ("doctor",), ("doctor", "--json"), ("migrate",)):
        await trio.to_thread.run_sync(lambda command=command: terminal.run(*command))  # type: ignore[misc]
    assert "welcome" in "".join(terminal.everything)
    planted.search("a command", "\n".join(terminal.everything))


async def search_files(folder: Path, planted: Planted) -> None:
    """Search the database's files byte for byte, and an export of them."""
    files = [path for path in folder.iterdir() if path.is_file()]
    assert any(path.stat().st_size > 100_000 for path in files)
    for path in files:
        planted.search(path.name, path.read_bytes())
    archive = await StateExport(folder, recipient=None).make()
    data = b""
    while piece := await archive.read():
        data += piece
    archive.close()
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        assert "coordinator.db" in opened.namelist()
        for name in opened.namelist():
            planted.search(f"{name} of the export", opened.read(name))
