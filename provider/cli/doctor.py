"""`darkbloom doctor`: read-only checks, each with what to do about it."""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from provider.cli.account import coordinator_option
from provider.cli.examples import examples
from provider.cli.exits import FAILURE, OK
from provider.cli.session import json_option, print_json, session

if TYPE_CHECKING:
    from provider.config import Configuration
    from provider.doctor.finding import Finding
    from provider.doctor.run import Probe

_MARKS = {"pass": ("✓", "[PASS]", "green"), "warn": ("!", "[WARN]", "yellow"), "fail": ("✗", "[FAIL]", "red")}


@click.command(
    name="doctor", epilog=examples("darkbloom doctor", "darkbloom doctor --strict --json", "darkbloom doctor --support")
)
@click.option("--strict", is_flag=True, help="End with 1 on a warning too.")
@coordinator_option
@click.option("--support", is_flag=True, help="Add what a person who helps you wants to know; no secrets.")
@json_option
def command(strict: bool, coordinator: str | None, support: bool, as_json: bool) -> int:
    """Check this machine, its configuration, its models, the running provider and the coordinator.

    Nothing is changed. Ends with 1 when a check fails.
    """
    return examine(strict=strict, coordinator=coordinator, support=support, as_json=as_json)


def examine(*, strict: bool, coordinator: str | None, support: bool, as_json: bool) -> int:
    """Run all checks and print them; gives the exit code."""
    from provider.doctor import Level, run_checks

    configuration, problems = _configuration(coordinator)
    probes = list(_probes(configuration, problems))
    findings: list[Finding] = []
    section = ""
    for finding in run_checks(probes):
        findings.append(finding)
        if not as_json:
            section = _print(finding, section)
    details = _support(configuration) if support else {}
    if as_json:
        content: dict[str, object] = {"checks": [finding.as_json() for finding in findings]}
        print_json(content | ({"support": details} if support else {}))
    else:
        for name, value in details.items():
            click.echo(f"  {name}: {value}")
        _print_sum(findings)
    levels = {finding.level for finding in findings}
    return FAILURE if Level.FAIL in levels or (strict and Level.WARN in levels) else OK


def _configuration(coordinator: str | None) -> "tuple[Configuration | None, Sequence[str]]":
    from protocol.settings import SettingsError
    from provider.config import load_configuration

    overrides = {} if coordinator is None else {"DARKBLOOM_COORDINATOR_URL": coordinator}
    try:
        return load_configuration(path=session().config, overrides=overrides), ()
    except SettingsError as error:
        return None, error.problems


def _probes(configuration: "Configuration | None", problems: Sequence[str]) -> "Iterator[tuple[str, str, Probe]]":
    from provider.doctor import configuration as setup
    from provider.doctor import machine
    from provider.host import detect_host
    from provider.identity import detect_posture

    host = detect_host()
    yield "machine", "hardware", lambda: machine.hardware(host)
    yield "machine", "device", machine.device
    if configuration is not None:
        yield from _machine_probes(configuration)
        yield "machine", "attestation", lambda: machine.protection(detect_posture())
    yield "configuration", "config", lambda: setup.config(configuration, problems)
    if configuration is None:
        return
    yield "configuration", "account link", lambda: setup.account_file(configuration)
    base, refusal = _coordinator_base(configuration)
    yield from _model_probes(configuration, base)
    yield from _daemon_probes(configuration)
    yield from _coordinator_probes(configuration, base, refusal, host.platform)


def _machine_probes(configuration: "Configuration") -> "Iterator[tuple[str, str, Probe]]":
    from provider.doctor import machine
    from provider.local import read_local_info
    from provider.memory.system import open_system_memory

    settings = configuration.settings
    physical = open_system_memory().physical()
    info = read_local_info(configuration.places.local_file)
    yield "machine", "memory", lambda: machine.memory(physical, settings.memory_policy(), dev=settings.dev)
    yield "machine", "disk space", lambda: machine.disk(settings.models_directory)
    yield "machine", "competing inference", lambda: machine.neighbours(None if info is None else info.port)


