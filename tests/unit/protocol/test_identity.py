"""The software identity."""

import pytest

from protocol.identity import SoftwareSigner, sign_text
from protocol.p256 import verify_p256


def test_identity_survives_its_pem() -> None:
    signer = SoftwareSigner.generate()
    pem = signer.to_pem()
    assert pem.startswith(b"-----BEGIN PRIVATE KEY-----")
    again = SoftwareSigner.from_pem(pem)
    assert again.public65() == signer.public65()
    assert verify_p256(signer.public65(), b"data", sign_text(again, b"data"))


def test_pem_of_something_else_is_refused() -> None:
    with pytest.raises(ValueError):
        SoftwareSigner.from_pem(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")


def test_repr_shows_the_public_half_only() -> None:
    signer = SoftwareSigner.from_scalar(int.from_bytes(bytes(range(1, 33))))
    assert repr(signer) == "<SoftwareSigner BFFcPW6545a5…>"
