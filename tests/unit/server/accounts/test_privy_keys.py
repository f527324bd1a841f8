"""The rotating key set, fetched from a real local server."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio

from server.accounts.privy_api import privy_client
from server.accounts.privy_keys import KeySet
from server.accounts.privy_tokens import KeysUnavailable, PrivyTokens, TokenRefused
from tests.unit.server.accounts.people import APP, Signer, Times
from tests.unit.server.accounts.privy_peer import PrivyPeer, open_privy


@asynccontextmanager
async def opened(times: Times) -> AsyncGenerator[tuple[PrivyPeer, PrivyTokens, KeySet], None]:
    async with open_privy() as peer, privy_client() as client:
        keys = KeySet(f"{peer.url}/jwks", client=client, clock=times.clock)
        yield peer, PrivyTokens(APP, keys, now=times.unix), keys


async def test_a_rotation_is_followed() -> None:
    times, old, new = Times(), Signer(), Signer()
    async with opened(times) as (peer, tokens, _keys):
        peer.keys = [old.jwk("k1")]
        assert (await tokens.verify(old.token(key_id="k1"))).did == "did:privy:ada"
        peer.keys = [old.jwk("k1"), new.jwk("k2")]
        times.go(61)
        assert await tokens.verify(new.token(key_id="k2"))
        assert await tokens.verify(old.token(key_id="k1", sid="again"))
        assert peer.count("/jwks") == 2


async def test_keys_are_kept_for_an_hour() -> None:
    times, signer = Times(), Signer()
    async with opened(times) as (peer, _tokens, keys):
        peer.keys = [signer.jwk("k1")]
        for seconds, fetches in ((0, 1), (3599, 1), (2, 2)):
            times.go(seconds)
            await keys.key_for("k1")
            assert peer.count("/jwks") == fetches


async def test_unknown_keys_cause_one_fetch_a_minute_however_many_ask() -> None:
    times, signer = Times(), Signer()
    async with opened(times) as (peer, tokens, _keys):
        peer.keys = [signer.jwk("k1")]

        async def forge(number: int) -> None:
            with pytest.raises(TokenRefused):
                await tokens.verify(Signer().token(key_id=f"forged{number}"))

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(forge, number)
        assert peer.count("/jwks") == 1
        times.go(61)
        await forge(99)
        assert peer.count("/jwks") == 2


async def test_old_keys_serve_while_the_provider_is_down() -> None:
    times, signer = Times(), Signer()
    async with opened(times) as (peer, tokens, _keys):
        peer.keys = [signer.jwk("k1")]
        await tokens.verify(signer.token(key_id="k1"))
        peer.down = True
        times.go(3601)
        times.wall -= 3601 * 1_000_000
        assert await tokens.verify(signer.token(key_id="k1", sid="later"))


async def test_without_any_key_the_token_may_be_good() -> None:
    async with opened(Times()) as (peer, tokens, _keys):
        peer.down = True
        with pytest.raises(KeysUnavailable):
            await tokens.verify(Signer().token())


@pytest.mark.parametrize("body", [b"", b"{}", b'{"keys": 5}', b"[1]", b"x" * 100_000, b'{"keys": [5, {"kty": "EC"}]}'])
async def test_nonsense_is_no_key_set(body: bytes) -> None:
    async with opened(Times()) as (peer, tokens, _keys):
        peer.body = body
        with pytest.raises((KeysUnavailable, TokenRefused)):
            await tokens.verify(Signer().token())


async def test_only_p256_signature_keys_count() -> None:
    signer = Signer()
    async with opened(Times()) as (peer, tokens, _keys):
        symmetric = {"kty": "oct", "k": "c2VjcmV0", "kid": "k1", "alg": "HS256"}
        broken = signer.jwk("k1") | {"x": "AAAA"}
        peer.keys = [symmetric, broken, signer.jwk("k1") | {"use": "enc"}, signer.jwk("k1") | {"crv": "P-384"}]
        with pytest.raises(TokenRefused):
            await tokens.verify(signer.token(key_id="k1"))


async def test_a_token_without_key_id_needs_a_single_key() -> None:
    times, signer = Times(), Signer()
    async with opened(times) as (peer, tokens, _keys):
        peer.keys = [signer.jwk("k1")]
        assert await tokens.verify(signer.token(key_id=None))
        peer.keys = [signer.jwk("k1"), Signer().jwk("k2")]
        times.go(3601)
        times.wall -= 3601 * 1_000_000
        with pytest.raises(TokenRefused):
            await tokens.verify(signer.token(key_id=None, sid="other"))
