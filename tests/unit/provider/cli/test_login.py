"""`darkbloom login` and `darkbloom logout` in front of a coordinator's door on loopback."""

import json
import stat
import sys

import pytest

from provider.account import device_login
from provider.account.token_file import TokenFile
from provider.cli.root import run
from tests.unit.provider.cli.http_peer import http_peer

TOKEN = "eigeninference-pt-" + "ab" * 32
ASK, POLL, REVOKE = "POST /v1/device/code", "POST /v1/device/token", "DELETE /v1/device/token"
PENDING = (200, {"status": "authorization_pending"})
AUTHORIZED = (200, {"status": "authorized", "token": TOKEN, "account_id": "acct-1"})
BROKEN = (500, {"error": {"message": "The token could not be revoked; try again.", "type": "server_error"}})
GONE = (204, {})


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DARKBLOOM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DARKBLOOM_COORDINATOR_URL", raising=False)
    monkeypatch.setattr(device_login, "MIN_INTERVAL_SECONDS", 0.0)
    return tmp_path / "home"


@pytest.fixture
def peer(home, monkeypatch):
    with http_peer() as found:
        code = {
            "device_code": "d" * 64,
            "user_code": "ABCD-2345",
            "verification_uri": f"{found.url}/link",
            "verification_uri_complete": f"{found.url}/link?code=ABCD-2345",
            "expires_in": 900,
            "interval": 0,
        }
        found.replies = {ASK: [(200, code)], POLL: [PENDING, BROKEN, AUTHORIZED], REVOKE: [GONE]}
        monkeypatch.setenv("DARKBLOOM_COORDINATOR_URL", found.url.replace("http:", "ws:") + "/ws/provider")
        yield found


def test_login_shows_the_code_and_keeps_the_token_for_the_owner_alone(home, peer, capsys):
    assert run(["login"]) == 0
    told = capsys.readouterr()
    assert "Your code: ABCD-2345" in told.out
    assert f"Approve it at: {peer.url}/link\n" in told.out
    assert "linked to the account acct-1" in told.out
    assert TOKEN not in told.out + told.err
    file = TokenFile(home)
    assert (file.read().secret, file.read().coordinator) == (TOKEN, peer.url)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    label = peer.asked[0][3]
    assert all(0 < len(label[name]) <= 64 for name in ("client_label", "chip"))


@pytest.mark.parametrize(
    ("arguments", "environment", "pages"),
    [
        ([], {"DISPLAY": ":0"}, 1),
        (["--no-open"], {"DISPLAY": ":0"}, 0),
        (["--json"], {"DISPLAY": ":0"}, 0),
        ([], {"DISPLAY": ":0", "SSH_CONNECTION": "there"}, 0),
        ([], {}, 0),
    ],
)
def test_login_opens_the_page_before_a_person_at_this_machine(
    home, peer, monkeypatch, capsys, arguments, environment, pages
):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION", "SSH_TTY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert run(["login", *arguments]) == 0
    assert opened == [f"{peer.url}/link?code=ABCD-2345"] * pages


