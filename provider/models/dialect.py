"""The dialect of a model directory, from its configuration and what mlx-lm has learned about its tokenizer."""

from typing import Protocol, cast

from provider.engine.dialect import Dialect, dialect_of


class MarkedTokenizer(Protocol):
    """The part of mlx-lm's tokenizer wrapper that names marks."""

    def get_vocab(self) -> dict[str, int]:
        """Return token → id."""


def read_dialect(tokenizer: MarkedTokenizer, config: dict[str, object]) -> Dialect:
    """Choose the dialect; what the wrapper does not know counts as absent."""
    opens, closes = _text(tokenizer, "think_start"), _text(tokenizer, "think_end")
    settings = getattr(tokenizer, "init_kwargs", {})
    inferred = settings.get("tool_parser_type") if isinstance(settings, dict) else None
    scaling = config.get("rope_scaling")
    rope = scaling.get("rope_type") if isinstance(scaling, dict) else None
    special = getattr(tokenizer, "all_special_tokens", ())
    added = getattr(tokenizer, "added_tokens_decoder", {})
    names = {str(token) for token in special}
    if isinstance(added, dict):
        names |= {str(token) for token in added.values() if getattr(token, "special", False)}
    structural = getattr(tokenizer, "structural_markers", ())
    kind = config.get("model_type")
    return dialect_of(
        model_type=kind if isinstance(kind, str) else "",
        vocabulary=tokenizer.get_vocab(),
        special=names,
        think=(opens, closes) if opens and closes else None,
        inferred_parser=inferred if isinstance(inferred, str) else None,
        rope_type=rope if isinstance(rope, str) else "",
        dropped=tuple(cast("tuple[str, ...]", structural)),
    )


def _text(tokenizer: object, name: str) -> str:
    value = getattr(tokenizer, name, None)
    return value if isinstance(value, str) else ""
