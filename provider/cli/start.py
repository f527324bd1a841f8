"""`darkbloom start`: serve requests, in this terminal or as a background service."""

import click

from provider.cli.examples import examples
from provider.cli.exits import CommandFailed
from provider.cli.serving_options import (
    all_option,
    concurrent_option,
    coordinator_option,
    idle_option,
    insecure_option,
    local_options,
    model_option,
    overrides_of,
    parent_option,
)


@click.command(
    name="start",
    epilog=examples(
        "darkbloom start                                  choose models, run in the background",
        "darkbloom start --model mlx-community/Qwen3-8B-4bit --local-endpoint",
        "darkbloom start --foreground --model demo --coordinator wss://HOST",
        "darkbloom start --local --all                    no coordinator, only this machine",
    ),
)
@click.option("--foreground", is_flag=True, help="Stay in this terminal; the log goes to standard error.")
@model_option
@all_option
@coordinator_option
@insecure_option
@concurrent_option
@idle_option
@click.option("--local", is_flag=True, help="Serve programs on this machine only, without a coordinator.")
@click.option("--local-endpoint", is_flag=True, help="Serve programs on this machine too.")
@local_options
@click.option("--timeout", type=click.IntRange(1, 3600), default=180, show_default=True, help="Seconds to get ready.")
@click.option("--force", is_flag=True, help="Replace a provider that runs already.")
@parent_option
@click.option("--as-service", is_flag=True, hidden=True, help="Something starts this process again when it asks.")
def command(
    foreground: bool,
    models: tuple[str, ...],
    take_all: bool,
    coordinator: str | None,
    insecure_link: bool,
    max_concurrent: int | None,
    idle_timeout: int | None,
    local: bool,
    local_endpoint: bool,
    port: int | None,
    bind: str | None,
    no_auth: bool,
    timeout: int,
    force: bool,
    stop_with_parent: bool,
    as_service: bool,
) -> int:
    """Connect this machine to a coordinator and serve requests.

    Without --foreground a background service is installed and started: launchd on macOS, systemd on Linux, a plain
    background process where there is neither. It starts again after a crash and, with launchd or systemd, after a
    restart of the machine. The chosen models and the first coordinator are remembered. In the foreground the first
    SIGTERM or Ctrl-C drains: running requests finish. A second one ends them early.
    """
    if local and local_endpoint:
        raise CommandFailed(
            "--local serves this machine alone, --local-endpoint serves it beside a coordinator; choose one.",
            fix="darkbloom start --local-endpoint",
        )
    overrides = overrides_of(
        coordinator=coordinator,
        insecure_link=insecure_link,
        max_concurrent=max_concurrent,
        idle_timeout=idle_timeout,
        port=port,
        bind=bind,
        no_auth=no_auth,
    )
    if foreground:
        from provider.cli.foreground import Foreground, serve

        return serve(
            Foreground(
                models=models,
                take_all=take_all,
                overrides=overrides,
                uses_coordinator=not local,
                local=local or local_endpoint,
                local_required=local,
                stop_with_parent=stop_with_parent,
                is_service=as_service,
            )
        )
    from provider.cli.start_service import Wanted, start_service

    return start_service(
        Wanted(
            models=models,
            take_all=take_all,
            overrides=overrides,
            is_local=local,
            has_local_endpoint=local_endpoint,
            has_idle_choice=idle_timeout is not None,
            timeout=timeout,
            force=force,
        )
    )
