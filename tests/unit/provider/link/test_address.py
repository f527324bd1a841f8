"""Coordinator addresses."""

import pytest

from provider.link import AddressRefused, parse_address


@pytest.mark.parametrize(
    ("url", "text", "header"),
    [
        ("wss://api.example.org", "wss://api.example.org/ws/provider", "api.example.org"),
        ("https://api.example.org/", "wss://api.example.org/ws/provider", "api.example.org"),
        ("wss://api.example.org:8443/own/path?a=1", "wss://api.example.org:8443/own/path?a=1", "api.example.org:8443"),
        ("ws://127.0.0.1:8080", "ws://127.0.0.1:8080/ws/provider", "127.0.0.1:8080"),
        ("http://localhost", "ws://localhost/ws/provider", "localhost"),
        ("ws://[::1]:81", "ws://[::1]:81/ws/provider", "[::1]:81"),
    ],
)
def test_address_is_completed(url, text, header):
    address = parse_address(url, allow_insecure=False)
    assert str(address) == text
    assert address.host_header == header


@pytest.mark.parametrize("url", ["ws://10.0.0.5", "http://api.example.org:80", "ws://127.0.0.1.example.org"])
def test_unencrypted_link_to_another_machine_needs_the_setting(url):
    with pytest.raises(AddressRefused, match="DARKBLOOM_ALLOW_INSECURE_LINK"):
        parse_address(url, allow_insecure=False)
    assert not parse_address(url, allow_insecure=True).is_secure


@pytest.mark.parametrize(
    "url", ["", "example.org", "ftp://example.org", "ws://", "wss://h:99999", "wss://user:pass@example.org"]
)
def test_unusable_addresses_are_refused(url):
    with pytest.raises(AddressRefused):
        parse_address(url, allow_insecure=True)


def test_a_password_in_the_address_is_not_repeated():
    with pytest.raises(AddressRefused) as refused:
        parse_address("wss://user:hunter2@example.org", allow_insecure=True)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("url", ["ws://[::1", "wss://a..b", "wss://" + "a" * 70 + ".de"])
def test_host_that_no_resolver_takes_is_refused_before_it_is_dialled(url):
    with pytest.raises(AddressRefused, match="is not usable"):
        parse_address(url, allow_insecure=True)
