"""The token file: private, complete, never overwritten."""

import os
import stat

import pytest

from provider.account import MachineToken, TokenFile, TokenFileExists, TokenFileRefused
from tests.unit.provider.account.door_peer import BASE, TOKEN


@pytest.fixture
def file(tmp_path):
    found = TokenFile(tmp_path / "new" / "home")
    found.make_room()
    return found


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_what_was_written_is_read_and_only_the_owner_may(file):
    assert (file.exists, file.read()) == (False, None)
    file.write(MachineToken(TOKEN, BASE))
    assert (file.exists, file.read()) == (True, MachineToken(TOKEN, BASE))
    assert (mode(file.path), mode(file.path.parent)) == (0o600, 0o700)
    assert [path.name for path in file.path.parent.iterdir()] == ["auth_token"]
    assert TOKEN not in repr(file.read())


def test_a_second_log_in_does_not_overwrite_the_first(file):
    file.write(MachineToken(TOKEN, BASE))
    with pytest.raises(TokenFileExists):
        file.write(MachineToken("other", BASE))
    assert file.read().secret == TOKEN
    assert [path.name for path in file.path.parent.iterdir()] == ["auth_token"]


def test_a_bare_token_counts_for_every_coordinator(file):
    file.path.write_text(TOKEN)
    file.path.chmod(0o600)
    assert file.read() == MachineToken(TOKEN, "")


def test_removing_is_idempotent(file):
    file.write(MachineToken(TOKEN, BASE))
    file.remove()
    file.remove()
    assert not file.exists


def write(path, text, permissions=0o600):
    path.write_text(text)
    path.chmod(permissions)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: write(path, TOKEN, 0o640), "has mode 0640; run `chmod 600"),
        (lambda path: write(path, ""), "holds no token"),
        (lambda path: write(path, "two words"), "holds no token"),
        (lambda path: write(path, "x" * 5000), "holds no token"),
        (lambda path: os.mkfifo(path, 0o600), "not a regular file"),
        (lambda path: path.symlink_to("/dev/null"), "cannot be read"),
    ],
    ids=["mode", "empty", "words", "long", "pipe", "link"],
)
def test_an_unusable_file_is_refused_with_its_remedy(file, make, words):
    make(file.path)
    assert file.exists
    with pytest.raises(TokenFileRefused, match=words) as refused:
        file.read()
    assert TOKEN not in str(refused.value)


def test_a_home_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(TokenFileRefused, match=r"taken.*cannot be used.*DARKBLOOM_HOME"):
        TokenFile(tmp_path / "taken").make_room()
