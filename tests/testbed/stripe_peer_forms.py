"""Stripe's form encoding: `a[b][0]=c`, read back into nested data."""

from __future__ import annotations

import re
from typing import TypeAlias
from urllib.parse import parse_qsl

Form: TypeAlias = dict[str, "str | Form"]

_PART = re.compile(r"\[([^\]]*)\]")


def read_form(body: bytes) -> Form:
    """Parse a body; lists come back as mappings with the keys "0", "1" and so on."""
    found: Form = {}
    for name, value in parse_qsl(body.decode(), keep_blank_values=True):
        path = [name.split("[", 1)[0], *_PART.findall(name)]
        place = found
        for part in path[:-1]:
            inner = place.setdefault(part, {})
            assert isinstance(inner, dict), name
            place = inner
        place[path[-1]] = value
    return found


def text_at(form: Form, *path: str) -> str:
    """Return a text inside a form; empty when there is none."""
    place: str | Form = form
    for part in path:
        if not isinstance(place, dict) or part not in place:
            return ""
        place = place[part]
    return place if isinstance(place, str) else ""


def texts_at(form: Form, name: str) -> dict[str, str]:
    """Return a mapping of texts inside a form."""
    inner = form.get(name, {})
    assert isinstance(inner, dict)
    return {key: value for key, value in inner.items() if isinstance(value, str)}
