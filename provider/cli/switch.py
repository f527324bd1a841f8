"""`darkbloom switch`: change what the running daemon offers."""

import click

from provider.cli.examples import examples
from provider.cli.exits import OK, CommandFailed
from provider.cli.home import open_home, order
from provider.cli.serving_options import all_option, model_option


@click.command(
    name="switch", epilog=examples("darkbloom switch --model mlx-community/Qwen3-8B-4bit", "darkbloom switch --all")
)
@model_option
@all_option
@click.option("--timeout", type=click.IntRange(1, 3600), default=600, show_default=True, help="Seconds to wait.")
def command(models: tuple[str, ...], take_all: bool, timeout: int) -> int:
    """Offer these models and no others, without a restart; requests on the old ones finish."""
    from provider.cli.offered import offered_models
    from provider.control.orders import OfferedFolder, Switch

    if not models and not take_all:
        raise CommandFailed("No model is named.", fix="darkbloom switch --model ID")
    home = open_home()
    offered = offered_models(models, home.configuration.settings, take_all=take_all)
    folders = tuple(OfferedFolder(model=model.model_id, directory=str(model.directory.absolute())) for model in offered)
    order(home, Switch(models=folders), timeout=timeout)
    click.echo(f"The provider offers {', '.join(model.model_id for model in offered)}.")
    if home.record is not None:
        click.echo("Its next start offers what it was installed with; `darkbloom start --force` changes that.")
    return OK
