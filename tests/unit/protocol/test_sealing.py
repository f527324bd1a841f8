"""Boxes: known vectors, tampering, key hygiene, lengths."""

import threading
from base64 import b64decode, b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

import native
from protocol.messages.wire import EncryptedPayload
from protocol.sealing import (
    BOX_OVERHEAD_BYTES,
    ProviderKeyPair,
    SealingError,
    WipeableKey,
    open_chunk,
    open_request,
    parse_public_key,
    seal_chunk,
    seal_for_provider,
    wipe_plaintext,
)


def run(start: int, count: int) -> bytes:
    return bytes(range(start, start + count))


def pair(private: bytes) -> ProviderKeyPair:
    return ProviderKeyPair.from_private(WipeableKey.copied_from(private))


K = pair(run(0x10, 32))
SESSION = pair(run(0x40, 32))
SHARED = K.shared_with(SESSION.public)

V1_NONCE = run(0x80, 24)
V1_PLAIN = b'{"model":"test-model","messages":[{"role":"user","content":"hello"}],"stream":true,"max_tokens":16}'
V1 = (
    "gIGCg4SFhoeIiYqLjI2Oj5CRkpOUlZaXzumgNj4/F/WLfJV+q/UNSeMPod1jhOpFZVNMZPZ+hjM/lUHIi4SfAYLqIzy/EBQtynFpRVYksv6yZL/B6wic"
    "k9OHgt0WNeyhq3cWuNYffY2SxJdqSQUbJooqDab9r8MB6B1gKp7VsM7m0bXJV7ZhRcOLSw=="
)
V2_PLAIN = 'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"hé 🌍"}}]}'.encode()
V2 = (
    "oKGio6SlpqeoqaqrrK2ur7CxsrO0tba37j7IcCzkbCpXZJDjmgQChYJgIrIoNckldeAagdXwloqvNl2A4A3N4ROjlLV0pnC8B8wdeXUljkjVpMLQfQ4J"
    "s0HjyFHGMwzllfSNyQKAds1bmQu7GSurgfkXRK8dRa2g"
)
V3 = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAwmgD5/vOd0WBIph6h1vvlw=="
V4 = "wMHCw8TFxsfIycrLzM3Oz9DR0tPU1dbXm1TZcNUGai1dE22FqjfSJy2RPZK91I2raZG0Wg=="
V5 = "4OHi4+Tl5ufo6err7O3u7/Dx8vP09fb3dVVvL77AVksnl7UeYRYbI2u+Bmx3hhZmm2d5a0U3Z1RgJ7U8KAwU43P/zNcugkF0FMy8aMjoNvY8fe+A"
V5_PLAIN = b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

VECTORS = [
    (V1_NONCE, V1_PLAIN, V1),
    (run(0xA0, 24), V2_PLAIN, V2),
    (bytes(24), b"", V3),
    (run(0xC0, 24), b"data: [DONE]", V4),
    (run(0xE0, 24), V5_PLAIN, V5),
]


def payload(ciphertext: str, key: str = b64encode(SESSION.public).decode()) -> EncryptedPayload:
    return EncryptedPayload(ephemeral_public_key=key, ciphertext=ciphertext)


def reason_of(encrypted: EncryptedPayload | None) -> str:
    with pytest.raises(SealingError) as caught:
        open_request(encrypted, K)
    return caught.value.reason


def test_public_keys_and_box_key_of_the_vectors() -> None:
    assert K.public_text == "2J47rXlDfb7Z+ENBgwT0YP8Fx/6B/kqVd6gEy5Nn/2Y="
    assert SESSION.public_text == "eaYx7t4b+cmPEgMs3q3Q56B5OY/HhriMyEbsia+FpRo="
    expected = "5cc5d6db778d3a2945481df97f94f2b30610fea8a79757b0417bc8ce454228ff"
    assert bytes(SHARED.view()).hex() == expected
    assert bytes(SESSION.shared_with(K.public).view()).hex() == expected


@pytest.mark.parametrize(("nonce", "plaintext", "wire"), VECTORS)
def test_vector_seals_and_opens(nonce: bytes, plaintext: bytes, wire: str) -> None:
    assert native.seal(plaintext, SHARED.view(), nonce).decode() == wire
    assert open_chunk(wire.encode(), SHARED) == plaintext
    opened, shared = open_request(payload(wire), K)
    assert opened == plaintext
    assert shared.view() == SHARED.view()


