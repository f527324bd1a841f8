"""People, clocks and tokens for tests of accounts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from server.accounts import api_keys, users
from server.accounts.changes import Changes
from server.accounts.key_desk import KeyDesk
from server.accounts.store_keys import StoreKeys
from server.accounts.use_notes import UseNotes
from server.accounts.users import User
from server.store import Store

START = 1_780_000_000
APP = "app_test"


@dataclass
class Times:
    """One pair of clocks that only `go` moves: monotonic seconds, and microseconds since the epoch."""

    seconds: float = 1000.0
    wall: int = START * 1_000_000

    def clock(self) -> float:
        return self.seconds

    def wall_clock(self) -> int:
        return self.wall

    def unix(self) -> float:
        return self.wall / 1_000_000

    def go(self, seconds: float) -> None:
        self.seconds += seconds
        self.wall += int(seconds * 1_000_000)


async def add_user(
    store: Store, name: str = "ada", *, email: str | None = None, local: bool = False, is_admin: bool = False
) -> User:
    """A user whose address Privy has verified, or a local one."""
    external_id = f"local:{name}" if local else f"did:privy:{name}"
    address = f"{name}@example.com" if email is None else email
    user = await store.write(
        lambda tx: users.insert(
            tx, external_id, START * 1_000_000, email=address, verified=not local, is_admin=is_admin
        )
    )
    assert user is not None
    return user


class KeyWorld:
    """The parts around API keys over one store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.times = Times()
        self.changes = Changes(store)
        self.uses = UseNotes(store, api_keys.note_used)
        self.keys = StoreKeys(
            store,
            changes=self.changes,
            uses=self.uses,
            clock=self.times.clock,
            wall_clock=self.times.wall_clock,
        )
        self.desk = KeyDesk(store, keys=self.keys, changes=self.changes, wall_clock=self.times.wall_clock)

    def neighbour(self) -> KeyWorld:
        """Another process on the same database, with caches of its own."""
        other = KeyWorld(self.store)
        other.times = self.times
        other.keys = StoreKeys(
            self.store,
            changes=other.changes,
            uses=other.uses,
            clock=self.times.clock,
            wall_clock=self.times.wall_clock,
        )
        return other


class Signer:
    """An identity provider's key."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())

    @property
    def pem(self) -> str:
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def jwk(self, key_id: str) -> dict[str, Any]:
        found: dict[str, Any] = jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return found | {"kid": key_id, "use": "sig", "alg": "ES256"}

    def token(self, *, key_id: str | None = "k1", without: str = "", **changes: Any) -> str:
        claims: dict[str, Any] = {
            "iss": "privy.io",
            "aud": APP,
            "sub": "did:privy:ada",
            "sid": "s1",
            "iat": START,
            "exp": START + 3600,
        }
        claims |= changes
        claims.pop(without, None)
        headers = None if key_id is None else {"kid": key_id}
        return jwt.encode(claims, self.key, algorithm="ES256", headers=headers)
