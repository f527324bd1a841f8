"""`darkbloom completion`: the script that makes a shell complete our commands and options."""

import click

from provider.cli.examples import examples
from provider.cli.exits import OK

SHELLS = ("bash", "zsh", "fish")


@click.command(
    name="completion",
    epilog=examples(
        'eval "$(darkbloom completion bash)"              for this shell',
        "darkbloom completion zsh > ~/.zfunc/_darkbloom",
        "darkbloom completion fish > ~/.config/fish/completions/darkbloom.fish",
    ),
)
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> int:
    """Print the completion script of SHELL."""
    from click.shell_completion import get_completion_class

    from provider.cli.root import root

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(root, {}, "darkbloom", "_DARKBLOOM_COMPLETE").source())
    return OK
