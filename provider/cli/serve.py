"""`darkbloom serve`: `start --foreground` under a shorter name."""

import click

from provider.cli.examples import examples
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


@click.command(name="serve", epilog=examples("darkbloom serve --model demo --coordinator wss://HOST"))
@model_option
@all_option
@coordinator_option
@insecure_option
@concurrent_option
@idle_option
@click.option("--local-endpoint", is_flag=True, help="Serve programs on this machine too.")
@local_options
@parent_option
def command(
    models: tuple[str, ...],
    take_all: bool,
    coordinator: str | None,
    insecure_link: bool,
    max_concurrent: int | None,
    idle_timeout: int | None,
    local_endpoint: bool,
    port: int | None,
    bind: str | None,
    no_auth: bool,
    stop_with_parent: bool,
) -> int:
    """Serve requests in this terminal until SIGTERM or Ctrl-C; running requests finish first."""
    from provider.cli.foreground import Foreground, serve

    overrides = overrides_of(
        coordinator=coordinator,
        insecure_link=insecure_link,
        max_concurrent=max_concurrent,
        idle_timeout=idle_timeout,
        port=port,
        bind=bind,
        no_auth=no_auth,
    )
    return serve(
        Foreground(
            models=models,
            take_all=take_all,
            overrides=overrides,
            local=local_endpoint,
            stop_with_parent=stop_with_parent,
        )
    )
