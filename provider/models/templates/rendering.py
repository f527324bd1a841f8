"""Compiling and rendering chat templates in the environment of run time; run in a process that may be killed."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment


class TemplateRefusal(jinja2.TemplateError):
    """A template called `raise_exception`: it works, and says that it does not take these messages."""


class _Generation(Extension):
    """`{% generation %}` marks what an assistant wrote; it renders as its content."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Give the content of the block."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def make_environment() -> ImmutableSandboxedEnvironment:
    """Make the sandbox that chat templates run in."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = _now
    return environment


def check_templates(
    templates: Sequence[str | None],
    plain: str | None,
    tools: str | None,
    tokens: Mapping[str, str],
    cases: Sequence[Mapping[str, Any]],
) -> bool:
    """Whether all templates compile and every case renders; never raises for what a template does."""
    environment = make_environment()
    try:
        compiled = {text: environment.from_string(_required(text)) for text in templates}
        for case in cases:
            template = compiled.get(tools if case.get("tools") else plain)
            if template is None:
                return False
            if not _renders(template, case, tokens):
                return False
    except Exception:  # templates are programs of the model's authors and may raise anything
        return False
    return True


def _renders(template: jinja2.Template, case: Mapping[str, Any], tokens: Mapping[str, str]) -> bool:
    context: dict[str, Any] = {"bos_token": "", "eos_token": "", **tokens}
    context.update(messages=case["messages"], add_generation_prompt=True)
    if case.get("tools"):
        context["tools"] = case["tools"]
    try:
        template.render(context)
    except TemplateRefusal:
        return bool(case.get("may_refuse", True))
    return True


def _required(text: str | None) -> str:
    if text is None:
        raise ValueError("A template is no text.")
    return text


def _refuse(message: object = "") -> NoReturn:
    raise TemplateRefusal(str(message))


def _now(form: str) -> str:
    return datetime.now().strftime(form)


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
