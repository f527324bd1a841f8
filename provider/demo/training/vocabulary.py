"""The byte-level BPE tokenizer of the demo model and its chat template."""

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

PAD, SYSTEM, USER, ASSISTANT, END = "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"
SPECIAL_TOKENS = (PAD, SYSTEM, USER, ASSISTANT, END)

# The space after a role marker gives the first word of a message the same token as that word inside a sentence.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- if message.content is string -%}
{%- set text = message.content -%}
{%- else -%}
{%- set parts = namespace(text='') -%}
{%- for part in message.content or [] -%}
{%- if part.text is string -%}{%- set parts.text = parts.text + part.text -%}{%- endif -%}
{%- endfor -%}
{%- set text = parts.text -%}
{%- endif -%}
{%- if message.role in ('system', 'developer') -%}
{{- '<|system|> ' + text + '<|end|>' -}}
{%- elif message.role == 'assistant' -%}
{{- '<|assistant|>' + text + '<|end|>' -}}
{%- else -%}
{{- '<|user|> ' + text + '<|end|>' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}
"""


def train_tokenizer(texts: Iterable[str], *, vocab_size: int) -> Tokenizer:
    """Return a byte-level BPE tokenizer with at most `vocab_size` tokens, learned from `texts`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def special_id(tokenizer: Tokenizer, token: str) -> int:
    """Return the id of a special token; raises `ValueError` when the tokenizer lacks it."""
    number: int | None = tokenizer.token_to_id(token)
    if number is None:
        raise ValueError(f"The tokenizer has no token {token}; train it with train_tokenizer().")
    return number
