"""The identity key on disk."""

import os
import stat
import threading

import pytest

from protocol.identity import SoftwareSigner
from provider.identity import KEY_FILE_NAME, KeyFileRefused, load_or_create_signer


@pytest.fixture
def home(tmp_path):
    return tmp_path / "state"


def test_the_key_is_made_once_and_private(home):
    first = load_or_create_signer(home)
    path = home / KEY_FILE_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    assert load_or_create_signer(home).public65() == first.public65()
    assert os.listdir(home) == [KEY_FILE_NAME]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o620])
def test_a_key_that_others_may_read_is_refused(home, mode):
    load_or_create_signer(home)
    (home / KEY_FILE_NAME).chmod(mode)
    with pytest.raises(KeyFileRefused, match=rf"mode {mode:04o}; run `chmod 600 "):
        load_or_create_signer(home)


def test_a_stricter_mode_is_fine(home):
    load_or_create_signer(home)
    (home / KEY_FILE_NAME).chmod(0o400)
    load_or_create_signer(home)


@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_a_file_without_a_key_is_never_overwritten(home, content):
    home.mkdir()
    path = home / KEY_FILE_NAME
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileRefused, match="no P-256 private key"):
        load_or_create_signer(home)
    assert path.read_bytes() == content


def test_a_link_is_refused(home, tmp_path):
    home.mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(SoftwareSigner.generate().to_pem())
    elsewhere.chmod(0o600)
    (home / KEY_FILE_NAME).symlink_to(elsewhere)
    with pytest.raises(KeyFileRefused):
        load_or_create_signer(home)


def test_a_directory_is_refused(home):
    (home / KEY_FILE_NAME).mkdir(parents=True)
    with pytest.raises(KeyFileRefused):
        load_or_create_signer(home)


def test_a_file_in_place_of_the_home_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyFileRefused, match="cannot be read or made"):
        load_or_create_signer(tmp_path / "file")


def test_two_first_starts_end_with_one_key(home):
    found, barrier = [], threading.Barrier(2)

    def start(number):
        barrier.wait()
        found.append(load_or_create_signer(home).public65())

    # One process id would name one temporary file: the second thread plays another process.
    threads = [threading.Thread(target=start, args=(number,)) for number in range(2)]
    original = os.getpid
    try:
        os.getpid = lambda: threading.get_ident()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        os.getpid = original
    assert len(found) == 2
    assert len(set(found)) == 1
    assert os.listdir(home) == [KEY_FILE_NAME]
