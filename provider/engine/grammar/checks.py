"""Holding a finished text against its schema, for keywords that cannot be enforced while it is generated."""

import json
from typing import TYPE_CHECKING, NoReturn

from provider.engine.grammar.sources import GrammarSource

if TYPE_CHECKING:
    from jsonschema_rs import Validator

REGEX_BYTES = 1 << 20
"""Largest compiled pattern; patterns run in linear time, so that a schema cannot stall this process."""


class SchemaCheck:
    """Judges texts; built once for each request that needs it. Raises ValueError for a schema that is none."""

    def __init__(self, source: GrammarSource) -> None:
        try:
            import jsonschema_rs

            options = jsonschema_rs.RegexOptions(size_limit=REGEX_BYTES, dfa_size_limit=REGEX_BYTES)
            self._validator: Validator = jsonschema_rs.validator_for(
                json.loads(source.text), retriever=_refuse, pattern_options=options
            )
        except Exception:  # the library is missing, or what it raises may quote the schema
            raise ValueError("The schema cannot be checked.") from None

    def fits(self, text: str) -> bool:
        """Whether a text is JSON that the schema permits."""
        try:
            return bool(self._validator.is_valid(json.loads(text)))
        except (ValueError, RecursionError):
            return False

    def __repr__(self) -> str:
        return "<SchemaCheck>"


def _refuse(_uri: str) -> NoReturn:
    """A schema is never fetched."""
    raise ValueError("References to other documents are not followed.")
