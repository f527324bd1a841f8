"""Taking models out of the cache."""

import pytest

from provider.catalog.failures import DownloadBusy, DownloadFailed
from provider.catalog.place import LOCK_NAME, remove_model
from provider.host.file_lock import FileLock
from provider.models.hub import HubCache
from provider.models.in_use import SnapshotHold
from tests.testbed.model_folder import write_model_folder


@pytest.fixture
def model(cache):
    folder = cache.folder("org/tiny")
    write_model_folder(folder.snapshots / "abc")
    return folder


def test_model_is_gone_and_its_size_is_told(cache, model):
    size = sum(path.stat().st_size for path in model.path.rglob("*") if path.is_file())
    freed = remove_model(cache, "org/tiny")
    assert size <= freed < size + 200
    assert list(cache.root.iterdir()) == []


def test_model_that_is_not_here(cache):
    with pytest.raises(DownloadFailed, match="is not on this machine"):
        remove_model(cache, "org/other")


@pytest.mark.parametrize("model_id", ["..", "../x", "a/../b", "/etc", ""])
def test_id_that_leads_elsewhere(cache, model_id):
    with pytest.raises(DownloadFailed, match="no model id"):
        remove_model(cache, model_id)


def test_link_out_of_the_cache_is_left_alone(cache, tmp_path):
    outside = write_model_folder(tmp_path / "outside")
    cache.root.mkdir()
    (cache.root / "models--org--linked").symlink_to(outside)
    with pytest.raises(DownloadFailed, match="leads out of the model cache"):
        remove_model(cache, "org/linked")
    assert (outside / "config.json").exists()


def test_loaded_model_stays(cache, model):
    with SnapshotHold(model.snapshots / "abc"), pytest.raises(DownloadFailed, match="is loaded"):
        remove_model(cache, "org/tiny")
    remove_model(cache, "org/tiny")


def test_model_that_is_being_downloaded_stays(cache, model):
    with FileLock.take(model.path / LOCK_NAME), pytest.raises(DownloadBusy):
        remove_model(cache, "org/tiny")


def test_model_of_the_hub_goes_with_its_blobs(tmp_path):
    cache = HubCache(tmp_path / "hub")
    folder = cache.folder("org/hub")
    (folder.path / "blobs").mkdir(parents=True)
    (folder.path / "blobs" / "sha").write_bytes(b"x" * 5000)
    snapshot = folder.snapshots / "rev"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to("../../blobs/sha")
    assert remove_model(cache, "org/hub") >= 5000
    assert not folder.path.exists()
