"""Keys of prompts: turns of a conversation share theirs, accounts and secrets never do, and there are few of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from protocol.api import parse_chat_request
from protocol.api.completions import parse_completion_request
from server.api.prefix_keys import BLOCK_BYTES, prefix_keys
from server.registry import PREFIX_DEPTHS, PrefixKey

SECRET = b"s" * 32
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}, "description": "x" * 3_000}}


def body(messages: list[Any], **members: Any) -> bytes:
    return json.dumps({"model": "m", "messages": messages, **members}).encode()


def keys(messages: list[Any], *, secret: bytes = SECRET, account: str = "ada", **members: Any) -> tuple[PrefixKey, ...]:
    return prefix_keys(secret, account, parse_chat_request(body(messages, **members)))


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def user_of(part: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": [part]}


class Unreadable(list[object]):
    """Messages that nobody may look at."""

    def __iter__(self) -> Any:
        raise AssertionError("The messages are read again.")


def digests(found: tuple[PrefixKey, ...]) -> list[bytes]:
    return [one.digest for one in found]


turns = st.lists(
    st.builds(
        lambda role, text, times: {"role": role, "content": text * times},
        st.sampled_from(("user", "assistant")),
        st.text(min_size=1, max_size=40),
        st.integers(1, 120),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(turns, turns, st.sampled_from(((", ", ": "), (",", ":"))), st.sampled_from((None, 1)), st.booleans())
def test_a_turn_has_the_keys_of_the_turns_before_it(
    before: list[Any], more: list[Any], separators: tuple[str, str], indent: int | None, ascii_only: bool
) -> None:
    def sent(messages: list[Any]) -> tuple[PrefixKey, ...]:
        asked = {"model": "m", "messages": messages, "temperature": len(messages) / 10, "user": str(len(messages))}
        text = json.dumps(asked, separators=separators, indent=indent, ensure_ascii=ascii_only)
        return prefix_keys(SECRET, "ada", parse_chat_request(text.encode()))

    earlier, later = digests(sent(before)), digests(sent(before + more))
    assert later[: len(earlier)] == earlier


@pytest.mark.parametrize("indent", [None, 1])
def test_a_turn_that_ends_at_a_block_ends_nowhere_else(indent: int | None) -> None:
    for length in range(1_930, 2_060):
        found = []
        for messages in ([user("x" * length)], [user("x" * length), user("more")]):
            text = json.dumps({"model": "m", "messages": messages}, indent=indent)
            found.append(digests(prefix_keys(SECRET, "ada", parse_chat_request(text.encode()))))
        assert found[1][: len(found[0])] == found[0]


@given(st.integers(0, 40_000))
@settings(max_examples=40, deadline=None)
def test_keys_cover_more_and_more_of_the_estimate(length: int) -> None:
    chat = parse_chat_request(body([user("x" * length)]))
    found = [one.tokens for one in prefix_keys(SECRET, "ada", chat)]
    assert found == sorted(found)
    assert all(0 < tokens <= chat.prompt_tokens_estimate for tokens in found)
    blocks = len(json.dumps([user("x" * length)])[:-1]) // BLOCK_BYTES
    assert len(found) == sum(depth <= blocks for depth in PREFIX_DEPTHS)


def test_a_share_of_the_prompt_is_about_its_share_of_the_estimate() -> None:
    chat = parse_chat_request(body([user("x" * 8 * BLOCK_BYTES)]))
    found = prefix_keys(SECRET, "ada", chat)
    assert [one.tokens for one in found] == pytest.approx([256, 512, 768, 1_024, 1_536, 2_048], rel=0.02)


def test_short_prompts_have_no_keys() -> None:
    assert keys([user("x" * 900)]) == ()


def test_the_longest_prompt_has_twenty_keys() -> None:
    assert len(PREFIX_DEPTHS) == len(keys([user("x" * 3_000_000)])) == 20


def test_a_difference_anywhere_changes_all_keys_from_there_on() -> None:
    one, other = digests(keys([user("x" * 9_000)])), digests(keys([user("x" * 5_000 + "y" + "x" * 3_999)]))
    same = [mine == theirs for mine, theirs in zip(one, other, strict=True)]
    assert same == [True, True, True, True, False, False]


def test_accounts_and_secrets_share_nothing() -> None:
    same = [user("x" * 9_000)]
    sets = [
        set(digests(found))
        for found in (keys(same), keys(same, account="bob"), keys(same, secret=b"t" * 32), keys(same, account=""))
    ]
    assert len(set.union(*sets)) == sum(map(len, sets))


def test_sampling_and_names_of_the_caller_change_nothing() -> None:
    same = [user("x" * 9_000)]
    assert keys(same) == keys(same, temperature=0.3, user="u", metadata={"a": "b"}, max_tokens=7, stream=True)


def test_tools_come_before_the_messages() -> None:
    same = [user("x" * 2_000)]
    with_tool = keys(same, tools=[TOOL])
    assert not {*digests(with_tool)} & {*digests(keys(same))}
    assert digests(with_tool)[:2] == digests(keys([user("y" * 2_000)], tools=[TOOL]))[:2]


def test_keys_end_before_the_first_image() -> None:
    system = {"role": "system", "content": "s" * 5_000}
    shown = {"role": "user", "content": [{"type": "text", "text": "t" * 4_000}, IMAGE]}
    first = keys([system, shown])
    assert [one.tokens for one in first] == pytest.approx([256, 512, 768, 1_024], rel=0.02)
    assert first == keys([system, shown, user("more " * 2_000)])
    assert keys([shown]) == ()


def test_an_image_leaves_a_conversation_the_keys_of_its_text() -> None:
    turn = [{"role": "system", "content": "s, t" * 1_000}, user("hi")]
    before, after = digests(keys(turn)), digests(keys([*turn, {"role": "assistant", "content": "yes"}, user_of(IMAGE)]))
    assert before
    assert after[: len(before)] == before


@pytest.mark.parametrize("order", [("role", "content"), ("content", "role")])
def test_nothing_of_a_message_with_an_image_is_in_a_key(order: tuple[str, str]) -> None:
    def ordered(role: str, content: Any) -> dict[str, Any]:
        message = {"role": role, "content": content}
        return {name: message[name] for name in order}

    first, second = (
        keys([ordered("system", "s" * 5_000), ordered("user", [{"type": "text", "text": text * 4_000}, IMAGE])])
        for text in "tu"
    )
    assert first == second != ()


def test_words_that_only_look_like_an_image_cost_keys_alone() -> None:
    long = "x" * 3_000
    read = {"role": "user", "content": [{"type": "text", "text": "image_url"}]}
    several = digests(keys([user(long), read, user(long), user_of(IMAGE)]))
    assert several == digests(keys([user(long), user(long)]))[: len(several)] != []


def test_many_messages_before_an_image_cost_what_a_text_costs() -> None:
    """None of them is read or written again: all of the work is on the bytes of the first MiB."""
    chat = parse_chat_request(body([*[user("x" * 60)] * 30_000, user_of(IMAGE)]))
    unreadable = structs.replace(chat, media_messages=Unreadable())
    assert len(prefix_keys(SECRET, "ada", unreadable)) == len(PREFIX_DEPTHS)


def test_a_raw_prompt_has_keys_of_its_own() -> None:
    def raw(text: str) -> list[bytes]:
        sent = json.dumps({"model": "m", "prompt": text, "raw": True}).encode()
        return digests(prefix_keys(SECRET, "ada", parse_completion_request(sent)))

    assert raw("x" * 9_000)[: len(raw("x" * 5_000))] == raw("x" * 5_000) != []
    assert not {*raw("x" * 9_000)} & {*digests(keys([user("x" * 9_000)]))}
