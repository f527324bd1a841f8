"""Installing and starting the background service: look first, ask what is open, write it down, start, wait."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

from provider.cli.banner import tell_newer_release
from provider.cli.engine_installed import require_engine
from provider.cli.exits import CONFIGURATION, OK, CommandFailed
from provider.cli.home import last_log_lines, open_home
from provider.cli.offered import as_arguments
from provider.cli.session import session
from provider.cli.start_choices import ask_idle, check_memory, choose_models, save_coordinator, save_models

if TYPE_CHECKING:
    from provider.config import ProviderSettings
    from provider.daemon import OfferedModel
    from provider.service.life import Home
    from provider.service.manager import ServiceManager
    from provider.service.spec import ServiceSpec

_FLAGS: Final = {
    "DARKBLOOM_COORDINATOR_URL": "--coordinator",
    "DARKBLOOM_MAX_CONCURRENT": "--max-concurrent",
    "DARKBLOOM_LOCAL_PORT": "--port",
    "DARKBLOOM_LOCAL_BIND": "--bind",
}
"""Options that the service is started with again, as they were given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the command line said."""

    models: Sequence[str]
    take_all: bool
    overrides: Mapping[str, str | None]
    is_local: bool
    has_local_endpoint: bool
    has_idle_choice: bool
    timeout: float
    force: bool


def start_service(wanted: Wanted) -> int:
    """Start the provider in the background and wait until it serves; raises `CommandFailed`."""
    home = open_home(wanted.overrides)
    settings = home.configuration.settings
    tell_newer_release(home.configuration)
    require_engine()
    _check_coordinator(wanted, settings)
    old_pid = home.pid
    if old_pid is not None and not wanted.force:
        raise CommandFailed(f"A provider runs already (pid {old_pid}).", fix="darkbloom restart, or darkbloom switch")
    names, offered = choose_models(
        home.configuration, wanted.models, take_all=wanted.take_all, asks_coordinator=not wanted.is_local
    )
    check_memory(offered, settings)
    if not (wanted.models or wanted.take_all or wanted.has_idle_choice):
        ask_idle(home.configuration)
    save_models(home.configuration, names)
    save_coordinator(home.configuration, wanted.overrides)
    if old_pid is not None:
        from provider.cli.stop import stop

        stop(home, timeout=600, force=False)
    return install_and_start(home, _arguments(wanted, names, offered), wanted)


def install_and_start(home: "Home", arguments: tuple[str, ...], wanted: Wanted) -> int:
    """Write the service down, start it, and wait until it is ready; raises `CommandFailed`."""
    from provider.service.choose import choose_manager
    from provider.service.manager import ServiceFailed
    from provider.service.spec import record_of, write_record

    places = home.configuration.places
    manager = choose_manager(home.config_home)
    spec = make_spec(home, arguments)
    try:
        places.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        manager.install(spec)
        write_record(places.service_file, record_of(manager.kind, spec))
        start_and_wait(home, manager, spec, timeout=wanted.timeout, needs_link=not wanted.is_local)
    except ServiceFailed as failed:
        raise CommandFailed(str(failed), fix="darkbloom start --foreground") from None
    except OSError as error:
        raise CommandFailed(f"{places.home} cannot be used ({error.strerror}); set DARKBLOOM_HOME.") from None
    if manager.hint:
        click.echo(manager.hint)
    return OK


def start_and_wait(
    home: "Home", manager: "ServiceManager", spec: "ServiceSpec", *, timeout: float, needs_link: bool
) -> None:
    """Start the service and say what came of it; raises `CommandFailed`, with the end of its output."""
    from provider.service.life import StartFailed, wait_started

    output = spec.output_file
    before = output.stat().st_size if output.exists() else 0
    old_pid = home.pid
    manager.start(spec)
    click.echo(f"Starting the provider ({manager.kind}) …")
    try:
        state = wait_started(home, old_pid=old_pid, timeout=timeout, needs_link=needs_link)
    except StartFailed as failed:
        if home.pid is not None and needs_link:
            raise CommandFailed(
                f"{failed} It runs and is not registered with the coordinator yet.", fix="darkbloom status"
            ) from None
        told = last_log_lines(output, after=before)
        raise CommandFailed(f"{failed}\n{told}" if told else str(failed), fix="darkbloom logs") from None
    click.echo(f"The provider runs (pid {state.pid}) and offers {', '.join(state.advertised_models)}.")
    if state.local is not None:
        click.echo(f"Programs on this machine: {state.local.base_url}/v1 (see `darkbloom local info`)")


def make_spec(home: "Home", arguments: tuple[str, ...]) -> "ServiceSpec":
    """Describe the service with the environment that it keeps."""
    from provider.config.service_environment import service_environment
    from provider.service.spec import ServiceSpec

    places, settings = home.configuration.places, home.configuration.settings
    environment = service_environment()
    environment["DARKBLOOM_HOME"] = str(places.home)
    environment["DARKBLOOM_LOG_FILE"] = str(settings.log_file or places.log_file)
    if session().config is not None:
        environment["DARKBLOOM_CONFIG"] = str(home.configuration.file.path.absolute())
    return ServiceSpec(
        program=program(),
        arguments=arguments,
        environment=environment,
        home=places.home,
        output_file=places.output_file,
        restart=settings.auto_restart,
    )


def program() -> tuple[str, ...]:
    """The command line that starts this very program; a bundle is started through its link, so that updates count."""
    from provider.update.place import CURRENT, find_installation

    installation = find_installation()
    if installation is not None:
        return (str(installation.base / CURRENT / "bin" / "darkbloom"),)
    return (sys.executable, "-I", "-m", "provider.cli")


def _arguments(wanted: Wanted, names: Sequence[str], offered: "Sequence[OfferedModel]") -> tuple[str, ...]:
    flags: list[str] = []
    for name, flag in _FLAGS.items():
        value = wanted.overrides.get(name)
        if value is not None:
            flags += [flag, value]
    if wanted.overrides.get("DARKBLOOM_ALLOW_INSECURE_LINK"):
        flags.append("--insecure-link")
    if wanted.overrides.get("DARKBLOOM_LOCAL_AUTH"):
        flags.append("--no-auth")
    idle = wanted.overrides.get("DARKBLOOM_IDLE_TIMEOUT")
    if idle is not None:
        flags += ["--idle-timeout", idle.removesuffix("m")]
    if wanted.is_local:
        flags.append("--local")
    if wanted.has_local_endpoint:
        flags.append("--local-endpoint")
    models = (
        ["--all"] if wanted.take_all else [part for name in as_arguments(offered, names) for part in ("--model", name)]
    )
    return ("start", "--foreground", "--as-service", *models, *flags)


def _check_coordinator(wanted: Wanted, settings: "ProviderSettings") -> None:
    if wanted.is_local:
        return
    from provider.link import AddressRefused, parse_address

    if settings.coordinator_url is None:
        raise CommandFailed(
            "No coordinator is named.",
            fix="darkbloom start --coordinator wss://HOST (or --local without one)",
            code=CONFIGURATION,
        )
    try:
        parse_address(settings.coordinator_url, allow_insecure=settings.allow_insecure_link)
    except AddressRefused as refused:
        raise CommandFailed(str(refused), code=CONFIGURATION) from None
