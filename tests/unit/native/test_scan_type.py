"""The type scanner: every vector of the wire protocol, every prefix of each, and the never-wrong rule."""

from __future__ import annotations

import json
import time
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from native.shapes import MAX_DEPTH
from tests.unit.native.chunk_frames import IMPLEMENTATIONS
from tests.unit.native.scan_vectors import VECTORS


def found(module: ModuleType, data: bytes) -> bytes | None:
    """The value that the scanner found."""
    span = module.scan_type(data)
    return None if span is None else data[span[0] : span[1]]


def test_vectors_are_complete() -> None:
    assert [number for number, _, _ in VECTORS] == list(range(1, 79))


@pytest.mark.parametrize(("number", "source", "value"), VECTORS, ids=lambda v: str(v) if isinstance(v, int) else "")
def test_scan_type_vector(native_impl: ModuleType, number: int, source: str, value: str | None) -> None:
    expected = None if value is None else value.encode()
    assert found(native_impl, source.encode()) == expected
    assert found(native_impl, bytearray(source.encode())) == expected


@pytest.mark.parametrize(("number", "source", "value"), VECTORS, ids=lambda v: str(v) if isinstance(v, int) else "")
def test_scan_type_every_prefix_is_unsure_or_the_same(
    native_impl: ModuleType, number: int, source: str, value: str | None
) -> None:
    data = source.encode()
    step = 1 if len(data) < 1_000 else 97
    for end in range(0, len(data), step):
        assert found(native_impl, data[:end]) in (None, None if value is None else value.encode())


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_scan_type_counts_depth_to_the_limit(native_impl: ModuleType, extra: int) -> None:
    levels = MAX_DEPTH - 1 + extra
    data = b'{"type":"x","a":' + b"[" * levels + b"]" * levels + b"}"
    assert found(native_impl, data) == (b"x" if extra <= 0 else None)


def test_scan_type_time_is_linear(native_impl: ModuleType) -> None:
    nasty = b'{"a":"' + b'\\"' * 500_000
    began = time.process_time()
    assert native_impl.scan_type(nasty) is None
    assert native_impl.scan_type(b'{"a":' + b"[" * 126 + b"1," * 300_000) is None
    assert time.process_time() - began < 2.0


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | st.just("type"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "Type", "a", "t"]) | st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
_KEYS = st.sampled_from(["type", "type", "Type", "TYPE", "typ", "a", "b", "data"]) | st.text(max_size=5)
_PAIRS = st.lists(st.tuples(_KEYS, _JSON), max_size=5)


def _write(pairs: list[tuple[str, object]], escape: bool, spaces: str) -> str:
    body = f",{spaces}".join(
        f"{json.dumps(key, ensure_ascii=escape)}{spaces}:{spaces}{json.dumps(value, ensure_ascii=escape)}"
        for key, value in pairs
    )
    return f"{spaces}{{{spaces}{body}{spaces}}}"


def _folded_types(source: str) -> list[object]:
    pairs = json.loads(source, object_pairs_hook=lambda items: items)
    return [value for key, value in pairs if key.lower().replace("ſ", "s") == "type" and key.isascii()]


@given(pairs=_PAIRS, escape=st.booleans(), spaces=st.sampled_from(["", " ", "\n\t "]))
def test_scan_type_is_never_wrong(pairs: list[tuple[str, object]], escape: bool, spaces: str) -> None:
    source = _write(pairs, escape, spaces)
    data = source.encode("utf-8", "surrogatepass")
    answers = {found(module, data) for module in IMPLEMENTATIONS}
    assert len(answers) == 1
    value = answers.pop()
    if value is not None:
        assert _folded_types(source)[-1] == value.decode("utf-8", "surrogatepass")


_SOUP = st.lists(
    st.sampled_from(
        [b'"type"', b'"x"', b":", b",", b"{", b"}", b"[", b"]", b'"', b"\\", b" ", b"1", b"\n", b'\\"', b"\xff"]
    ),
    max_size=24,
).map(b"".join)


@given(soup=_SOUP, around=st.booleans())
def test_scan_type_soup_agrees_and_is_never_wrong(soup: bytes, around: bool) -> None:
    data = b'{"type":"t",' + soup + b"}" if around else soup
    answers = {found(module, data) for module in IMPLEMENTATIONS}
    assert len(answers) == 1
    value = answers.pop()
    if value is None:
        return
    try:
        kinds = _folded_types(data.decode("utf-8"))
    except (ValueError, RecursionError):
        return
    assert kinds[-1] == value.decode("utf-8")
