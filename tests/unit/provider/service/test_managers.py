"""Units, property lists and what is asked of the system's tools, from recorded answers."""

import plistlib
from pathlib import Path

import pytest

from provider.service.background import Background
from provider.service.choose import choose_manager, manager_of
from provider.service.launchd import LABEL, WATCHDOG_LABEL, Launchd
from provider.service.manager import ServiceFailed, ToolResult, run_tool
from provider.service.spec import ServiceSpec, read_record, record_of, write_record
from provider.service.systemd import Systemd, quote, render_unit


class Tools:
    """Answers by the start of the command; everything else succeeds."""

    def __init__(self, answers=None):
        self.answers = answers or {}
        self.seen = []

    def __call__(self, command):
        line = " ".join(command)
        self.seen.append(line)
        return next((found for start, found in self.answers.items() if line.startswith(start)), ToolResult(0, ""))


@pytest.fixture
def spec(tmp_path):
    return ServiceSpec(
        program=("/opt/py thon/bin/python", "-I", "-m", "provider.cli"),
        arguments=("start", "--foreground", "--model", "a%b=$HOME/x"),
        environment={"DARKBLOOM_HOME": "/home/me/.darkbloom", "PATH": "/bin"},
        home=tmp_path,
        output_file=tmp_path / "provider.out",
    )


def test_the_unit_says_what_was_decided(spec):
    unit = render_unit(spec)
    for line in (
        "Type=notify",
        'ExecStart="/opt/py thon/bin/python" -I -m provider.cli start --foreground --model a%%b=$$HOME/x',
        "Restart=on-failure",
        "RestartSec=10",
        "StartLimitIntervalSec=900",
        "StartLimitBurst=3",
        "TimeoutStopSec=3660",
        "KillMode=mixed",
        "WatchdogSec=120",
        "LimitCORE=0",
        "NoNewPrivileges=yes",
        "Environment=DARKBLOOM_HOME=/home/me/.darkbloom",
    ):
        assert f"{line}\n" in unit


@pytest.mark.parametrize(
    ("word", "quoted"),
    [("a", "a"), ("", '""'), ("a b", '"a b"'), ('a"b', '"a\\"b"'), ("50%", "50%%"), ("$A", "$$A"), ("a\nb", '"a\\nb"')],
)
def test_words_of_a_unit_are_quoted(word, quoted):
    assert quote(word) == quoted


def test_systemd_installs_starts_and_leaves_nothing(tmp_path, spec):
    tools = Tools()
    manager = Systemd(tmp_path, run=tools)
    manager.install(spec)
    unit = tmp_path / "systemd" / "user" / "darkbloom-provider.service"
    assert unit.read_text() == render_unit(spec)
    manager.start(spec)
    assert any(line.startswith("systemctl --user start") for line in tools.seen)
    manager.uninstall()
    assert not unit.exists()


def test_a_refusal_of_systemd_is_told_in_its_words(tmp_path, spec):
    tools = Tools({"systemctl --user enable": ToolResult(1, "line\nFailed to connect to bus")})
    with pytest.raises(ServiceFailed, match="status 1: Failed to connect to bus"):
        Systemd(tmp_path, run=tools).install(spec)


def test_lingering_is_hinted_at_only_where_it_is_off(tmp_path):
    assert "enable-linger" in Systemd(tmp_path, run=Tools({"loginctl": ToolResult(0, "no")})).hint
    assert Systemd(tmp_path, run=Tools({"loginctl": ToolResult(0, "yes")})).hint == ""


def test_launchd_gets_two_agents(tmp_path, spec):
    tools = Tools()
    manager = Launchd(tmp_path, run=tools, uid=501)
    manager.install(spec)
    provider = plistlib.loads((tmp_path / f"{LABEL}.plist").read_bytes())
    assert (provider["Label"], provider["RunAtLoad"], provider["KeepAlive"]) == ("io.darkbloom.provider", True, False)
    assert (provider["ProcessType"], provider["ExitTimeOut"]) == ("Interactive", 3660)
    assert provider["ProgramArguments"] == list(spec.command)
    watchdog = plistlib.loads((tmp_path / f"{WATCHDOG_LABEL}.plist").read_bytes())
    assert (watchdog["StartInterval"], watchdog["ProgramArguments"][-1]) == (60, "watchdog")
    tools.seen.clear()
    manager.start(spec)
    assert tools.seen[-2:] == [
        f"launchctl bootstrap gui/501 {tmp_path / LABEL}.plist",
        f"launchctl bootstrap gui/501 {tmp_path / WATCHDOG_LABEL}.plist",
    ]
    tools.seen.clear()
    manager.disarm()
    assert tools.seen == [f"launchctl bootout gui/501/{WATCHDOG_LABEL}"]
    manager.uninstall()
    assert list(tmp_path.iterdir()) == []


def test_what_this_machine_has_decides():
    no_bus = Tools({"systemctl": ToolResult(1, "Failed to connect to bus")})
    assert choose_manager(Path("/c"), platform="linux", run=Tools()).kind == "systemd"
    assert choose_manager(Path("/c"), platform="linux", run=no_bus).kind == "background"
    assert choose_manager(Path("/c"), platform="darwin", run=Tools()).kind == "launchd"
    assert [manager_of(kind, Path("/c")).kind for kind in ("systemd", "launchd", "background")] == [
        "systemd",
        "launchd",
        "background",
    ]


def test_a_service_is_remembered(tmp_path, spec):
    path = tmp_path / "sub" / "service.json"
    assert read_record(path) is None
    write_record(path, record_of("systemd", spec))
    found = read_record(path)
    assert found.kind == "systemd"
    assert found.spec(spec.home, spec.output_file) == spec


def test_a_background_service_that_cannot_start_says_so(tmp_path, spec):
    with pytest.raises(ServiceFailed, match="cannot be started"):
        Background().start(spec)


def test_a_tool_that_is_not_there_is_an_answer_too():
    assert run_tool(["/nonexistent/tool"]).status == 127
    assert run_tool(["/bin/sh", "-c", "echo words; exit 3"]) == ToolResult(3, "words")