def test_provider_vectors() -> None:
    provider, session = pair(run(1, 32)), pair(run(0x21, 32))
    assert provider.public_text == "B6N8vBQgk8i3VdwbEOhstCY3StFqqFPtC9/AsrhtHHw="
    assert session.public_text == "WGmv9FBUlzLLqu1eXfmzCm2jHLDldCutWtShp2jxpns="
    shared = provider.shared_with(session.public)
    assert bytes(shared.view()).hex() == "ec88f6e13b22bf9f04d480e0d8525c08ac7e2f48e212742bcbcafa104a74b08d"
    request = (
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYX14mevY92YziSYp7Y57Y2ZmnXtjY+WBHww9A1apE7M5FXZ3F1ENLIUJ24ccPZdn8sRSkVCQYaNzSMt1L+JD9f"
        "zywRHXkEmiT5uhUZDg=="
    )
    opened, _ = open_request(payload(request, session.public_text), provider)
    assert opened == b'{"model":"tiny","messages":[{"role":"user","content":"hi"}]}'
    chunk = (
        "oKGio6SlpqeoqaqrrK2ur7CxsrO0tba3WSbRHbbEvOeN1c5zAMxbVCrBEtkXSvh1ICZ2EzirsPz2xwrV8r3fm+ed09edSs9mcXWbEH1f7me+mYUro1ox"
        "O+Z/T7w4jsn4AHM="
    )
    assert open_chunk(chunk.encode(), shared) == b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'


def tampered() -> list[bytes]:
    box = b64decode(V1)

    def flipped(at: int, mask: int) -> bytes:
        changed = bytearray(box)
        changed[at] ^= mask
        return bytes(changed)

    return [flipped(0, 0xFF), flipped(24, 1), flipped(-1, 1), box[:-1], box[:24], box[:39], b""]


@pytest.mark.parametrize("box", tampered())
def test_tampered_box_does_not_open_on_either_side(box: bytes) -> None:
    wire = b64encode(box)
    with pytest.raises(SealingError) as caught:
        open_chunk(wire, SHARED)
    assert caught.value.reason == "does_not_open"
    assert reason_of(payload(wire.decode())) == ("ciphertext_too_short" if len(box) < 40 else "does_not_open")


@given(st.integers(min_value=0, max_value=len(b64decode(V1)) - 1), st.integers(min_value=1, max_value=255))
def test_any_changed_byte_fails(at: int, mask: int) -> None:
    changed = bytearray(b64decode(V1))
    changed[at] ^= mask
    with pytest.raises(SealingError):
        open_chunk(b64encode(changed), SHARED)
    assert reason_of(payload(b64encode(changed).decode())) == "does_not_open"


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (b64encode(bytes([SESSION.public[0] ^ 1]) + SESSION.public[1:]).decode(), "does_not_open"),
        (b64encode(bytes(32)).decode(), "invalid_key"),
        (b64encode(b"\x01" + bytes(31)).decode(), "invalid_key"),
        (b64encode(bytes(31)).decode(), "invalid_key"),
        (b64encode(bytes(33)).decode(), "invalid_key"),
        ("", "invalid_key"),
        ("****", "invalid_base64"),
        ("é", "invalid_base64"),
    ],
)
def test_bad_sender_key(key: str, reason: str) -> None:
    assert reason_of(payload(V1, key)) == reason


@pytest.mark.parametrize(
    "ciphertext",
    [
        V1.replace("/", "_"),
        V1.replace("+", "-").replace("/", "_"),
        V1.rstrip("="),
        V1 + "=",
        V1 + "\n",
        " " + V1,
        V1.replace("/", "\\/"),
        V1[:-3] + "x==",
        V1[:20] + "ü" + V1[20:],
    ],
)
def test_base64_that_is_not_strict_is_refused(ciphertext: str) -> None:
    assert reason_of(payload(ciphertext)) == "invalid_base64"


def test_missing_body_is_refused() -> None:
    assert reason_of(None) == "missing"


