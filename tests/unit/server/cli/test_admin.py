"""`darkbloom-coordinator admin …` on both engines: what it does, prints, notes and refuses."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from server.accounts.privy_tokens import PinnedKey, PrivyTokens
from server.store.file_lock import exclusive_file
from tests.unit.server.cli.terminal import Terminal


async def test_an_account_is_made_found_and_shown(admin: Terminal) -> None:
    empty = await admin("accounts", "find")
    assert (empty.code, "admin accounts create LOGIN --admin" in empty.output) == (0, True)
    account_id = await admin.make("ruth", "--admin")  # no hexadecimal digits: ids are searched too
    await admin.make("bob@example.com")
    (found,) = (await admin.good("accounts", "find", "RUT"))["accounts"]
    assert (found["account_id"], found["login"], found["is_admin"]) == (account_id, "ruth", True)
    for name in ("ruth", account_id, f"local:{account_id}"):
        assert (await admin.good("accounts", "show", name))["account"] == found
    listed = await admin("accounts", "find")
    assert "ruth" in listed.output
    assert "bob@example.com" in listed.output
    taken = await admin("accounts", "create", "RUTH", "--generate-password")
    assert (taken.code, taken.errors) == (1, "This name is taken; choose another one.\n")
    unknown = await admin("accounts", "show", "nobody", "--json")
    assert (unknown.code, unknown.json["error"]["type"]) == (1, "not_found")
    assert (await admin.acts())[:2] == [("account.create", account_id), ("account.admin", account_id)]


async def test_a_password_is_read_from_standard_input_alone(admin: Terminal) -> None:
    made = await admin("accounts", "create", "ada", "--password-stdin", typed="correct horse battery\n")
    assert made.code == 0
    assert "correct horse" not in made.output
    short = await admin("accounts", "create", "eve", "--password-stdin", typed="short\n")
    assert (short.code, "shorter than 10 characters" in short.errors) == (1, True)
    asked = await admin("accounts", "create", "eve")
    assert asked.code == 64
    both = await admin("accounts", "create", "eve", "--password-stdin", "--generate-password")
    assert both.code == 64


async def test_role_fee_and_mark_change(admin: Terminal) -> None:
    account_id = await admin.make()
    assert (await admin.good("accounts", "role", "ada", "service"))["account"]["role"] == "service"
    assert (await admin.good("accounts", "fee", "ada", "12"))["account"]["fee_percent"] == 12
    assert (await admin.good("accounts", "fee", "ada", "default"))["account"]["fee_percent"] is None
    assert (await admin.good("accounts", "admin", "ada", "on"))["account"]["is_admin"] is True
    for wrong in (("fee", "ada", "101"), ("fee", "ada", "1.5"), ("role", "ada", "king"), ("admin", "ada", "maybe")):
        assert (await admin("accounts", *wrong)).code == 64
    names = [action for action, target in await admin.acts() if target == account_id]
    assert names == ["account.create", "account.role", "account.fee", "account.fee", "account.admin"]


async def test_money_is_given_once_for_each_key_and_the_books_stay_sound(admin: Terminal) -> None:
    account_id = await admin.make()
    given = await admin.good("credit", "ada", "5", "--reason", "welcome", "--idempotency-key", "k")
    assert (given["fresh"], given["balance_micro_usd"], given["withdrawable_micro_usd"]) == (True, 5_000_000, 0)
    again = await admin.good("credit", "ada", "5", "--reason", "welcome", "--idempotency-key", "k")
    assert (again["fresh"], again["balance_micro_usd"]) == (False, 5_000_000)
    other = await admin("credit", "ada", "6", "--reason", "welcome", "--idempotency-key", "k", "--json")
    assert (other.code, other.json["error"]["type"]) == (1, "conflict")
    reward = await admin.good("reward", "ada", "0.000001", "--reason", "thanks")
    assert (reward["balance_micro_usd"], reward["withdrawable_micro_usd"]) == (5_000_001, 1)
    for wrong in ("0", "-1", "abc", "1e9", "", "nan"):
        assert (await admin("credit", "ada", "--reason", "x", "--", wrong)).code == 64
    assert (await admin("credit", "ada", "1")).code == 64
    assert (await admin("credit", "nobody", "1", "--reason", "x")).code == 1
    report = await admin.good("ledger", "verify")
    assert (report["sound"], report["accounts"], report["transactions"], report["entries"]) == (True, 1, 2, 4)
    entries = (await admin.good("ledger", "show", "ada"))["entries"]
    assert [(one["type"], one["amount_micro_usd"], one["balance_after_micro_usd"]) for one in entries] == [
        ("admin_reward", 1, 5_000_001),
        ("admin_credit", 5_000_000, 5_000_000),
    ]
    counter = (await admin.good("ledger", "show", "sys:grants"))["entries"]
    assert sum(one["amount_micro_usd"] for one in counter) == -5_000_001
    assert (await admin("ledger", "show", "legacy:0")).code == 1
    shown = await admin("ledger", "show", "ada")
    assert "$5.000001" in shown.output
    assert (await admin.acts())[1:] == [("credit", account_id), ("reward", account_id)]


async def test_keys_live_and_die(admin: Terminal) -> None:
    account_id = await admin.make()
    made = await admin.good(
        "keys", "create", "ada", "--name", "laptop", "--limit-usd", "5", "--limit-reset", "monthly", "--model", "a/b"
    )
    assert made["key"].startswith("sk-db-")
    (listed,) = (await admin.good("keys", "list", "ada"))["keys"]
    assert (listed["id"], listed["state"], listed["limit_micro_usd"]) == (made["id"], "live", 5_000_000)
    assert (await admin.good("keys", "disable", made["label"]))["key"]["state"] == "disabled"
    assert (await admin.good("keys", "enable", made["id"]))["key"]["state"] == "live"
    assert (await admin.good("keys", "revoke", made["id"]))["key"]["state"] == "revoked"
    assert (await admin.good("keys", "list"))["keys"] == []
    assert len((await admin.good("keys", "list", "--all"))["keys"]) == 1
    gone = await admin("keys", "revoke", made["key"])
    assert (gone.code, made["key"] in gone.errors) == (1, False)
    for wrong in (("--limit-usd", "-1"), ("--expires-at", "2001-01-01T00:00:00Z"), ("--limit-reset", "yearly")):
        assert (await admin("keys", "create", "ada", *wrong)).code == 64
    key = made["id"]
    assert (await admin.acts())[1:] == [
        ("key.create", key), ("key.disable", key), ("key.enable", key), ("key.revoke", key),
    ]  # fmt: skip
    assert account_id == made["account_id"]


async def test_prices_are_exact(admin: Terminal) -> None:
    done = await admin.good("prices", "set", "a/b", "--input", "0.03", "--output", "0.165", "--cache-read", "0.000001")
    assert (done["input_price"], done["output_price"], done["cache_read_price"]) == (30_000, 165_000, 1)
    assert (await admin.good("prices", "list"))["prices"] == [done]
    shown = await admin("prices", "list")
    assert "$0.0300" in shown.output
    for wrong in (("--input", "0.0000001"), ("--input", "x"), ("--input", "-1")):
        assert (await admin("prices", "set", "a/b", *wrong, "--output", "1")).code == 64
    assert (await admin("prices", "set", "a/b", "--input", "1")).code == 64
    assert (await admin("prices", "set", "a/b", "--input", "0", "--output", "1")).code == 1
    assert (await admin("prices", "set", "a/b", "--input", "1", "--output", "1", "--cache-read", "2")).code == 1
    assert (await admin.good("prices", "delete", "a/b")) == {"model": "a/b", "status": "deleted"}
    assert (await admin("prices", "delete", "a/b")).code == 1
    assert await admin.acts() == [("price.set", "a/b"), ("price.delete", "a/b")]


async def test_invites_are_made_listed_and_switched_off(admin: Terminal) -> None:
    made = (await admin.good("invites", "create", "2.50", "--max-uses", "3", "--expires-in", "30d"))["invite"]
    assert (made["amount_micro_usd"], made["max_uses"], made["active"]) == (2_500_000, 3, True)
    named = (await admin.good("invites", "create", "1", "--code", "spring-26"))["invite"]
    assert named["code"] == "SPRING-26"
    assert (await admin("invites", "create", "1", "--code", "spring-26")).code == 1
    assert (await admin("invites", "create", "1", "--expires-in", "soon")).code == 64
    assert (await admin.good("invites", "deactivate", "spring-26"))["status"] == "deactivated"
    assert (await admin("invites", "deactivate", "unknown")).code == 1
    listed = {one["code"]: one["active"] for one in (await admin.good("invites", "list"))["invites"]}
    assert listed == {made["code"]: True, "SPRING-26": False}
    assert await admin.acts() == [
        ("invite.create", made["code"]),
        ("invite.create", "SPRING-26"),
        ("invite.deactivate", "SPRING-26"),
    ]


async def test_publishing_keys_are_made_listed_and_revoked(admin: Terminal) -> None:
    made = await admin.good("publishing-keys", "create", "builder")
    (listed,) = (await admin.good("publishing-keys", "list"))["publishing_keys"]
    assert (listed["id"], listed["name"], listed["active"]) == (made["id"], "builder", True)
    assert (await admin.good("publishing-keys", "revoke", made["id"]))["status"] == "revoked"
    again = await admin("publishing-keys", "revoke", made["id"])
    assert (again.code, "no active publishing key" in again.errors) == (1, True)
    assert (await admin("publishing-keys", "create", " ")).code == 64
    assert await admin.acts() == [
        ("publishing_key.create", "builder"),
        ("publishing_key.revoke", made["id"]),
    ]


async def test_a_setup_link_is_made_while_nobody_has_an_account(admin: Terminal) -> None:
    made = await admin.good("setup-token")
    assert made["url"].startswith("http://127.0.0.1:8080/login?setup=")
    await admin.make()
    late = await admin("setup-token", "--json")
    assert (late.code, late.json["error"]["type"]) == (1, "conflict")
    assert (await admin.acts())[0] == ("setup_token.create", "first administrator")


async def test_minted_tokens_are_what_the_coordinator_accepts(admin: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "signing.pem"
    made = await admin.good("tokens", "keygen", "--key-file", str(file))
    assert file.stat().st_mode & 0o777 == 0o600
    assert "PRIVATE" not in made["public_key"]
    assert (await admin("tokens", "keygen", "--key-file", str(file))).code == 1
    unset = await admin("tokens", "mint", "bot", "--key-file", str(file))
    assert unset.code == 64
    admin.environment |= {
        "DARKBLOOM_PRIVY_APP_ID": "ours",
        "DARKBLOOM_PRIVY_VERIFICATION_KEY": made["public_key"],
    }
    minted = await admin.good("tokens", "mint", "bot", "--key-file", str(file), "--lives", "1h")
    issued = await PrivyTokens("ours", PinnedKey(made["public_key"]), now=lambda: 0.0).verify(minted["token"])
    assert issued.did == minted["subject"] == "local:bot"
    for wrong in (("bot", "--lives", "2000d"), ("bot", "--lives", "x"), ("a b",), ("",), ("ä",)):
        assert (await admin("tokens", "mint", *wrong, "--key-file", str(file))).code == 64
    other = tmp_path / "other.pem"
    await admin.good("tokens", "keygen", "--key-file", str(other))
    assert (await admin("tokens", "mint", "bot", "--key-file", str(other))).code == 64
    other.write_text("no key")
    assert (await admin("tokens", "mint", "bot", "--key-file", str(other))).code == 64
    assert (await admin("tokens", "mint", "bot", "--key-file", str(tmp_path / "none"))).code == 64
    assert await admin.acts() == [("token.mint", "local:bot")]


async def test_differences_in_the_books_are_an_exit_code(tmp_path: Path) -> None:
    admin = Terminal(f"sqlite:///{tmp_path / 'data.db'}")
    await admin.migrate()
    await admin.make()
    await admin.good("credit", "ada", "5", "--reason", "welcome")
    with closing(sqlite3.connect(tmp_path / "data.db", isolation_level=None)) as database:
        database.execute("UPDATE balances SET balance_micro_usd = balance_micro_usd + 1")
    ended = await admin("ledger", "verify")
    assert ended.code == 1
    assert "A2 balance is the sum of the entries" in ended.output
    assert (await admin("ledger", "verify", "--json")).json["sound"] is False


async def test_a_running_coordinator_keeps_its_file_and_is_named(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    admin = Terminal(f"sqlite:///{path}", DARKBLOOM_PORT="9999")
    await admin.migrate()
    account_id = await admin.make()
    made = await admin.good("keys", "create", "ada")
    with exclusive_file(path):
        refused = await admin("keys", "revoke", made["id"])
        assert refused.code == 1
        assert f"A coordinator (process {os.getpid()}) is running on the sqlite file {path}" in refused.errors
        assert (
            f'curl -X DELETE http://127.0.0.1:9999/v1/admin/keys/{made["id"]} -H "Authorization: Bearer $ADMIN_KEY"'
            in refused.errors
        )
        credit = await admin("credit", account_id, "5", "--reason", "x", "--json")
        assert (credit.code, credit.json["error"]["type"]) == (1, "in_use")
        sent = credit.json["error"]["message"].partition("-d '")[2].partition("'")[0]
        assert json.loads(sent) == {"account_id": account_id, "amount_usd": "5", "note": "…"}
        alone = await admin("accounts", "admin", "ada", "on")
        assert "Stop the coordinator, run the command again, and start it" in alone.errors
        for reading in (("accounts", "find"), ("keys", "list"), ("ledger", "verify"), ("audit",), ("prices", "list")):
            assert (await admin(*reading)).code == 0
    assert (await admin("keys", "revoke", made["id"])).code == 0


async def test_what_is_not_there_and_what_cannot_be_managed_is_refused(tmp_path: Path) -> None:
    missing = Terminal(f"sqlite:///{tmp_path / 'none.db'}")
    ended = await missing("keys", "list")
    assert (ended.code, "make it with `darkbloom-coordinator migrate`" in ended.errors) == (1, True)
    assert not (tmp_path / "none.db").exists()
    memory = Terminal("", DARKBLOOM_ALLOW_MEMORY_STORE="true")
    assert (await memory("keys", "list")).code == 2
    assert (await Terminal("")("keys", "list", "--json")).json["error"]["type"] == "not_configured"
    dead = Terminal("postgresql://user:s3cret@127.0.0.1:9/name")
    ended = await dead("keys", "list")
    assert ended.code == 1
    assert "s3cret" not in "".join(dead.everything)


async def test_names_cannot_steer_the_terminal(admin: Terminal) -> None:
    await admin.make()
    made = await admin.good("keys", "create", "ada", "--name", "[red]name[/]")
    shown = await admin("keys", "list", "ada")
    assert "[red]name[/]" in shown.output
    assert (await admin("keys", "create", "ada", "--name", "a\x1b[2Jb")).code == 64
    assert made["name"] == "[red]name[/]"


def test_every_command_explains_itself_and_knows_json() -> None:
    terminal = Terminal("")
    overview = terminal.run("admin", "--help").output
    groups = {
        "accounts": ["find", "show", "create", "role", "fee", "admin"],
        "invites": ["create", "list", "deactivate"],
        "keys": ["create", "list", "revoke", "disable", "enable"],
        "ledger": ["verify", "show"],
        "prices": ["list", "set", "delete"],
        "publishing-keys": ["create", "list", "revoke"],
        "tokens": ["keygen", "mint"],
        "audit": [],
        "credit": [],
        "reward": [],
        "setup-token": [],
    }
    for name, commands in groups.items():
        assert f"  {name} " in overview
        for path in [[name, command] for command in commands] or [[name]]:
            assert "--json" in terminal.run("admin", *path, "--help").output


async def test_payouts_that_wait_are_shown_and_released(admin: Terminal) -> None:
    assert "Nothing waits." in (await admin("payouts", "list")).output
    account_id = await admin.make("ruth")
    await admin.change(
        "INSERT INTO payout_reviews (account_id, state, payer_account, payer_micro_usd, earned_micro_usd, opened_at)"
        " VALUES ($1, 'open', 'bob', 5000000, 6000000, 1)",
        account_id,
    )
    listed = await admin("payouts", "list")
    assert all(part in listed.output for part in (account_id, "$6.00", "bob", "$5.00"))
    assert (await admin.good("payouts", "list"))["reviews"][0]["payer_account_id"] == "bob"
    assert (await admin.good("payouts", "release", "ruth"))["state"] == "cleared"
    again = await admin("payouts", "release", "ruth", "--json")
    assert (again.code, again.json["error"]["type"]) == (1, "not_found")
    assert (await admin.acts())[-1] == ("payout.release", account_id)
    for order in (("sent", "w", "tr_1"), ("not-sent", "w"), ("paid", "w")):
        missing = await admin("payouts", *order, "--json")
        assert (missing.code, missing.json["error"]["type"]) == (1, "not_found")


async def test_an_account_is_suspended_and_resumed(admin: Terminal) -> None:
    account_id = await admin.make()
    suspended = (await admin.good("accounts", "suspend", "ada", "--reason", "spam"))["account"]
    assert (suspended["suspended_at"] is not None, suspended["suspended_reason"]) == (True, "spam")
    shown = await admin("accounts", "show", "ada")
    assert ": spam" in shown.output
    assert "suspended" in (await admin("accounts", "find")).output
    resumed = (await admin.good("accounts", "resume", "ada"))["account"]
    assert (resumed["suspended_at"], resumed["suspended_reason"]) == (None, "")
    assert (await admin("accounts", "suspend", "nobody", "--reason", "x")).code == 1
    assert (await admin("accounts", "suspend", "ada")).code == 64
    assert [action for action, target in await admin.acts() if target == account_id][1:] == [
        "account.suspend", "account.resume",
    ]  # fmt: skip


async def test_money_of_one_account_is_moved_to_another(admin: Terminal) -> None:
    old, new = await admin.make("old"), await admin.make("new")
    await admin.good("credit", "old", "5", "--reason", "x")
    await admin.good("reward", "old", "2", "--reason", "x")
    moved = await admin.good("accounts", "migrate", "old", "new")
    assert moved == {
        "from": old, "to": new, "amount_micro_usd": 7_000_000, "withdrawable_micro_usd": 2_000_000, "key_id": None,
    }  # fmt: skip
    account = (await admin.good("accounts", "show", "new"))["account"]
    assert (account["balance_micro_usd"], account["withdrawable_micro_usd"]) == (7_000_000, 2_000_000)
    again = await admin("accounts", "migrate", "old", "new")
    assert (again.code, "nothing that could be moved" in again.errors) == (1, True)
    assert (await admin("accounts", "migrate", "old", "nobody")).code == 1
    assert (await admin.good("ledger", "verify"))["sound"] is True
    assert ("account.migrate", old) in await admin.acts()
