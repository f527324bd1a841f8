"""Choosing models with the keyboard: space marks, Enter takes, q leaves everything as it is."""

from typing import TYPE_CHECKING, Final

import click

from provider.cli.exits import INTERRUPTED, CommandFailed

if TYPE_CHECKING:
    from provider.config import ProviderSettings
    from provider.models.facts import ModelFacts

_UP: Final = ("\x1b[A", "k")
_DOWN: Final = ("\x1b[B", "j")


def pick_models(settings: "ProviderSettings") -> tuple[str, ...]:
    """Show the models of this machine and let the user mark some; raises `CommandFailed` when they leave."""
    from provider.memory.fit import fits_machine
    from provider.memory.policy import padded_weights
    from provider.memory.system import open_system_memory
    from provider.models.hub import HubCache
    from provider.models.scan import scan_models

    physical, policy = open_system_memory().physical(), settings.memory_policy()
    found = [
        model.facts
        for model in scan_models(HubCache(settings.models_directory))
        if model.is_servable
        and model.facts is not None
        and fits_machine(padded_weights(model.facts.disk_bytes), physical, policy)
    ]
    if not found:
        raise CommandFailed(
            f"No model in {settings.models_directory} can be served here.",
            fix="darkbloom models catalog, then darkbloom models download ID (or --model demo)",
        )
    found.sort(key=lambda facts: -facts.disk_bytes)
    return _Picker(found, physical).run()


class _Picker:
    def __init__(self, models: "list[ModelFacts]", physical: int) -> None:
        self._models = models
        self._marked: set[int] = set()
        self._at = 0
        self._physical = physical

    def run(self) -> tuple[str, ...]:
        click.echo("Which models should this machine offer?  space: mark   Enter: take   q: leave")
        self._draw()
        while True:
            try:
                key = click.getchar()
            except (KeyboardInterrupt, EOFError):
                key = "q"
            if key in ("q", "\x03", "\x1b"):
                raise CommandFailed("Nothing was chosen; nothing has changed.", code=INTERRUPTED)
            if key in ("\r", "\n"):
                if self._marked:
                    return tuple(self._models[index].model_id for index in sorted(self._marked))
                continue
            self._turn(key)
            click.echo(f"\x1b[{len(self._models) + 1}A", nl=False)
            self._draw()

    def _turn(self, key: str) -> None:
        if key in _UP:
            self._at = (self._at - 1) % len(self._models)
        elif key in _DOWN:
            self._at = (self._at + 1) % len(self._models)
        elif key == " ":
            self._marked ^= {self._at}

    def _draw(self) -> None:
        for index, facts in enumerate(self._models):
            pointer, mark = (">" if index == self._at else " "), ("x" if index in self._marked else " ")
            context = f"{facts.context_tokens // 1024}k context" if facts.context_tokens else ""
            click.echo(f"\x1b[2K{pointer} [{mark}] {facts.model_id:<48} {facts.estimated_memory_gb:6.1f} GB  {context}")
        total = sum(self._models[index].estimated_memory_gb for index in self._marked)
        click.echo(f"\x1b[2K  marked: {total:.1f} GB of {self._physical / 2**30:.1f} GB")
