"""`raw_span`: the exact bytes of a top-level value, or no answer."""

from __future__ import annotations

import json
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.native.chunk_frames import IMPLEMENTATIONS


@pytest.mark.parametrize(
    ("data", "key", "raw"),
    [
        (b'{"attestation": {"a": [1, "}"]} ,"signature":"s"}', b"attestation", b'{"a": [1, "}"]}'),
        (b'{"a":1,"b":"x\\"y"}', b"b", b'"x\\"y"'),
        (b'{"a": -1.5e3 }', b"a", b"-1.5e3"),
        (b'{"a":null}', b"a", b"null"),
        (b'{"":[]}', b"", b"[]"),
        (b'{"a":1}trailing', b"a", b"1"),
        (b'{"a":1}', b"b", None),
        (b'{"a":1,"a":2}', b"a", None),
        (b'{"a":1,"A":2}', b"a", None),
        (b'{"A":1}', b"a", None),
        (b'{"\\u0061":1,"a":2}', b"a", None),
        (b'{"a":}', b"a", None),
        (b'{"a":1', b"a", None),
        (b'["a",1]', b"a", None),
        (b"", b"a", None),
    ],
)
def test_raw_span(native_impl: ModuleType, data: bytes, key: bytes, raw: bytes | None) -> None:
    span = native_impl.raw_span(data, key)
    assert (None if span is None else data[slice(*span)]) == raw


_VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(
    pairs=st.lists(st.tuples(st.sampled_from(["a", "b", "A", "é", "k\n"]), _VALUES), max_size=4),
    key=st.sampled_from(["a", "b", "é"]),
)
def test_raw_span_is_the_value_of_a_parser(pairs: list[tuple[str, object]], key: str) -> None:
    body = ", ".join(f"{json.dumps(name, ensure_ascii=False)} : {json.dumps(value)}" for name, value in pairs)
    data = ("{" + body + "}").encode()
    answers = {module.raw_span(data, key.encode()) for module in IMPLEMENTATIONS}
    assert len(answers) == 1
    span = answers.pop()
    if span is not None:
        assert [name for name, _ in pairs].count(key) == 1
        assert json.loads(data[slice(*span)]) == dict(pairs)[key]
