"""Canonical JSON and the bytes that challenges sign."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.canonical import Canonicalisable, canonical, challenge_bytes, status_bytes, status_bytes_v2
from protocol.messages.from_provider import AttestationResponse


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_only_nonce_and_timestamp() -> None:
    assert status_bytes("n", "t", AttestationResponse()) == b'{"nonce":"n","timestamp":"t"}'


def test_false_is_written_and_absent_is_left_out() -> None:
    data = status_bytes("n", "t", AttestationResponse(sip_enabled=False))
    assert data == b'{"nonce":"n","sip_enabled":false,"timestamp":"t"}'
    assert sha256(data) == "7c22c43722a70670c1ff8dcaca447d085f3db68bc1d5ab5c1954c2f969631192"


def test_html_characters_stay_and_line_separators_are_escaped() -> None:
    data = status_bytes("n", "t", AttestationResponse(template_hashes={"line\u2028x": "abcd", "a<b>&c": "d00d"}))
    assert data == b'{"nonce":"n","template_hashes":{"a<b>&c":"d00d","line\\u2028x":"abcd"},"timestamp":"t"}'
    assert sha256(data) == "8c770a4b0ea305c748aece4c78ded559625292ae2b3ec502ee53b154ff40dfef"


def test_name_that_holds_the_escape_literally_hashes_differently() -> None:
    literal = status_bytes("n", "t", AttestationResponse(template_hashes={"line\\u2028x": "abcd"}))
    assert b"line\\\\u2028x" in literal
    assert literal != status_bytes("n", "t", AttestationResponse(template_hashes={"line\u2028x": "abcd"}))


def test_keys_sort_by_their_bytes() -> None:
    names = {"model2": "1", "Model10": "1", "_model": "1", "a/model": "1", "-model": "1"}
    assert list(json.loads(canonical(names))) == ["-model", "Model10", "_model", "a/model", "model2"]
    # U+FF5E is above U+1F600 in UTF-16 units but below it in UTF-8 bytes.
    assert list(json.loads(canonical({"\U0001f600": 1, "\uff5e": 1}))) == ["\uff5e", "\U0001f600"]


def test_control_characters_use_the_short_escapes() -> None:
    assert canonical('\n\t\r\b\f\x00\x1f"\\/é') == b'"\\n\\t\\r\\b\\f\\u0000\\u001f\\"\\\\/\xc3\xa9"'


def test_values_of_every_kind() -> None:
    assert (
        canonical({"b": [1, True, None, {"z": "", "a": -5}], "a": {}}) == b'{"a":{},"b":[1,true,null,{"a":-5,"z":""}]}'
    )


@pytest.mark.parametrize("value", [1.5, [1.0], {"a": {"b": (2.0,)}}])
def test_fractions_are_refused(value: Canonicalisable) -> None:
    with pytest.raises(ValueError, match="fractions"):
        canonical(value)


def test_lone_surrogate_is_refused() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        canonical("\ud800")


def test_provider_vector() -> None:
    reply = AttestationResponse(
        rdma_disabled=True,
        sip_enabled=True,
        secure_boot_enabled=True,
        binary_hash="ab" * 32,
        model_hashes={"b": "2", "a": "1"},
    )
    data = status_bytes("bm9uY2U=", "2026-07-01T00:00:00Z", reply)
    assert sha256(data) == "6eb43a12bf61539b3f763d17b7b69e828aeaae12d5916bc00bb93ea91a93fdff"


def test_second_form_has_a_domain_and_a_version() -> None:
    data = status_bytes_v2("n", "t", AttestationResponse(sip_enabled=True))
    assert data == b'darkbloom-status-v2\0{"canonical_version":2,"nonce":"n","sip_enabled":true,"timestamp":"t"}'
    assert b"canonical_version" not in status_bytes("n", "t", AttestationResponse(sip_enabled=True))


def test_challenge_bytes_have_no_separator() -> None:
    data = challenge_bytes("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "2026-07-15T12:05:00Z")
    assert sha256(data) == "d5aa86a416c9a67321e7260197e851a2189b2fc93ad1383dc974f1ab72349d38"


TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)


@given(TREES)
def test_canonical_form_reads_back_and_is_a_fixed_point(tree: Canonicalisable) -> None:
    data = canonical(tree)
    assert json.loads(data) == tree
    assert canonical(json.loads(data)) == data
    assert b"\xe2\x80\xa8" not in data