def test_a_page_that_is_no_web_page_is_not_opened(home, peer, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    peer.replies[ASK][0][1]["verification_uri_complete"] = "file:///etc/passwd"
    run(["login"])
    assert opened == []


def test_login_as_json_is_one_object_a_line(home, peer, capsys):
    assert run(["login", "--json", "--coordinator", peer.url]) == 0
    told = capsys.readouterr()
    waiting, linked = [json.loads(line) for line in told.out.splitlines()]
    assert (waiting["status"], waiting["user_code"], waiting["expires_in"]) == ("waiting", "ABCD-2345", 900)
    assert linked == {"status": "linked", "account_id": "acct-1", "token_file": str(home / "auth_token")}
    assert told.err == ""


def test_login_refuses_a_machine_that_has_a_token_and_asks_nobody(home, peer, capsys):
    assert run(["login"]) == 0
    asked = len(peer.asked)
    assert run(["login"]) == 1
    told = capsys.readouterr().err
    assert f"This machine has a token already ({home / 'auth_token'})" in told
    assert "fix: darkbloom logout" in told
    assert len(peer.asked) == asked


def test_the_slower_of_two_logins_gives_its_token_back(home, peer, monkeypatch, capsys):
    assert run(["login"]) == 0
    peer.replies[POLL] = [(200, {**AUTHORIZED[1], "token": "second"})]
    # As if the first one had ended while the second one waited.
    monkeypatch.setattr(TokenFile, "exists", False)
    assert run(["login"]) == 1
    assert "has a token already" in capsys.readouterr().err
    assert peer.asked[-1][:3] == ("DELETE", "/v1/device/token", "Bearer second")
    assert TokenFile(home).read().secret == TOKEN


def test_a_denied_login_leaves_no_file(home, peer, capsys):
    peer.replies[POLL] = [(403, {"error": {"message": "The request was denied.", "type": "access_denied"}})]
    assert run(["login"]) == 1
    assert capsys.readouterr().err == "error: The request was denied.\n  fix: darkbloom login\n"
    assert list(home.iterdir()) == []


def test_a_home_that_cannot_be_used_is_told_before_a_code_is_asked_for(home, peer, capsys):
    home.write_text("a file")
    assert run(["login"]) == 1
    assert "cannot be used" in capsys.readouterr().err
    assert peer.asked == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("login", "No coordinator is named"),
        ("login --coordinator http://10.0.0.1", "unencrypted"),
        ("login --coordinator nonsense", "DARKBLOOM_COORDINATOR_URL"),
    ],
)
def test_an_unusable_coordinator_is_a_configuration_error(home, line, words, capsys):
    assert run(line.split()) == 2
    assert words in capsys.readouterr().err


def test_an_unreachable_coordinator_is_named(home, peer, capsys):
    assert run(["login", "--coordinator", "http://127.0.0.1:1"]) == 1
    assert "http://127.0.0.1:1 cannot be reached (ConnectError)" in capsys.readouterr().err


@pytest.mark.parametrize(("more", "told"), [([], "not linked to an account any more"), (["--json"], "unlinked")])
def test_logout_revokes_and_then_removes(home, peer, more, told, capsys):
    assert run(["login"]) == 0
    capsys.readouterr()
    assert run(["logout", *more]) == 0
    out = capsys.readouterr().out
    assert told in out
    assert not more or json.loads(out) == {"status": "unlinked"}
    assert peer.asked[-1][:3] == ("DELETE", "/v1/device/token", f"Bearer {TOKEN}")
    assert not TokenFile(home).exists


def test_logout_asks_the_coordinator_that_gave_the_token(home, peer, monkeypatch):
    assert run(["login"]) == 0
    monkeypatch.setenv("DARKBLOOM_COORDINATOR_URL", "https://other.example")
    assert run(["logout"]) == 0
    assert peer.count("DELETE") == 1


@pytest.mark.parametrize("way", ["refused", "unreachable"])
def test_a_failed_logout_keeps_the_file(home, peer, way, capsys):
    assert run(["login"]) == 0
    peer.replies[REVOKE] = [BROKEN]
    elsewhere = ["--coordinator", "http://127.0.0.1:1"] if way == "unreachable" else []
    assert run(["logout", *elsewhere]) == 1
    told = capsys.readouterr().err
    assert f"The token was not revoked and stays in {home / 'auth_token'}" in told
    assert "fix: " in told
    assert TOKEN not in told
    assert TokenFile(home).read().secret == TOKEN


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_logout_without_a_token_is_done_already(home, more, capsys):
    assert run(["logout", *more]) == 0
    assert "not" in capsys.readouterr().out


def test_logout_refuses_a_file_that_others_may_read(home, peer, capsys):
    assert run(["login"]) == 0
    (home / "auth_token").chmod(0o644)
    assert run(["logout"]) == 1
    assert "chmod 600" in capsys.readouterr().err
    assert peer.count("DELETE") == 0
