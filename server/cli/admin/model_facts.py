"""What can be said of a model on the command line: an option for each fact, and what the options make."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

from server.catalog.records import CAPABILITIES, MODEL_TYPES, STATUSES


def facts_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for each fact of a model."""
    options = (
        click.option("--display-name", help="The name for people."),
        click.option("--family"),
        click.option("--architecture"),
        click.option("--quantization"),
        click.option("--description"),
        click.option("--type", "model_type", type=click.Choice(MODEL_TYPES)),
        click.option("--status", type=click.Choice(STATUSES), help="`retired` ones are served no more."),
        click.option("--max-context", "max_context_length", type=click.IntRange(0), help="Tokens."),
        click.option("--max-output", "max_output_length", type=click.IntRange(0), help="Tokens."),
        click.option("--min-ram", "min_ram_gb", type=click.IntRange(0), help="GiB."),
        click.option(
            "--capability", "capabilities", multiple=True, type=click.Choice(CAPABILITIES), help="Repeatable."
        ),
        click.option(
            "--parameter",
            "parameters",
            multiple=True,
            metavar="NAME=VALUE",
            help="A default for requests, such as temperature=0.7; repeatable.",
        ),
        click.option("--hugging-face-id"),
        click.option("--deprecation-date", metavar="YYYY-MM-DD"),
        click.option("--thinks-on-request/--thinks-always", "reasoning_opt_in", default=None),
    )
    for option in reversed(options):
        command = option(command)
    return command


def facts_of(given: dict[str, Any]) -> dict[str, object]:
    """What was given, as members of a publisher's wish."""
    parameters = given.pop("parameters")
    found: dict[str, object] = {name: value for name, value in given.items() if value not in (None, ())}
    if "capabilities" in found:
        found["capabilities"] = list(given["capabilities"])
    if parameters:
        found["runtime_parameters"] = dict(map(_parameter, parameters))
    return found


def _parameter(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise click.UsageError(f"--parameter {text!r} must be NAME=VALUE.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
