"""Signatures of webhooks: the published vector, the window, rotation, and everything that is nearly right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.settings import Secret
from server.payments.signatures import BadSignature, signed_header, verify_signature

SECRET = "whsec_test_secret"
T = 1_700_000_000
BODY = b'{"id":"evt_1","type":"checkout.session.completed"}'
DIGEST = "a13d4b1f9003bc2fb6c06224e878b6056185eaa50d40e1e7dc05517f8af41d7b"


def verify(header: str, body: bytes = BODY, *, now: int = T, secrets: tuple[str, ...] = (SECRET,)) -> None:
    verify_signature(header, body, secrets=[Secret(one) for one in secrets], now_seconds=now)


def test_vector_of_deposits() -> None:
    assert signed_header(SECRET, T, BODY) == f"t={T},v1={DIGEST}"
    verify(f"t={T},v1={DIGEST}")


@pytest.mark.parametrize("now", [T - 300, T, T + 300])
def test_five_minutes_either_way_pass(now: int) -> None:
    verify(f"t={T},v1={DIGEST}", now=now)


@pytest.mark.parametrize("now", [T - 301, T + 301, 0])
def test_more_than_five_minutes_either_way_fail(now: int) -> None:
    with pytest.raises(BadSignature, match="300 seconds"):
        verify(f"t={T},v1={DIGEST}", now=now)


def test_any_of_several_signatures_passes() -> None:
    verify(f"t={T},v1={'0' * 64},v0=abc,v1={DIGEST}")


def test_any_secret_of_a_rotation_passes() -> None:
    verify(f"t={T},v1={DIGEST}", secrets=("whsec_new", SECRET))
    verify(f"t={T},v1={DIGEST}", secrets=(SECRET, "whsec_new"))


@pytest.mark.parametrize(
    "header",
    [
        "",
        "t=,v1=",
        f"t={T}",
        f"v1={DIGEST}",
        f"t={T},v0={DIGEST}",
        f"t={T},v1={DIGEST[:-1]}",
        f"t={T},v1={DIGEST[:-1]}0",
        f"t={T}.0,v1={DIGEST}",
        f"t={T + 1},v1={DIGEST}",
        f"t={T},t={T},v1={DIGEST}",
        f"t=-{T},v1={DIGEST}",
        f"t={T},v1={DIGEST}" + " " * 5000,
        f"t={T}," + "v1=00," * 40 + f"v1={DIGEST}",
    ],
)
def test_bad_headers_fail(header: str) -> None:
    with pytest.raises(BadSignature):
        verify(header)


def test_body_altered_by_a_space_fails() -> None:
    with pytest.raises(BadSignature):
        verify(f"t={T},v1={DIGEST}", BODY + b" ")


def test_other_secret_and_no_secret_fail() -> None:
    for secrets in (("whsec_other",), ()):
        with pytest.raises(BadSignature):
            verify(f"t={T},v1={DIGEST}", secrets=secrets)


@given(header=st.text(max_size=300), body=st.binary(max_size=100))
def test_no_header_passes_by_chance_or_crashes(header: str, body: bytes) -> None:
    with pytest.raises(BadSignature):
        verify(header, body)


@given(body=st.binary(max_size=2000), secret=st.text(min_size=1, max_size=40), flip=st.integers(0, 63))
def test_what_is_signed_verifies_and_nothing_else(body: bytes, secret: str, flip: int) -> None:
    header = signed_header(secret, T, body)
    verify(header, body, secrets=(secret,))
    at = header.index("v1=") + 3 + flip
    other = "0" if header[at] != "0" else "1"
    with pytest.raises(BadSignature):
        verify(header[:at] + other + header[at + 1 :], body, secrets=(secret,))
