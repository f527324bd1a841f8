"""A machine is linked to its owner's account and unlinked again: real coordinator, real command line, real provider."""

from __future__ import annotations

import json
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import trio

from provider.status.state_file import read_state
from tests.testbed.consumer import chat
from tests.testbed.coordinator import Coordinator, coordinator
from tests.testbed.money_bank import sqlite_bank
from tests.testbed.processes import Child, child
from tests.testbed.real_provider import DEMO_MODEL, real_provider
from tests.testbed.waiting import until

PAGE = {"X-CSRF": "1", "Sec-Fetch-Site": "same-origin"}
NO_MACHINE = "409 no_linked_machine"
MACHINE_AWAY = "503 machine_offline"


@asynccontextmanager
async def signed_in(server: Coordinator, login: str, *, new: bool = True) -> AsyncIterator[httpx.AsyncClient]:
    """Make a person, unless there is one already, and keep the browser session."""
    path, mode = ("/auth/signup", {}) if new else ("/auth/session", {"mode": "local"})
    async with httpx.AsyncClient(base_url=server.base_url, headers=PAGE, trust_env=False, timeout=20) as browser:
        answer = await browser.post(path, json=mode | {"login": login, "password": "a long garden path"})
        assert answer.status_code == 204, answer.text
        yield browser


@asynccontextmanager
async def darkbloom(home: Path, *line: str) -> AsyncIterator[Child]:
    """Run one command of the command line on the machine whose provider is called `provider`."""
    settings = {"DARKBLOOM_HOME": str(home / "provider-home")}
    async with child(["-m", "provider.cli", *line], home=home, settings=settings, name=line[0]) as process:
        yield process


async def first_line(process: Child) -> dict[str, object]:
    """Wait for the first JSON line that a command prints."""
    with trio.fail_after(30):
        while "\n" not in process.text():
            assert process.process.poll() is None, process.text()
            await trio.sleep(0.02)
    found: dict[str, object] = json.loads(process.text().splitlines()[0])
    return found


async def tokens(browser: httpx.AsyncClient) -> list[dict[str, object]]:
    """List the machines of a person."""
    found: list[dict[str, object]] = (await browser.get("/v1/me/provider-tokens")).json()["data"]
    return found


async def ask_own(server: Coordinator, key: str) -> str:
    """Ask with a key that reaches machines of its own account only; "answered", or status and code of the refusal."""
    head, text, events = await chat(server.port, key, DEMO_MODEL, "Hello", temperature=0, max_tokens=8)
    if head.status == 200:
        return "answered" if text and events[-1] == "[DONE]" else "broken"
    return f"{head.status} {json.loads(events[0])['error']['code']}"


async def test_login_links_the_machine_and_logout_unlinks_it(tmp_path: Path) -> None:
    settings = {**sqlite_bank(tmp_path).settings, "DARKBLOOM_SIGNUP": "open"}
    token_file = tmp_path / "provider-home" / "auth_token"
    async with coordinator(tmp_path, settings) as server, signed_in(server, "ada") as ada:
        made = await ada.post("/v1/keys", json={"name": "mine", "self_route_only": True})
        key = made.json()["key"]
        async with darkbloom(tmp_path, "login", "--json", "--coordinator", server.base_url) as login:
            code = str((await first_line(login))["user_code"])
            pending = (await ada.get("/v1/device/pending", params={"user_code": code})).json()
            assert pending["client_label"]
            assert (await ada.post("/v1/device/approve", json={"user_code": code})).json()["status"] == "approved"
            assert await login.wait(30) == 0, login.text()
        secret = token_file.read_text().split()[0]
        assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
        (listed,) = await tokens(ada)
        assert (listed["label"], listed["active"]) == (f"device-{code}", True)

        async with real_provider(tmp_path, server.link_url) as provider:
            await server.routable(DEMO_MODEL, seconds=60)
            assert await ask_own(server, key) == "answered"
            async with signed_in(server, "eve") as eve:
                other = (await eve.post("/v1/keys", json={"name": "other", "self_route_only": True})).json()["key"]
            assert await ask_own(server, other) == NO_MACHINE

            async with darkbloom(tmp_path, "logout") as logout:
                assert await logout.wait() == 0, logout.text()
            assert not token_file.exists()
            assert [listed["active"] for listed in await tokens(ada)] == [False]
            # The connection stays, without its owner.
            await server.routable(DEMO_MODEL)
            assert await ask_own(server, key) == NO_MACHINE
        said = server.process.text() + provider.text() + login.text() + logout.text()
        assert "eigeninference-pt-" in secret
        assert secret not in said


async def test_a_running_provider_is_linked_at_once_and_stays_so(tmp_path: Path) -> None:
    settings = {**sqlite_bank(tmp_path).settings, "DARKBLOOM_SIGNUP": "open"}
    async with coordinator(tmp_path, settings) as first:
        port = first.port
        async with real_provider(tmp_path, first.link_url):
            await first.routable(DEMO_MODEL, seconds=60)
            async with (
                signed_in(first, "ada") as ada,
                darkbloom(tmp_path, "login", "--json", "--coordinator", first.base_url) as login,
            ):
                key = (await ada.post("/v1/keys", json={"name": "mine", "self_route_only": True})).json()["key"]
                code = str((await first_line(login))["user_code"])
                await ada.post("/v1/device/approve", json={"user_code": code})
                assert await login.wait(30) == 0, login.text()
            with trio.fail_after(30):
                while await ask_own(first, key) != "answered":
                    await trio.sleep(0.1)
            first.process.signal(15)
            assert await first.process.wait() == 0
            async with coordinator(tmp_path, settings, port=port, name="second") as second:
                await second.routable(DEMO_MODEL, seconds=60)
                assert await ask_own(second, key) == "answered"
                await _the_machine_is_told_of_a_revocation(second, tmp_path)
                assert await ask_own(second, key) == NO_MACHINE


async def _the_machine_is_told_of_a_revocation(server: Coordinator, home: Path) -> None:
    """Its owner revokes the token elsewhere: the daemon serves on, and says what is wrong and what to do."""
    state_file = home / "provider-home" / "daemon-state.json"

    def account() -> str:
        state = read_state(state_file)
        return state.trust.account if state is not None and state.trust is not None else ""

    await until(lambda: account() == "linked", 30)
    async with signed_in(server, "ada", new=False) as ada:
        (listed,) = await tokens(ada)
        assert (await ada.delete(f"/v1/me/provider-tokens/{listed['id']}")).status_code < 300
    await until(lambda: account() == "token_refused", 30)
    async with darkbloom(home, "status") as status:
        assert await status.wait(30) == 0, status.text()
    assert "Account: the coordinator refused the token" in status.text()
    assert "fix: darkbloom logout; darkbloom login" in status.text()
    await server.routable(DEMO_MODEL)
