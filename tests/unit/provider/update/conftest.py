"""A release server on loopback, and an installed bundle."""

import pytest

from provider.update.place import Installation
from tests.unit.provider.update.release_peer import ENTRY, MARK, release_peer


@pytest.fixture
def peer():
    """A coordinator and a download server."""
    with release_peer() as found:
        yield found


@pytest.fixture
def installed(tmp_path):
    """A bundle of version 0.1.0."""
    base = tmp_path / "app"
    folder = base / "versions" / "0.1.0"
    (folder / "bin").mkdir(parents=True)
    (folder / MARK).write_text("{}")
    (folder / ENTRY).write_text("old")
    (base / "current").symlink_to("versions/0.1.0")
    return Installation(base)
