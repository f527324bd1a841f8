"""Hashes that outlive a process."""

import os

from protocol.weight_hash import weight_hash
from provider.daemon.weight_hashes import WeightHashes
from provider.models import hash_cache
from provider.models.hash_cache import HashCache, fingerprint
from tests.testbed.model_folder import write_model_folder


def test_hash_is_taken_over_by_the_next_process(tmp_path, monkeypatch):
    folder = write_model_folder(tmp_path / "model")
    path = tmp_path / "home" / "hash-cache.json"
    first = WeightHashes(HashCache(path))
    assert first.refresh("m", folder)
    assert path.stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr("provider.daemon.weight_hashes.weight_hash", lambda _folder: "hashed again")
    second = WeightHashes(HashCache(path))
    assert second.refresh("m", folder)
    assert second.known("m") == weight_hash(folder)
    os.utime(folder / "config.json", (1, 1))
    assert second.refresh("m", folder)
    assert second.known("m") == "hashed again"


def test_entry_counts_for_its_own_folder_and_fingerprint_only(tmp_path):
    folder = write_model_folder(tmp_path / "model")
    other = write_model_folder(tmp_path / "other")
    cache = HashCache(tmp_path / "cache.json")
    cache.put(folder, fingerprint(folder), "abc")
    again = HashCache(tmp_path / "cache.json")
    assert again.get(folder, fingerprint(folder)) == "abc"
    assert again.get(other, fingerprint(folder)) == ""
    assert again.get(folder, ()) == ""


def test_damaged_file_is_no_cache(tmp_path):
    path = tmp_path / "cache.json"
    for content in (b"", b"{", b"[]", b'{"x": 1}', b"\xff"):
        path.write_bytes(content)
        assert HashCache(path).get(tmp_path, ()) == ""


def test_file_that_cannot_be_written_costs_nothing_else(tmp_path):
    (tmp_path / "file").write_text("")
    cache = HashCache(tmp_path / "file" / "cache.json")
    cache.put(tmp_path, (("a", 1, 1),), "abc")
    assert cache.get(tmp_path, (("a", 1, 1),)) == "abc"


def test_oldest_entries_give_way(tmp_path, monkeypatch):
    monkeypatch.setattr(hash_cache, "MAX_ENTRIES", 2)
    cache = HashCache(tmp_path / "cache.json")
    for name in "abc":
        cache.put(tmp_path / name, (("x", 1, 1),), name)
    assert [cache.get(tmp_path / name, (("x", 1, 1),)) for name in "abc"] == ["", "b", "c"]
