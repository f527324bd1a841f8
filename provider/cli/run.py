"""`darkbloom run`: chat with a model of this machine."""

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from provider.cli.examples import examples
from provider.cli.exits import OK, CommandFailed
from provider.cli.offered import model_id_of
from provider.cli.session import configured

if TYPE_CHECKING:
    from provider.config import Configuration
    from provider.daemon import DaemonControl
    from provider.local.chat_client import Asked


@click.command(
    name="run",
    epilog=examples(
        'darkbloom run demo "What is Darkbloom?"',
        "darkbloom run mlx-community/Qwen3-8B-4bit --system 'Answer briefly.'",
    ),
)
@click.argument("model", required=False)
@click.argument("prompt", required=False)
@click.option("--max-tokens", type=click.IntRange(1), help="Longest answer.")
@click.option("--temperature", type=click.FloatRange(0, 2), help="0 is repeatable, higher is more varied.")
@click.option("--system", help="What the model should know before the conversation.")
def command(
    model: str | None, prompt: str | None, max_tokens: int | None, temperature: float | None, system: str | None
) -> int:
    """Ask a model once, or chat with it when no PROMPT is given (an empty line ends).

    Without MODEL the one that `backend.model` of the configuration names is meant.
    A running provider with a local endpoint answers; otherwise the model is loaded for this conversation only.
    """
    import trio

    from provider.local import read_local_info
    from provider.local.chat_client import Asked

    configuration = configured()
    model = model or configuration.settings.preferred_model
    if model is None:
        raise CommandFailed("No model is named.", fix="darkbloom run demo, or darkbloom config set backend.model ID")
    asked = Asked(model=model, messages=_first(system), max_tokens=max_tokens, temperature=temperature)
    info = read_local_info(configuration.places.local_file)
    if info is not None:
        asked = replace(asked, model=model_id_of(model))
        trio.run(_converse, info.base_url, info.api_key, asked, prompt)
        return OK
    from provider.cli.foreground import restart_clean

    restart_clean()
    return trio.run(_with_own_engine, configuration, asked, prompt)


def _first(system: str | None) -> list[dict[str, str]]:
    return [] if system is None else [{"role": "system", "content": system}]


async def _with_own_engine(configuration: "Configuration", asked: "Asked", prompt: str | None) -> int:
    """Run a provider without a coordinator in this process, for the length of the conversation."""
    import trio

    from provider.cli.engine_installed import require_engine
    from provider.cli.offered import offered_models
    from provider.daemon import DaemonOptions, DaemonRefused, run_daemon
    from provider.local import LocalOptions
    from provider.observe import configure_logging, mute_exception_texts

    require_engine()
    settings = configuration.settings
    configure_logging(form="text", level="error")
    mute_exception_texts()
    models = offered_models([asked.model], settings)
    asked = replace(asked, model=models[0].model_id)
    options = DaemonOptions(
        models=models,
        settings=settings,
        uses_coordinator=False,
        local=LocalOptions(port=0, token=None, is_required=True),
        config_file=str(configuration.file.path),
        owns_process=False,
    )
    refusal: DaemonRefused | None = None
    click.echo(f"Loading {asked.model} …", err=True)
    async with trio.open_nursery() as nursery:
        try:
            control: DaemonControl = await nursery.start(run_daemon, options)
        except DaemonRefused as refused:
            refusal = refused
        else:
            await _converse(f"{control.local_url}/v1", "", asked, prompt)
            control.drain()
    if refusal is not None:
        raise CommandFailed(str(refusal), fix="darkbloom start --local-endpoint", code=refusal.exit_code)
    return OK


async def _converse(base_url: str, token: str, asked: "Asked", prompt: str | None) -> None:
    import trio

    messages = list(asked.messages)
    once = prompt is not None or not sys.stdin.isatty()
    if prompt is None and once:
        prompt = sys.stdin.read()
    while True:
        text = prompt if once else await trio.to_thread.run_sync(_read_line)
        if not text or not text.strip():
            return
        messages.append({"role": "user", "content": text})
        answer = await _print_answer(base_url, token, replace(asked, messages=messages))
        messages.append({"role": "assistant", "content": answer})
        if once:
            return


async def _print_answer(base_url: str, token: str, asked: "Asked") -> str:
    from contextlib import aclosing

    from provider.local.chat_client import AnswerFailed, stream_chat

    pieces: list[str] = []
    try:
        async with aclosing(stream_chat(base_url, token, asked)) as stream:
            async for reasoning, text in stream:
                if reasoning:
                    click.echo(click.style(reasoning, dim=True), nl=False, err=True)
                if text:
                    pieces.append(text)
                    click.echo(text, nl=False)
    except AnswerFailed as failed:
        if pieces:
            click.echo()
        raise CommandFailed(str(failed), fix="darkbloom status") from None
    click.echo()
    return "".join(pieces)


def _read_line() -> str:
    try:
        return input("> ")
    except (EOFError, KeyboardInterrupt):
        return ""
