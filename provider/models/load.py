"""Loading one model directory into memory, through mlx-lm."""

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, cast

from provider.engine import LoadedModel, build_vocabulary
from provider.engine.grammar import GrammarCompiler
from provider.engine.vocabulary import BackendTokenizer
from provider.models.cache_size import measure_cache
from provider.models.dialect import read_dialect

END_MARKERS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|return|>", "<|call|>")
"""Tokens that end a turn in common chat templates, whatever the configuration says."""

UNLIMITED_TOKENS = 10**9
"""Tokenizers without a limit state a number at least this large."""

DEFAULT_CONTEXT_TOKENS = 4096
"""Context of a model that states none."""


class LoadFailed(Exception):
    """The directory does not hold a model that can be served."""


class WrappedTokenizer(Protocol):
    """The part of mlx-lm's tokenizer wrapper that loading needs."""

    backend_tokenizer: BackendTokenizer
    eos_token_ids: set[int]
    model_max_length: int | float

    def get_vocab(self) -> dict[str, int]:
        """Return token → id."""


def load_model(model_id: str, directory: Path, *, max_context_tokens: int | None = None) -> LoadedModel:
    """Read weights and tokenizer and evaluate every parameter; blocks, so call it on the loader thread.

    Cancellation has no effect until it returns. Raises `LoadFailed` with a fixed sentence naming the directory.
    """
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.utils import load

    if not directory.is_dir():
        raise LoadFailed(f"{directory} is not a directory; download the model {model_id} first.")
    began = time.monotonic()
    try:
        # Said outright: left open, a folder with program code of its own would lead to a question on the terminal.
        network, wrapper, config = load(
            str(directory), lazy=False, return_config=True, tokenizer_config={"trust_remote_code": False}
        )
        parameters = [value for _, value in tree_flatten(network.parameters())]
        # The first weights of a network are drawn at random and never computed: without this, the chain of keys behind
        # them grows with every load, for ever.
        mx.eval(parameters, mx.random.state)
        size = measure_cache(network)
    except Exception as error:  # mlx-lm raises many kinds for one fact: this directory cannot be served
        raise LoadFailed(
            f"The model in {directory} cannot be loaded ({type(error).__name__}); download it again or remove it."
        ) from error
    tokenizer = cast(WrappedTokenizer, wrapper)
    eos = end_tokens(tokenizer, directory)
    vocabulary = build_vocabulary(tokenizer.backend_tokenizer, eos)
    dialect = read_dialect(tokenizer, cast(dict[str, object], config))
    return LoadedModel(
        model_id=model_id,
        network=network,
        tokenizer=wrapper,
        vocabulary=vocabulary,
        eos_ids=eos,
        context_tokens=context_tokens(cast(dict[str, object], config), tokenizer.model_max_length, max_context_tokens),
        kv_bytes_per_token=size.bytes_per_token,
        kv_bytes_per_row=size.bytes_per_row,
        batchable=size.batchable,
        rewindable=size.rewindable,
        weight_bytes=sum(int(value.nbytes) for value in parameters),
        logits_size=size.logits_size,
        load_time_ms=(time.monotonic() - began) * 1000,
        dialect=dialect,
        marked=vocabulary.showing(dialect.mark_ids),
        grammars=GrammarCompiler(tokenizer.backend_tokenizer.to_str, eos, size.logits_size),
    )


def end_tokens(tokenizer: WrappedTokenizer, directory: Path) -> frozenset[int]:
    """Ids that end a generation: the tokenizer's, those of ``generation_config.json``, and known end markers."""
    ids = set(tokenizer.eos_token_ids)
    path = directory / "generation_config.json"
    if path.is_file():
        try:
            stated: object = json.loads(path.read_text())
        except (OSError, ValueError):
            stated = None
        ids.update(_as_ids(stated.get("eos_token_id") if isinstance(stated, dict) else None))
    known = tokenizer.get_vocab()
    ids.update(known[marker] for marker in END_MARKERS if marker in known)
    return frozenset(ids)


def context_tokens(config: dict[str, object], tokenizer_limit: float, registry_limit: int | None) -> int:
    """Smallest of the positions the network knows (times its rope factor), the tokenizer's and the registry's limit."""
    text = config.get("text_config")
    section = {**config, **cast(dict[str, object], text)} if isinstance(text, dict) else config
    limits: list[int] = []
    positions = section.get("max_position_embeddings")
    if isinstance(positions, int):
        limits.append(int(positions * _rope_factor(section)))
    if 0 < tokenizer_limit < UNLIMITED_TOKENS:
        limits.append(int(tokenizer_limit))
    if registry_limit is not None:
        limits.append(registry_limit)
    return min(limits, default=DEFAULT_CONTEXT_TOKENS)


def _rope_factor(section: dict[str, object]) -> float:
    """Factor by which rope scaling stretches the stated positions; types that state the stretched number give 1."""
    scaling = section.get("rope_scaling")
    if not isinstance(scaling, dict):
        return 1.0
    kind = scaling.get("rope_type", scaling.get("type"))
    factor = scaling.get("factor")
    if kind not in ("linear", "dynamic") or not isinstance(factor, int | float):
        return 1.0
    return max(1.0, float(factor))


def _as_ids(value: object) -> Iterable[int]:
    if isinstance(value, int):
        return [value]
    if isinstance(value, list):
        return [item for item in value if isinstance(item, int)]
    return []