def test_opening_twice_succeeds_because_replay_is_not_the_boxes_task() -> None:
    assert all(open_chunk(V1.encode(), SHARED) == V1_PLAIN for _ in range(5))


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 23, 24, 25, 31, 32, 33, 255, 256, 1024, 65_536])
def test_round_trip_of_length(length: int) -> None:
    plaintext = bytes(i % 251 for i in range(length))
    sealed = seal_for_provider(plaintext, K.public)
    assert len(b64decode(sealed.ciphertext)) == length + BOX_OVERHEAD_BYTES
    opened, shared = open_request(payload(sealed.ciphertext.decode(), sealed.ephemeral_public_key), K)
    assert opened == plaintext
    assert open_chunk(seal_chunk(plaintext, shared), sealed.shared) == plaintext


def test_largest_body_has_the_documented_size_and_seals_in_a_thread() -> None:
    body = bytes(16 * 1024 * 1024)
    results = []
    worker = threading.Thread(target=lambda: results.append(seal_for_provider(body, K.public)))
    worker.start()
    worker.join()
    assert len(results[0].ciphertext) == 22_369_676
    opened, _ = open_request(payload(results[0].ciphertext.decode(), results[0].ephemeral_public_key), K)
    assert opened == body


def test_same_plaintext_is_never_sealed_the_same() -> None:
    first, second = seal_for_provider(b"x", K.public), seal_for_provider(b"x", K.public)
    assert first.ciphertext != second.ciphertext
    assert first.ephemeral_public_key != second.ephemeral_public_key
    assert seal_chunk(b"x", SHARED) != seal_chunk(b"x", SHARED)


def test_chunk_of_one_attempt_never_opens_with_the_key_of_another() -> None:
    sealed = [seal_for_provider(b"x", K.public) for _ in range(3)]
    chunk = seal_chunk(b"answer", sealed[0].shared)
    for other in sealed[1:]:
        with pytest.raises(SealingError):
            open_chunk(chunk, other.shared)


def test_parse_public_key_accepts_a_real_key() -> None:
    assert parse_public_key(K.public_text) == K.public


LOW_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]


@pytest.mark.parametrize("public", LOW_ORDER)
def test_key_of_low_order_is_refused_everywhere(public: bytes) -> None:
    with pytest.raises(ValueError, match="low order"):
        parse_public_key(b64encode(public).decode())
    for use in (lambda: seal_for_provider(b"x", public), lambda: K.shared_with(public)):
        with pytest.raises(SealingError) as caught:
            use()
        assert caught.value.reason == "invalid_key"


@pytest.mark.parametrize(
    "text", ["", "AAAA", b64encode(bytes(31)).decode(), "%%%", "\n" + K.public_text, K.public_text[:-1]]
)
def test_text_that_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"key|base64"):
        parse_public_key(text)


def test_wiped_key_is_zero_and_dead() -> None:
    key = WipeableKey.copied_from(run(1, 32))
    memory = key.view()
    assert bytes(memory) == run(1, 32)
    key.wipe()
    key.wipe()
    assert key.dead
    assert bytes(memory) == bytes(32)
    for use in (key.view, key.public, lambda: key.agree(K.public), lambda: open_chunk(V1.encode(), key)):
        with pytest.raises(SealingError) as caught:
            use()
        assert caught.value.reason == "key_gone"


def test_key_is_wiped_at_the_end_of_its_block_even_on_error() -> None:
    key = WipeableKey.copied_from(run(1, 32))
    with pytest.raises(KeyError), key:
        raise KeyError
    assert key.dead


def test_view_outlives_its_key_object() -> None:
    view = WipeableKey.copied_from(run(1, 32)).view()
    assert bytes(view) == run(1, 32)


def test_key_is_copied_and_its_repr_is_silent() -> None:
    source = bytearray(run(1, 32))
    with WipeableKey.copied_from(source) as key:
        source[0] = 99
        assert key.view()[0] == 1
        assert repr(key) == "<WipeableKey live>"


@pytest.mark.parametrize("length", [0, 31, 33])
def test_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"not {length}"):
        WipeableKey.copied_from(bytes(length))


def test_plaintext_is_wiped() -> None:
    opened, _ = open_request(payload(V1), K)
    wipe_plaintext(opened)
    assert opened == bytes(len(V1_PLAIN))
    wipe_plaintext(bytearray())


def test_errors_hold_no_data() -> None:
    with pytest.raises(SealingError) as caught:
        open_request(payload("SECRET"), K)
    assert "SECRET" not in str(caught.value) + repr(caught.value.__cause__)
