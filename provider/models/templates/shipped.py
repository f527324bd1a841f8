"""The chat templates that a model folder ships, and which of them the engine would use."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

import msgspec

from provider.models.facts import read_small

DEFAULT: Final = "default"
TOOL_USE: Final = "tool_use"
_SPECIAL_TOKENS: Final = ("bos_token", "eos_token", "unk_token", "pad_token")


@dataclass(frozen=True, slots=True)
class ShippedTemplates:
    """`all` must compile; `plain` and `tools` are those that requests without and with tools are rendered by.

    A template that cannot even be read (wrong type) is None in `all`. `tokens` are the special tokens, by name.
    """

    all: tuple[str | None, ...]
    plain: str | None
    tools: str | None
    tokens: dict[str, str] = field(default_factory=dict)
    is_vision: bool = False

    @property
    def digest(self) -> str:
        """A hash of everything that decides the verdict."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()


def read_templates(directory: Path, *, is_vision: bool = False) -> ShippedTemplates | None:
    """Collect the templates of a folder; None when it ships none. Blocks."""
    found: list[str | None] = []
    jinja = read_small(directory / "chat_template.jinja")
    own_file = None if jinja is None else jinja.decode("utf-8", "replace")
    if own_file is not None:
        found.append(own_file)
    for name in ("chat_template.json", "tokenizer_config.json"):
        found += _stated(directory / name).values()
    if not found:
        return None
    settings = _members(directory / "tokenizer_config.json")
    named = _stated(directory / "tokenizer_config.json") or _stated(directory / "chat_template.json")
    plain = own_file if own_file is not None else named.get(DEFAULT)
    tools = own_file if own_file is not None else named.get(TOOL_USE, plain)
    tokens = {name: _token(settings.get(name)) for name in _SPECIAL_TOKENS}
    return ShippedTemplates(tuple(found), plain, tools, tokens, is_vision)


def _stated(path: Path) -> dict[str, str | None]:
    """Give the templates inside a JSON file, by name: one text, or a list of named ones."""
    stated = _members(path).get("chat_template")
    if stated is None:
        return {}
    if isinstance(stated, str):
        return {DEFAULT: stated}
    named: dict[str, str | None] = {}
    for number, entry in enumerate(stated if isinstance(stated, list) else [None]):
        described = cast(Mapping[str, object], entry) if isinstance(entry, dict) else {}
        name, template = described.get("name"), described.get("template")
        named[name if isinstance(name, str) else f"#{number}"] = template if isinstance(template, str) else None
    return named


def _members(path: Path) -> Mapping[str, object]:
    content = read_small(path)
    try:
        decoded: object = None if content is None else msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return cast(Mapping[str, object], decoded) if isinstance(decoded, dict) else {}


def _token(stated: object) -> str:
    """A special token is written as text, or as an object with its text inside."""
    if isinstance(stated, dict):
        stated = stated.get("content")
    return stated if isinstance(stated, str) else ""
