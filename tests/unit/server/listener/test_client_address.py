"""Who the client is behind proxies."""

from __future__ import annotations

import ipaddress

import pytest

from server.listener.client_address import LOOPBACK_NETWORKS, ClientAddress, IpNetwork, parse_ip, resolve_client

TRUSTED: tuple[IpNetwork, ...] = (*LOOPBACK_NETWORKS, ipaddress.ip_network("10.0.0.0/8"))


def _resolve(peer: str, *headers: tuple[bytes, bytes], tls: bool = False) -> ClientAddress:
    return resolve_client(peer, tls=tls, headers=headers, trusted=TRUSTED)


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.1", b"1.2.3.4", "203.0.113.1"),
        ("127.0.0.1", b"1.2.3.4", "1.2.3.4"),
        ("127.0.0.1", b"6.6.6.6, 1.2.3.4", "1.2.3.4"),
        ("127.0.0.1", b"6.6.6.6, 1.2.3.4, 10.1.2.3", "1.2.3.4"),
        ("127.0.0.1", b"10.9.9.9, 10.1.2.3", "10.9.9.9"),
        ("127.0.0.1", b"6.6.6.6, nonsense, 10.1.2.3", "10.1.2.3"),
        ("127.0.0.1", b"1.2.3.4:5678", "1.2.3.4"),
        ("::1", b"[2001:db8::5]:443", "2001:db8::5"),
        ("::ffff:127.0.0.1", b"2001:DB8:0::5", "2001:db8::5"),
        ("::ffff:203.0.113.1", b"1.2.3.4", "203.0.113.1"),
    ],
)
def test_rightmost_untrusted_hop_is_the_client(peer: str, forwarded: bytes, expected: str) -> None:
    assert _resolve(peer, (b"x-forwarded-for", forwarded)).ip == expected


def test_several_forwarded_headers_are_one_list() -> None:
    headers = ((b"X-Forwarded-For", b"6.6.6.6"), (b"X-Forwarded-For", b"1.2.3.4"))
    assert _resolve("127.0.0.1", *headers).ip == "1.2.3.4"


def test_real_ip_counts_without_forwarded_for() -> None:
    assert _resolve("127.0.0.1", (b"x-real-ip", b"1.2.3.4")).ip == "1.2.3.4"
    assert _resolve("127.0.0.1", (b"x-real-ip", b"bogus")).ip == "127.0.0.1"
    assert _resolve("8.8.8.8", (b"x-real-ip", b"1.2.3.4")).ip == "8.8.8.8"


@pytest.mark.parametrize(
    ("peer", "tls", "claimed", "expected"),
    [
        ("127.0.0.1", False, b"https", "https"),
        ("127.0.0.1", False, b"HTTPS", "https"),
        ("127.0.0.1", False, b"https, http", "http"),
        ("127.0.0.1", True, b"http", "http"),
        ("127.0.0.1", False, b"gopher", "http"),
        ("8.8.8.8", False, b"https", "http"),
        ("8.8.8.8", True, b"http", "https"),
    ],
)
def test_scheme_follows_trusted_proxies(peer: str, tls: bool, claimed: bytes, expected: str) -> None:
    assert _resolve(peer, (b"x-forwarded-proto", claimed), tls=tls).scheme == expected


def test_loopback_is_judged_by_the_resolved_client() -> None:
    assert _resolve("127.0.0.1").is_loopback
    assert not _resolve("127.0.0.1", (b"x-forwarded-for", b"1.2.3.4")).is_loopback


@pytest.mark.parametrize("text", ["", "x", "1.2.3", "1.2.3.4.5", "[::1", ":::"])
def test_unreadable_address_is_none(text: str) -> None:
    assert parse_ip(text) is None or text == "[::1"
