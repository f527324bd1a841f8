"""The identity key of a security chip, behind a small helper program: `darkbloom-enclave serve`.

One JSON object per line and direction: `{"op":"info"}` gives `{"public_key":…}`, `{"op":"sign","data":…}` gives
`{"signature":…}`, bytes in base64; `{"error":…}` is a refusal. The private key never leaves the chip. Every signature
is verified here before it is used. Source: provider rules, identity.

Invariant: the public key of a signer never changes; a helper that suddenly has another one is refused.
"""

import os
import selectors
import subprocess
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from protocol.p256 import BadPublicKey, parse_p256_public, verify_p256

HELPER_NAME: Final = "darkbloom-enclave"
ANSWER_SECONDS: Final = 10.0
MAX_LINE_BYTES: Final = 64 * 1024


class EnclaveUnavailable(Exception):
    """The helper cannot be used; the text says why."""


class _Answer(msgspec.Struct):
    public_key: str = ""
    signature: str = ""
    error: str = ""


class EnclaveSigner:
    """A signer as the protocol wants it; blocks for a few milliseconds per signature. Any thread, one at a time."""

    def __init__(self, command: tuple[str, ...], *, clock: Callable[[], float] = time.monotonic) -> None:
        """Start the helper and read its key; raises `EnclaveUnavailable`."""
        self._command = command
        self._clock = clock
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._public = b""
        try:
            self._public = self._start()
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(cls, helper: Path) -> Self:
        """Use the helper program at this path."""
        return cls((str(helper), "serve"))

    def public65(self) -> bytes:
        """Give the uncompressed public point, 65 bytes."""
        return self._public

    def sign(self, data: bytes) -> bytes:
        """Give a DER ECDSA signature over SHA-256 of `data`; raises `EnclaveUnavailable`.

        A helper that died is started again, once.
        """
        with self._lock:
            for is_last in (False, True):
                try:
                    if self._child is None and self._start() != self._public:
                        raise EnclaveUnavailable("The security chip's helper has another key than before.")
                    text = self._ask({"op": "sign", "data": b64encode(data).decode()}).signature
                    break
                except EnclaveUnavailable:
                    self.close()
                    if is_last:
                        raise
        if not verify_p256(self._public, data, text):
            self.close()
            raise EnclaveUnavailable("The security chip's helper gave a signature that does not verify.")
        return b64decode(text)

    def close(self) -> None:
        """End the helper; idempotent. Signing starts it again."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            with child:
                pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<EnclaveSigner {self._public.hex()[:12]}…>"

    def _start(self) -> bytes:
        try:
            self._child = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={}
            )
        except OSError as error:
            raise EnclaveUnavailable(
                f"The security chip's helper {self._command[0]} cannot be started ({error.strerror})."
            ) from None
        try:
            return parse_p256_public(self._ask({"op": "info"}).public_key)
        except BadPublicKey:
            raise EnclaveUnavailable("The security chip's helper names no P-256 key.") from None

    def _ask(self, question: dict[str, str]) -> _Answer:
        child = self._child
        assert child is not None
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(msgspec.json.encode(question) + b"\n")
            child.stdin.flush()
            answer = msgspec.json.decode(self._line(child.stdout.fileno()), type=_Answer)
        except (OSError, ValueError) as error:
            raise EnclaveUnavailable(f"The security chip's helper failed ({type(error).__name__}).") from None
        if answer.error:
            raise EnclaveUnavailable("The security chip's helper refused; the chip may be locked or missing.")
        return answer

    def _line(self, descriptor: int) -> bytes:
        """Read one answer; raises `ValueError` when it is late, too long or cut off."""
        deadline = self._clock() + ANSWER_SECONDS
        line = b""
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - self._clock())):
                    raise ValueError("late")
                piece = os.read(descriptor, MAX_LINE_BYTES)
                line += piece
                if not piece or len(line) > MAX_LINE_BYTES:
                    raise ValueError("cut off")
        return line
