"""Running the daemon in this process, for `start --foreground`, `serve` and `local`."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import click

from provider.cli.engine_installed import require_engine
from provider.cli.exits import CommandFailed
from provider.cli.offered import offered_models
from provider.cli.session import configured

if TYPE_CHECKING:
    from provider.config import ProviderSettings
    from provider.local import LocalOptions
    from provider.observe import ProviderEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreground:
    """What the command line said. `local` asks for the local server, `uses_coordinator` for the link."""

    models: Sequence[str]
    take_all: bool = False
    overrides: Mapping[str, str | None]
    uses_coordinator: bool = True
    local: bool = False
    local_required: bool = False
    stop_with_parent: bool = False
    is_service: bool = False


def restart_clean() -> None:
    """Replace this process by one with a clean environment, where that is needed."""
    from provider.hardening import restart_with_clean_environment

    # `-m` would search the working directory first, where the installed command never looks.
    safe_path = [] if {"", os.getcwd()} & set(sys.path) else ["-P"]
    restart_with_clean_environment([*safe_path, "-m", "provider.cli", *sys.argv[1:]])


def serve(wanted: Foreground) -> int:
    """Serve until drained; gives the exit code. Raises `CommandFailed`."""
    restart_clean()
    from provider.observe import configure_logging, ignore_event, mute_exception_texts
    from provider.observe.setup import set_level

    configuration = configured(wanted.overrides)
    settings = configuration.settings
    configure_logging(form=settings.log_format, level=settings.log_level, file=settings.log_file)
    mute_exception_texts()
    ended = _on_trial(wanted, settings)
    require_engine()
    import trio

    from protocol import lifeline
    from provider.daemon import DaemonOptions, DaemonRefused, run_daemon

    models = offered_models(wanted.models, settings, take_all=wanted.take_all)
    if not models:
        raise CommandFailed("No model to offer.", fix="darkbloom start --foreground --model DIRECTORY")
    if wanted.stop_with_parent:
        lifeline.stop_with_parent()
    options = DaemonOptions(
        models=models,
        settings=settings,
        uses_coordinator=wanted.uses_coordinator,
        local=_local_options(settings, required=wanted.local_required)
        if wanted.local or (wanted.uses_coordinator and settings.local_endpoint)
        else None,
        config_file=str(configuration.file.path),
        is_service=wanted.is_service,
        on_event=_show_event if sys.stderr.isatty() else ignore_event,
        reload_level=lambda: set_level(configured(wanted.overrides, quiet=True).settings.log_level),
    )
    try:
        status = trio.run(lambda: run_daemon(options))
    except DaemonRefused as refused:
        raise CommandFailed(str(refused), code=refused.exit_code) from None
    if not status:
        ended()
    return status


def _on_trial(wanted: Foreground, settings: "ProviderSettings") -> Callable[[], None]:
    """Count the start of a version that updates itself, or become the one before; gives what an end in order calls."""
    from provider.update.place import find_installation

    installation = find_installation()
    if installation is None or not (wanted.is_service and wanted.uses_coordinator and settings.updates_itself):
        return lambda: None
    from provider.config import Places
    from provider.update.first_moments import become, count_start, uncount_start
    from provider.version import installed_version

    state_file, version = Places(settings.state_directory).update_file, installed_version()
    before = count_start(installation, state_file, version)
    if before is not None:
        become(before)
    return partial(uncount_start, state_file, version)


def _local_options(settings: "ProviderSettings", *, required: bool) -> "LocalOptions":
    from provider.config import Places
    from provider.local import LocalOptions, TokenUnusable, load_or_create_token
    from provider.local.options import is_loopback_host

    token = None
    if settings.local_auth:
        try:
            token = load_or_create_token(Places(settings.state_directory).local_token_file)
        except TokenUnusable as unusable:
            raise CommandFailed(str(unusable)) from None
    elif not is_loopback_host(settings.local_bind):
        click.echo(
            f"warning: every machine that reaches {settings.local_bind} can use the models; --no-auth is for this "
            "machine alone.",
            err=True,
        )
    return LocalOptions(
        bind=settings.local_bind,
        port=settings.local_port,
        token=token,
        hosts=settings.local_hosts,
        is_required=required,
    )


def _show_event(event: "ProviderEvent") -> None:
    """Say what a person at the terminal waits for; everything else is in the log."""
    match event.kind:
        case "model_loading":
            click.echo(f"Loading {event.model} …", err=True)
        case "model_loaded":
            click.echo(f"Loaded {event.model}.", err=True)
        case "model_failed":
            click.echo(f"error: {event.text}", err=True)
        case "local_ready":
            click.echo(f"Serving programs on this machine at {event.text}/v1 (token: darkbloom local info)", err=True)
        case "registered":
            click.echo("Registered with the coordinator.", err=True)
        case "draining":
            click.echo("Finishing running requests; Ctrl-C again ends them early.", err=True)
        case _:
            return
