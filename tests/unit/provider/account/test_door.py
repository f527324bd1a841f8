"""The coordinator's door: its address, and how a token is revoked."""

import httpx
import pytest

from provider.account import DoorFailed, door_address
from provider.link import parse_address
from tests.unit.provider.account.door_peer import TOKEN, refusal


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("wss://host", "https://host"),
        ("https://Host:443/", "https://host"),
        ("wss://host:8443/ws/provider", "https://host:8443"),
        ("wss://host/behind/ws/provider", "https://host/behind"),
        ("wss://host/elsewhere?x=1", "https://host"),
        ("ws://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("ws://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_the_door_is_where_the_link_is(url, base):
    assert door_address(parse_address(url, allow_insecure=False)) == base


async def test_revoking_shows_the_token_as_bearer(door, peer):
    peer.answers = [httpx.Response(204)]
    assert await door.revoke(TOKEN) is None
    ((_at, method, path, body, headers),) = peer.asked
    assert (method, path, body) == ("DELETE", "/v1/device/token", None)
    assert headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("status", [200, 302, 401, 500, 503])
async def test_a_refused_revocation_is_told(door, peer, status):
    peer.answers = [refusal(status, "x", "No.")]
    refused = await door.revoke(TOKEN)
    assert (refused.status, refused.text) == (status, "No.")


async def test_a_failed_connection_is_told_without_the_token(door, peer):
    peer.answers = [httpx.ReadError(f"secret {TOKEN}")]
    with pytest.raises(DoorFailed) as failed:
        await door.revoke(TOKEN)
    assert str(failed.value) == "The coordinator https://coordinator.example cannot be reached (ReadError)."
