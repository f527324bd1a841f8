"""A group whose commands are imported when they are run, so that help and version stay quick."""

import importlib
from collections.abc import Mapping

import click


class LazyGroup(click.Group):
    """`members` are (module, one line for the list) by name; a module holds its command as `command`.

    Members of `hidden` work and are not listed.
    """

    def __init__(
        self,
        *arguments: object,
        members: Mapping[str, tuple[str, str]] | None = None,
        hidden: Mapping[str, tuple[str, str]] | None = None,
        **options: object,
    ) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        self.members = dict(members or {})
        self.hidden_members = dict(hidden or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give all listed names."""
        return sorted(self.members)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        found = self.members.get(cmd_name) or self.hidden_members.get(cmd_name)
        if found is None:
            return None
        command: click.Command = importlib.import_module(found[0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_module, text) in sorted(self.members.items())])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown one is answered with its nearest neighbour."""
        name = args[0] if args else ""
        known = {**self.members, **self.hidden_members}
        if name and not name.startswith("-") and name not in known:
            import difflib

            near = difflib.get_close_matches(name, self.members, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise click.UsageError(f"There is no command {name!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)
