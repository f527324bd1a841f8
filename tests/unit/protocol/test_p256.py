"""P-256 keys and signatures: strict forms, vectors."""

from base64 import b64decode, b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from protocol import p256
from protocol.p256 import BadPublicKey, BadSignature, parse_p256_public, parse_signature, public_text, verify_p256

SCALAR = int.from_bytes(bytes(range(1, 33)))
PUBLIC = "BFFcPW6545a5BNP+yn9U/c0MwemXvzddylFa0KbDtANfRTa+OlDzGPv5pUdZAqIhUCvvDVfgjFOyzApW8X2fk1Q="
PUBLIC_64 = "UVw9brnjlrkE0/7Kf1T9zQzB6Ze/N13KUVrQpsO0A19FNr46UPMY+/mlR1kCoiFQK+8NV+CMU7LMClbxfZ+TVA=="
DATA = b"bm9uY2U=2026-07-01T00:00:00Z"
SIGNATURE = "MEQCIAnLc17yPNvcrKjgCeF+zSYMWOD9CBXKdwyCnnvQh+6xAiALanpKArcPhtF8aZNozxwhBoHS9GzJrwJtjG52KG/N5g=="
KEY = parse_p256_public(PUBLIC)


def signature_of(r: int, s: int) -> str:
    return b64encode(encode_dss_signature(r, s)).decode()


def test_both_public_forms_normalise_to_65_bytes() -> None:
    assert parse_p256_public(PUBLIC_64) == KEY
    assert len(KEY) == 65
    assert public_text(KEY) == PUBLIC
    assert p256.public65_of(p256.private_key_of(SCALAR)) == KEY


def test_vector_verifies() -> None:
    assert verify_p256(KEY, DATA, SIGNATURE)
    assert not verify_p256(KEY, DATA + b"x", SIGNATURE)


def test_code_identity_and_response_hash_vectors_verify() -> None:
    nonce = b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    assert verify_p256(
        KEY,
        nonce,
        "MEYCIQDqYol9dS6lsn+eF36YYoDfJl5sRMljw6nZIdiupll1ewIhAJha/xkJ+sMQMhQ7NEqFxBUdIk4uqDq5Sxuo0xJgsFsz",
    )
    assert verify_p256(
        KEY,
        b"fd224b5fc1ce6206b60bf07816d199a5a5e418d7bd87690335f2593eae156fb7",
        "MEQCIDmWOk4R5g4NXbpFTaBEqoqSSSgczQ1d7UbUxXp6Q6vBAiBv3TZ+x9d1FqnjW/Sqvsi7Q4SJWLYMZAqoYZrdZOsz2g==",
    )


def test_own_signature_verifies_with_either_half_of_s() -> None:
    key = p256.generate_private_key()
    public = p256.public65_of(key)
    r, s = decode_dss_signature(b64decode(p256.sign_p256(key, b"data")))
    assert verify_p256(public, b"data", signature_of(r, s))
    assert verify_p256(public, b"data", signature_of(r, p256.ORDER - s))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("%%%", "bad_key_b64"),
        (PUBLIC.rstrip("="), "bad_key_b64"),
        ("", "bad_key"),
        (b64encode(b"\x02" + KEY[1:33]).decode(), "bad_key"),
        (b64encode(b"\x05" + KEY[1:]).decode(), "bad_key"),
        (b64encode(KEY[:-1] + b"\x00").decode(), "bad_key"),
        (b64encode(b"\x04" + bytes(64)).decode(), "bad_key"),
        (b64encode(bytes(64)).decode(), "bad_key"),
        (b64encode(KEY + b"\x00").decode(), "bad_key"),
    ],
)
def test_key_that_cannot_be_used(text: str, code: str) -> None:
    with pytest.raises(BadPublicKey) as caught:
        parse_p256_public(text)
    assert caught.value.code == code


R, S = decode_dss_signature(b64decode(SIGNATURE))
DER = b64decode(SIGNATURE)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("%%%", "bad_sig_b64"),
        (SIGNATURE.rstrip("="), "bad_sig_b64"),
        ("", "bad_sig_der"),
        ("AAAA", "bad_sig_der"),
        (b64encode(R.to_bytes(32) + S.to_bytes(32)).decode(), "bad_sig_der"),
        (b64encode(DER + b"\x00").decode(), "bad_sig_der"),
        (b64encode(DER[:-1]).decode(), "bad_sig_der"),
        (b64encode(b"\x30\x45\x02\x21\x00" + DER[4:]).decode(), "bad_sig_der"),
        (b64encode(b"\x30\x81" + DER[1:]).decode(), "bad_sig_der"),
        (signature_of(0, S), "bad_sig_der"),
        (signature_of(R, 0), "bad_sig_der"),
        (signature_of(p256.ORDER, S), "bad_sig_der"),
        (signature_of(R, p256.ORDER), "bad_sig_der"),
        (b64encode(b"\x30\x06\x02\x01\xff\x02\x01\x01").decode(), "bad_sig_der"),
    ],
)
def test_signature_of_wrong_form(text: str, code: str) -> None:
    with pytest.raises(BadSignature) as caught:
        parse_signature(text)
    assert caught.value.code == code
    assert not verify_p256(KEY, DATA, text)


def test_pem_of_another_curve_is_refused() -> None:
    from cryptography.hazmat.primitives.asymmetric import ec

    with pytest.raises(ValueError, match="P-256"):
        p256.load_private_pem(p256.dump_private_pem(ec.generate_private_key(ec.SECP384R1())))
    with pytest.raises(ValueError):
        p256.load_private_pem(b"not a key")
