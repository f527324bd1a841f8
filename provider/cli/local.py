"""`darkbloom local`: an OpenAI-compatible server on this machine, without a coordinator."""

import click

from provider.cli.examples import examples
from provider.cli.exits import FAILURE, OK
from provider.cli.serving_options import (
    all_option,
    concurrent_option,
    idle_option,
    local_options,
    model_option,
    overrides_of,
    parent_option,
)
from provider.cli.session import configured, json_option, print_json


@click.group(
    name="local",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "darkbloom local --model demo",
        "darkbloom local --model mlx-community/Qwen3-8B-4bit --port 8001",
        "darkbloom local info",
    ),
)
@model_option
@all_option
@concurrent_option
@idle_option
@local_options
@parent_option
@click.pass_context
def command(
    context: click.Context,
    models: tuple[str, ...],
    take_all: bool,
    max_concurrent: int | None,
    idle_timeout: int | None,
    port: int | None,
    bind: str | None,
    no_auth: bool,
    stop_with_parent: bool,
) -> int | None:
    """Serve the OpenAI, Anthropic and Ollama APIs to programs on this machine, until Ctrl-C.

    Prompts stay on this machine: no coordinator is asked. The server listens on 127.0.0.1 and asks for a token,
    which `darkbloom local info` shows.
    """
    if context.invoked_subcommand is not None:
        return None
    from provider.cli.foreground import Foreground, serve

    return serve(
        Foreground(
            models=models,
            take_all=take_all,
            overrides=overrides_of(
                max_concurrent=max_concurrent, idle_timeout=idle_timeout, port=port, bind=bind, no_auth=no_auth
            ),
            uses_coordinator=False,
            local=True,
            local_required=True,
            stop_with_parent=stop_with_parent,
        )
    )


@command.command(name="info", epilog=examples("darkbloom local info", "darkbloom local info --json"))
@json_option
def info(as_json: bool) -> int:
    """Show address and token of the local server that runs now; ends with 1 when there is none."""
    import msgspec

    from provider.local import read_local_info

    found = read_local_info(configured(quiet=as_json).places.local_file)
    if as_json:
        print_json({} if found is None else msgspec.to_builtins(found))
        return FAILURE if found is None else OK
    if found is None:
        click.echo("error: No local server runs.", err=True)
        click.echo("  fix: darkbloom local --model ID, or darkbloom start --local-endpoint", err=True)
        return FAILURE
    click.echo(f"Base URL: {found.base_url}")
    click.echo(f"API key:  {found.api_key or 'none is asked for'}")
    key = f" -H 'Authorization: Bearer {found.api_key}'" if found.api_key else ""
    body = """'{"model":"MODEL","messages":[{"role":"user","content":"Hello"}]}'"""
    click.echo(f"Try:      curl {found.base_url}/chat/completions{key} -d {body}")
    return OK
