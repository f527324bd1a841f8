"""The tokenizer keeps every text, and the chat template renders every kind of message."""

from __future__ import annotations

import mlx_lm
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from provider.demo import demo_model_path
from provider.demo.training.vocabulary import CHAT_TEMPLATE, special_id, train_tokenizer

TOKENIZER = AutoTokenizer.from_pretrained(demo_model_path())


def _rendered(messages: list[dict[str, object]], **options: object) -> str:
    text: str = TOKENIZER.apply_chat_template(messages, tokenize=False, **options)
    return text


def test_committed_template_is_the_one_of_the_source() -> None:
    assert TOKENIZER.chat_template == CHAT_TEMPLATE


def test_conversation_is_rendered_turn_by_turn() -> None:
    messages: list[dict[str, object]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "bye"},
    ]
    assert _rendered(messages, add_generation_prompt=True) == (
        "<|system|> Be brief.<|end|><|user|> hi<|end|><|assistant|>Hello!<|end|><|user|> bye<|end|><|assistant|>"
    )


def test_text_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert _rendered([{"role": "user", "content": parts}]) == "<|user|> ab<|end|>"


def test_tool_flow_with_empty_assistant_turn_is_rendered() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
    messages: list[dict[str, object]] = [
        {"role": "user", "content": "call f"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "7"},
    ]
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    rendered = _rendered(messages, tools=tools)
    assert rendered == "<|user|> call f<|end|><|assistant|><|end|><|user|> 7<|end|>"


@given(st.text(max_size=40))
def test_any_text_survives_encoding(text: str) -> None:
    ids = TOKENIZER.encode(text, add_special_tokens=False, split_special_tokens=True)
    assert TOKENIZER.decode(ids, clean_up_tokenization_spaces=False) == text


def test_end_token_stops_generation() -> None:
    tokenizer = mlx_lm.load(str(demo_model_path()))[1]
    assert TOKENIZER.convert_tokens_to_ids("<|end|>") in tokenizer.eos_token_ids


def test_missing_special_token_is_named() -> None:
    tokenizer = train_tokenizer(["a b"], vocab_size=300)
    with pytest.raises(ValueError, match=r"has no token <\|nothing\|>; train it"):
        special_id(tokenizer, "<|nothing|>")
