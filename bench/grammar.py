"""What constrained decoding costs: compiling a schema, and the mask of each token, with a vocabulary of 128,000 words.

The vocabulary is synthetic (random byte-level words from a fixed seed), the walk picks random permitted tokens; what is
measured is the work beside the network: advancing the automaton, its mask, and handing the mask to the device.
"""

import json
import random
import statistics
import time
from typing import Any

from provider.engine.grammar import JSON_OBJECT, Grammar, GrammarCompiler, GrammarSource, schema_source
from tests.testbed.statistics import percentile

WORDS = 128_000
END = WORDS
LOGITS = 128_256
LETTERS = "etaoinshrdlucmfwypvbgkjqxzETAOIN0123456789_{}:,.[]-"
TOKENS, QUICK_TOKENS = 2_000, 200

ADDRESS = {
    "type": "object",
    "properties": {
        "street": {"type": "string", "maxLength": 60},
        "number": {"type": "integer", "minimum": 1},
        "since": {"type": "string", "format": "date"},
        "kind": {"enum": ["home", "work", "other"]},
    },
    "required": ["street", "number", "since", "kind"],
    "additionalProperties": False,
}
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "addresses": {"type": "array", "items": ADDRESS, "maxItems": 20},
        "manager": {"anyOf": [{"type": "null"}, {"$ref": "#"}]},
    },
    "required": ["name", "addresses", "manager"],
    "additionalProperties": False,
}


def run(*, quick: bool = False) -> dict[str, object]:
    """Measure and return milliseconds for compiling and microseconds for each token (median and p99)."""
    described = _tokenizer()
    compiler = GrammarCompiler(lambda: described, frozenset({END}), LOGITS)
    figures: dict[str, object] = {}
    began = time.perf_counter()
    compiler.compile(JSON_OBJECT)
    figures["tables_ms"] = round((time.perf_counter() - began) * 1000, 1)
    for name, source in (("json_object", JSON_OBJECT), ("schema", schema_source(PERSON))):
        fresh = GrammarSource(source.kind, source.text + " ")  # not the one that is kept already
        began = time.perf_counter()
        grammar = Grammar(compiler.compile(fresh))
        figures[f"{name}_compile_ms"] = round((time.perf_counter() - began) * 1000, 2)
        seconds = _walk(grammar, QUICK_TOKENS if quick else TOKENS)
        figures[f"{name}_token_us"] = round(statistics.median(seconds) * 1e6)
        figures[f"{name}_token_p99_us"] = round(percentile(seconds, 0.99) * 1e6)
    return figures


def table(result: dict[str, Any]) -> str:
    """Render the figures."""
    lines = ["| | compile, ms | each token, median µs | p99 µs |", "|---|--:|--:|--:|"]
    for name in ("json_object", "schema"):
        figures = (result[f"{name}_{part}"] for part in ("compile_ms", "token_us", "token_p99_us"))
        lines.append(f"| {name} | " + " | ".join(str(figure) for figure in figures) + " |")
    lines.append(f"\nTables of the vocabulary, once for each model: {result['tables_ms']} ms.")
    return "\n".join(lines)


def _walk(grammar: Grammar, tokens: int) -> list[float]:
    """Seconds of each step, over as many rows as it takes."""
    import mlx.core as mx

    dice = random.Random(3)
    seconds: list[float] = []
    logits = mx.zeros((1, LOGITS))
    while len(seconds) < tokens:
        state = grammar.begin_row(LOGITS, frozenset({END}))
        token = None
        while token != END and len(seconds) < tokens:
            began = time.perf_counter()
            if token is not None:
                state.advance(token)
            mask = state.allowed()
            assert mask is not None
            mx.eval(mx.where(mx.array(mask), logits, -mx.inf))
            seconds.append(time.perf_counter() - began)
            permitted = mask.nonzero()[0]
            token = int(permitted[dice.randrange(len(permitted))])
    return seconds


def _tokenizer() -> str:
    """A byte-level tokenizer as its JSON description."""
    dice = random.Random(1)
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    alphabet = {chr(value) for value in visible} | {chr(256 + place) for place in range(256 - len(visible))}
    words = {letter: number for number, letter in enumerate(sorted(alphabet))}
    while len(words) < WORDS:
        space = "Ġ" if dice.random() < 0.5 else ""
        words.setdefault(space + "".join(dice.choices(LETTERS, k=dice.randrange(2, 8))), len(words))
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    end = {"id": END, "content": "<|end|>", "special": True}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return json.dumps(
        {
            "version": "1.0",
            "added_tokens": [end | flags],
            "pre_tokenizer": level,
            "decoder": level,
            "model": {"type": "BPE", "vocab": words | {"<|end|>": END}, "merges": []},
        }
    )
