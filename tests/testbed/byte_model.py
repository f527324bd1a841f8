"""A model record without arrays: 256 byte tokens and a few special ones, for tests that must not need MLX."""

from collections.abc import Mapping, Sequence

from provider.engine import LoadedModel, Vocabulary

EOS = 256
START = 257
SIZE = 258


class ByteTokenizer:
    """Tokenises to UTF-8 bytes and renders ``role: content`` lines."""

    has_chat_template = True

    def apply_chat_template(self, messages: Sequence[Mapping[str, object]], **context: object) -> str:
        """Render messages; an unknown role raises, as real templates do."""
        for message in messages:
            if message["role"] not in ("system", "user", "assistant", "tool"):
                raise ValueError("unknown role")
        return "".join(f"{message['role']}: {message['content']}\n" for message in messages) + "assistant: "

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Return the bytes of the text."""
        return [*([START] if add_special_tokens else []), *text.encode()]


def byte_vocabulary() -> Vocabulary:
    """Token id = byte value; EOS and START are hidden."""
    pieces = (*tuple(bytes([value]) for value in range(256)), b"<eos>", b"<start>")
    texts = (*tuple(chr(value) if value < 128 else None for value in range(256)), "", "")
    hidden = frozenset({EOS, START})
    return Vocabulary(SIZE, pieces, texts, hidden, False, False, lambda ids: bytes(i for i in ids if i < 256).decode())


def byte_model(
    model_id: str = "bytes",
    *,
    context_tokens: int = 4096,
    kv_bytes_per_token: int = 100,
    weight_bytes: int = 1_000_000,
    batchable: bool = True,
) -> LoadedModel:
    """Return the record of a model whose text is its bytes."""
    return LoadedModel(
        model_id=model_id,
        network=None,
        tokenizer=ByteTokenizer(),
        vocabulary=byte_vocabulary(),
        eos_ids=frozenset({EOS}),
        context_tokens=context_tokens,
        kv_bytes_per_token=kv_bytes_per_token,
        weight_bytes=weight_bytes,
        logits_size=SIZE,
        batchable=batchable,
        load_time_ms=12.0,
    )