def _model_probes(configuration: "Configuration", base: str) -> "Iterator[tuple[str, str, Probe]]":
    from provider.doctor import configuration as setup
    from provider.doctor.coordinator import expected_hashes
    from provider.memory.system import open_system_memory
    from provider.models.hub import HubCache
    from provider.models.scan import scan_models

    settings = configuration.settings
    cache = HubCache(settings.models_directory)
    physical = open_system_memory().physical()
    chosen = setup.choose(scan_models(cache), settings.enabled_models)
    yield "models", "local models", lambda: setup.models(cache, settings.enabled_models)
    yield "models", "template render", lambda: setup.templates(chosen)
    yield "models", "model fit", lambda: setup.fit(chosen, physical, configuration)
    if chosen and base:
        yield "models", "weight integrity", lambda: setup.integrity(chosen, expected_hashes(base), configuration)


def _coordinator_base(configuration: "Configuration") -> tuple[str, str]:
    """Give the coordinator's HTTP address, or "" and the sentence that says why there is none."""
    from provider.account import door_address
    from provider.link import AddressRefused, parse_address

    settings = configuration.settings
    if settings.coordinator_url is None:
        return "", "no coordinator is named"
    try:
        return door_address(parse_address(settings.coordinator_url, allow_insecure=settings.allow_insecure_link)), ""
    except AddressRefused as refused:
        return "", str(refused)


def _daemon_probes(configuration: "Configuration") -> "Iterator[tuple[str, str, Probe]]":
    from provider.doctor import daemon
    from provider.local import read_local_info
    from provider.status.look import look

    seen = look(configuration.state_file)
    state, now = seen.state, seen.now
    yield "daemon", "daemon", lambda: daemon.daemon(state, seen.life, now=now)
    if state is not None and seen.life.is_alive:
        yield "daemon", "daemon connected", lambda: daemon.connected(state, now=now)
        yield "daemon", "engine stepping", lambda: daemon.stepping(state)
        yield "daemon", "recent trouble", lambda: daemon.recent_trouble(state, now=now)
    elif state is not None and state.stopped_at is None:
        yield "daemon", "recent crash", lambda: daemon.unclean_end(state, now=now)
    info = read_local_info(configuration.places.local_file)
    yield "daemon", "local endpoint", lambda: daemon.local_endpoint(state, seen.life, info)
    if sys.platform == "darwin":
        yield "daemon", "availability", daemon.availability


def _coordinator_probes(
    configuration: "Configuration", base: str, refusal: str, platform: str
) -> "Iterator[tuple[str, str, Probe]]":
    from provider.doctor import coordinator
    from provider.doctor.finding import warned
    from provider.version import installed_version

    if not base:
        fix = "darkbloom config set coordinator.url wss://HOST"
        yield (
            "coordinator",
            "coordinator health",
            lambda: [warned("coordinator", "coordinator health", refusal, fix)],
        )
        return
    yield "coordinator", "coordinator health", lambda: coordinator.health(base)
    yield "coordinator", "account link", lambda: coordinator.account(base, configuration)
    yield "coordinator", "up to date", lambda: coordinator.release(base, platform, installed_version())


def _print(finding: "Finding", section: str) -> str:
    if finding.section != section:
        click.echo(f"\n{finding.section}" if section else finding.section)
    plain, bracket, style = _MARKS[finding.level.value]
    has_color = session().color and sys.stdout.isatty()
    mark = click.style(plain, fg=style) if has_color else bracket
    click.echo(f"  {mark} {finding.name}: {finding.detail}")
    if finding.fix:
        click.echo(f"      fix: {finding.fix}")
    return finding.section


def _print_sum(findings: "Sequence[Finding]") -> None:
    counts = {level: sum(finding.level.value == level for finding in findings) for level in _MARKS}
    click.echo(f"\n{counts['pass']} passed, {counts['warn']} to look at, {counts['fail']} failed")


def _support(configuration: "Configuration | None") -> dict[str, object]:
    import platform

    from provider.account import TokenFile
    from provider.status.pid_file import running_pid
    from provider.version import installed_version

    details: dict[str, object] = {
        "version": installed_version(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "taken_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    if configuration is not None:
        places = configuration.places
        details |= {
            "coordinator": configuration.settings.coordinator_url or "",
            "home": str(places.home),
            "config": str(configuration.file.path),
            "has_token": TokenFile(places.home).exists,
            "pid": running_pid(places.pid_file),
        }
    return details
