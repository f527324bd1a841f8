"""The response hash: vectors, order, hygiene."""

from protocol.p256 import parse_p256_public, verify_p256
from protocol.response_hash import ResponseHasher

CALL = {
    "index": 0,
    "type": "function",
    "id": "call_0",
    "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'},
}


def test_text_vector_is_independent_of_the_split() -> None:
    expected = "a9dbb72ca7d49e3b8ee663678cab520dcd4c03d9f90c3b0c57a5bf1c7c92da17"
    for parts in (["Hello"], ["He", "", "llo"], list("Hello")):
        hasher = ResponseHasher("req-1")
        for part in parts:
            hasher.add_text(part)
        assert hasher.finish(3) == expected


def test_tool_call_vector_ignores_index_and_key_order() -> None:
    hasher = ResponseHasher("req-2")
    hasher.add_tool_call(CALL)
    assert hasher.finish(7) == "4910bbc64ba859b8def20009ae6625a4f6ab931b57169cf9fac0418266c690d9"


def test_signed_vector_verifies() -> None:
    hasher = ResponseHasher("req-1")
    hasher.add_text("hello")
    digest = hasher.finish(7)
    assert digest == "cdc01c028ed4f5e0d8257ccf6d889c80a20b7407f87690168885973dc182e52a"
    key = parse_p256_public("BG3jhmmXK6tvIWQHHxqkirpoluCgb+YM+7sHrxjDyD3Hc458qYDWW55h+B0KYF3becWo3nZ/qgmsMj5yI3UFuWo=")
    signature = "MEQCID3UoMR7hHKaGnnLAIlZ7ZoQT1arE9x2VLC79pu70IC4AiB+9eHN7S1Vu3C3xa7o9H+b9JDjCbvVAGL+R2FNfkUH5w=="
    assert verify_p256(key, digest.encode(), signature)


def test_order_and_counts_change_the_hash() -> None:
    def digest(first: str, second: str, tokens: int) -> str:
        hasher = ResponseHasher("r")
        hasher.add_text(first)
        hasher.add_text(second)
        return hasher.finish(tokens)

    assert len({digest("a", "b", 1), digest("b", "a", 1), digest("a", "b", 2), digest("", "", 1)}) == 4


def test_text_is_gone_after_the_end_and_never_shown() -> None:
    hasher = ResponseHasher("r")
    hasher.add_text("secret")
    assert repr(hasher) == "<ResponseHasher 6 bytes>"
    hasher.finish(1)
    assert repr(hasher) == "<ResponseHasher 0 bytes>"
    hasher.add_text("secret")
    hasher.wipe()
    assert repr(hasher) == "<ResponseHasher 0 bytes>"
