"""`darkbloom dev`: coordinator, provider and demo model in one process tree."""

from pathlib import Path

import click

from provider.cli.examples import examples


@click.command(name="dev", epilog=examples("darkbloom dev", "darkbloom dev --once --port 0"))
@click.option("--once", is_flag=True, help="End after the first answer, with exit code 0.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=None, help="Port of the API; default 8080, or a free one."
)
@click.option(
    "--data-dir", type=click.Path(file_okay=False, path_type=Path), default=None, help="Where key and logs live."
)
@click.option("--prompt", default=None, help="What to ask first.")
def command(once: bool, port: int | None, data_dir: Path | None, prompt: str | None) -> int:
    """Run a coordinator, a provider and the demo model on this machine, and stream a first answer.

    Everything listens on 127.0.0.1 only. Ctrl-C ends all of it.
    """
    import trio

    from provider.cli.engine_installed import require_engine
    from provider.dev import DEFAULT_PROMPT, DevOptions, run_dev

    require_engine()
    options = DevOptions(once=once, port=port, data_dir=data_dir, prompt=prompt or DEFAULT_PROMPT)
    return trio.run(run_dev, options)
