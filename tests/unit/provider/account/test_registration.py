"""Which token a registration carries."""

import pytest

from provider.account import MachineToken, RegistrationToken, TokenFile
from provider.link import parse_address
from tests.unit.provider.account.door_peer import BASE, TOKEN


@pytest.fixture
def file(tmp_path):
    return TokenFile(tmp_path)


@pytest.fixture
def token(file):
    return RegistrationToken(file, parse_address("wss://coordinator.example/ws/provider", allow_insecure=False))


def test_it_is_read_anew_each_time(file, token, caplog):
    assert token.read() == ""
    file.write(MachineToken(TOKEN, BASE))
    assert token.read() == TOKEN
    file.remove()
    assert token.read() == ""
    assert caplog.records == []


def test_a_token_of_another_coordinator_is_not_shown(file, token, caplog):
    file.write(MachineToken(TOKEN, "https://other.example"))
    assert token.read() == ""
    (line,) = caplog.messages
    assert "given by https://other.example and is not shown to https://coordinator.example" in line
    assert "darkbloom logout" in line


def test_an_unusable_file_leaves_the_machine_unlinked_and_says_why(file, token, caplog):
    file.write(MachineToken(TOKEN, BASE))
    file.path.chmod(0o644)
    assert token.read() == ""
    (line,) = caplog.messages
    assert "chmod 600" in line
    assert TOKEN not in line
