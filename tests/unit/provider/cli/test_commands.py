"""The short commands: configuration, idle policy, logs, earnings, reports, completion; what they print and change."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from provider.account.token_file import MachineToken, TokenFile
from provider.cli.root import run
from tests.unit.provider.cli.http_peer import http_peer

ROOT = Path(__file__).parents[4]
EARNINGS = "GET /v1/provider/account-earnings"
REPORT = "POST /v1/provider/log-report"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DARKBLOOM_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir(mode=0o700)
    return tmp_path / "home"


@pytest.fixture
def file(tmp_path):
    """Where the configuration of these tests lies."""
    return tmp_path / "xdg-config" / "darkbloom" / "provider.toml"


@pytest.fixture
def say(capsys, home):
    def go(line, code=0):
        words = line if isinstance(line, list) else line.split()
        assert run(words) == code
        return capsys.readouterr()

    return go


@pytest.fixture
def peer(home, monkeypatch):
    with http_peer() as found:
        monkeypatch.setenv("DARKBLOOM_COORDINATOR_URL", found.url.replace("http:", "ws:") + "/ws/provider")
        TokenFile(home).write(MachineToken("token-1", found.url))
        yield found


def test_the_path_of_the_file_and_another_one(say, file, tmp_path):
    assert say("config path").out == f"{file}\n"
    assert say(["-c", str(tmp_path / "other.toml"), "config", "path"]).out == f"{tmp_path / 'other.toml'}\n"


def test_a_value_is_set_shown_and_read(say, file):
    say("config set backend.max_concurrent 4")
    say(["config", "set", "backend.enabled_models", "a/b", "c"])
    say("config set provider.auto_update off")
    text = file.read_text()
    assert "max_concurrent = 4" in text
    assert 'enabled_models = ["a/b", "c"]' in text
    assert "auto_update = false" in text
    assert say("config get backend.max_concurrent").out == "4\n"
    shown = json.loads(say("config show --json").out)
    assert shown["DARKBLOOM_ENABLED_MODELS"] == {"value": "a/b,c", "source": str(file)}
    assert shown["DARKBLOOM_MAX_MODEL_SLOTS"]["source"] == "default"
    assert "DARKBLOOM_MAX_CONCURRENT" in say("config show").out


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("config set backend.max_concurrent 99", "must be a whole number from 1 to 24, not '99'"),
        ("config set backend.max_concurent 4", "Did you mean backend.max_concurrent?"),
        ("config set backend.max_concurrent 4 5", "takes one value"),
        ("config set schedule weekdays", "pairs of days and times"),
        ("config set schedule weekdays 20:00-20:00", "starts when it ends"),
        ("config get nothing", "There is no key 'nothing'."),
        ("idle unload-after 0", "0 is not in the range"),
        ("logs --last soon", "'soon' is no span of time."),
        ("completion tcsh", "'tcsh' is not one of"),
    ],
)
def test_wrong_words_are_usage_errors_that_change_nothing(say, file, line, words):
    told = say(line, code=64)
    assert words in told.err
    assert "fix: darkbloom" in told.err
    assert not file.exists()


def test_the_schedule_is_set_and_taken_away(say, file):
    told = say("config set schedule weekdays 20:00-07:00 weekend 09:00-18:00").out
    assert told == "The machine serves mon-fri 20:00-07:00; sat,sun 09:00-18:00.\n"
    assert say("config get schedule").out == "mon-fri 20:00-07:00; sat,sun 09:00-18:00\n"
    say("config set schedule idle-timeout-minutes 15")
    assert "idle_timeout_mins = 15" in file.read_text()
    assert say("config set schedule always").out == "The machine serves always.\n"
    assert "windows" not in file.read_text()


def test_a_broken_file_is_a_configuration_error_with_its_line(say, file):
    file.parent.mkdir(parents=True)
    file.write_text("[backend]\nmax_model_slots = 'three'\n")
    told = say("status", code=2).err
    assert f"{file}:2: backend.max_model_slots must be a whole number from 1 to 8." in told
    file.write_text("[backend]\nmax_slots = 3\n")
    assert f"{file}:2: unknown key backend.max_slots" in say("status").err
    assert say("status --json").err == ""


def test_the_idle_policy(say, file):
    assert say("idle status").out == "Unused models are unloaded after 60 minutes.\n"
    say("idle unload-after 30")
    assert json.loads(say("idle status --json").out)["unload_after_minutes"] == 30
    say("idle keep-loaded")
    assert say("idle status").out == "Models stay loaded.\n"


def test_automatic_updates_are_switched(say, file):
    say("autoupdate disable")
    told = json.loads(say("autoupdate status --json").out)
    assert (told["enabled"], told["possible"], told["put_aside"]) == (False, False, [])
    say("autoupdate enable")
    assert "are on" in say("autoupdate status").out


@pytest.mark.parametrize(
    "line", ["status --json", "idle status --json", "autoupdate status --json", "config show --json"]
)
def test_json_is_all_that_is_printed(say, line):
    told = say(line)
    json.loads(told.out)
    assert told.err == ""


def test_status_without_a_run(say):
    told = json.loads(say("status --json").out)
    assert (told["daemon"], told["running"], told["state"]) == ("not running", False, None)
    assert "fix: darkbloom start" in say("status").out
    assert "No provider has run here yet." in say("status --watch").out


def test_commands_that_need_a_daemon_say_how_to_get_one(say):
    for line in ("switch --model demo", "stop"):
        code = 0 if line == "stop" else 1
        told = say(line, code=code)
        assert "not running" in told.out or "fix: darkbloom start" in told.err
    assert "No background service is installed." in say("restart", code=1).err
    assert say("local info --json", code=1).out == "{}\n"
    assert "fix: darkbloom local" in say("local info", code=1).err


def write_log(home, *entries):
    lines = [
        json.dumps(
            {
                "ts": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() - age)),
                "level": level,
                "logger": "x",
                "msg": text,
            }
        )
        for age, level, text in entries
    ]
    (home / "provider.log").write_text("\n".join(lines) + "\n")
    return lines


def test_logs_are_cut_by_level_time_and_number(say, home):
    lines = write_log(home, (7200, "info", "old"), (60, "debug", "detail"), (30, "warn", "new"), (1, "info", "last"))
    assert "old" in say("logs").out
    assert [line.split()[-1] for line in say("logs --last 1h").out.splitlines()] == ["new", "last"]
    assert len(say("logs --debug").out.splitlines()) == 4
    assert say("logs --lines 1 --json").out == f"{lines[-1]}\n"
    assert say("logs --file").out == f"{home / 'provider.log'}\n"


def test_without_a_log_the_remedy_is_named(say):
    assert "fix: darkbloom start" in say("logs", code=1).err


def test_a_crash_before_the_first_line_is_shown(say, home):
    (home / "provider.out").write_text("error: it cannot start\n")
    assert say("logs").out == "error: it cannot start\n"


ANSWER = {
    "account_id": "acct-1",
    "earnings": [{"created_at": "2026-11-01T00:00:00Z", "amount_micro_usd": 1234, "model": "m"}],
    "total_micro_usd": 5_000_001,
    "count": 12,
    "available_balance_micro_usd": 2_500_000,
    "withdrawable_balance_micro_usd": 1_000_000,
}


def test_earnings_are_shown_in_dollars(say, peer):
    peer.replies = {EARNINGS: [(200, ANSWER)]}
    told = say("earnings").out
    for words in ("acct-1", "$2.500000", "$1.000000", "$5.000001", "12", "$0.001234"):
        assert words in told
    assert peer.asked[0][:3] == ("GET", "/v1/provider/account-earnings?limit=1000", "Bearer token-1")
    assert json.loads(say("earnings --json --limit 5").out) == ANSWER


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ((401, {}), "no longer valid"),
        ((403, {}), "no longer valid"),
        ((500, {"error": {"message": "Out of order."}}), "Out of order."),
        ((502, {}), "answered 502"),
    ],
)
def test_earnings_that_are_refused(say, peer, reply, words):
    peer.replies = {EARNINGS: [reply]}
    assert words in say("earnings", code=1).err


def test_earnings_without_login_and_without_network(say, home, monkeypatch):
    monkeypatch.setenv("DARKBLOOM_COORDINATOR_URL", "ws://127.0.0.1:1")
    assert "fix: darkbloom login" in say("earnings", code=1).err
    TokenFile(home).write(MachineToken("t", "http://127.0.0.1:1"))
    assert "http://127.0.0.1:1 cannot be reached" in say("earnings", code=1).err


def test_a_token_is_shown_to_its_own_coordinator_only(say, peer, home):
    TokenFile(home).remove()
    TokenFile(home).write(MachineToken("t", "https://other.example"))
    told = say("earnings", code=1)
    assert "was given by https://other.example" in told.err
    assert peer.asked == []


def test_a_report_is_shown_redacted_and_sent_on_yes_only(say, peer, home):
    peer.replies = {REPORT: [(200, {"status": "ok"})]}
    write_log(home, (10, "info", "token dk-local-" + "a" * 43), (5, "info", "at /home/jane/x"))
    shown = say("report --dry-run").out
    assert "(removed)" in shown
    assert "jane" not in shown
    assert peer.asked == []
    assert "no terminal to ask on" in say("report", code=1).err
    assert peer.asked == []
    assert "Sent 2 lines" in say("report --yes").out
    assert peer.asked[0][3]["text"] == shown
    peer.replies = {REPORT: [(404, {})]}
    assert "takes no reports" in say("report --yes", code=1).err


def test_a_report_of_nothing_is_not_sent(say, peer, tmp_path):
    log = tmp_path / "home" / "provider.log"
    assert "There is no log at" in say("report --yes", code=1).err
    log.touch()
    assert "has nothing of the last 24h" in say("report --yes", code=1).err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_command(say, shell):
    assert "_DARKBLOOM_COMPLETE" in say(f"completion {shell}").out


def test_completion_completes_commands_and_options():
    def complete(words, number):
        done = subprocess.run(
            [sys.executable, "-c", "import sys; sys.argv[0] = 'darkbloom'; from provider.cli import main; main()"],
            env={"_DARKBLOOM_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(number)},
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )
        return done.stdout

    assert "status" in complete("darkbloom sta", 1)
    assert "--watch" in complete("darkbloom status --w", 2)
