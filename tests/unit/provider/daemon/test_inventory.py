"""Offered models, and their hashes."""

import os

import pytest

from protocol.weight_hash import weight_hash
from provider.daemon import OfferedModel
from provider.daemon.inventory import Inventory, ModelUnusable, read_models
from provider.daemon.weight_hashes import WeightHashes


def folder(path, *, config='{"model_type": "llama"}', weights=b"weights"):
    path.mkdir(parents=True, exist_ok=True)
    if config is not None:
        (path / "config.json").write_text(config)
    if weights is not None:
        (path / "model.safetensors").write_bytes(weights)
    return path


def test_entries_say_what_the_folder_says(tmp_path):
    config = '{"model_type": "llama", "quantization": {"bits": 4, "group_size": 64}}'
    directory = folder(tmp_path / "a", config=config, weights=bytes(10_000))
    (directory / "README.md").write_text("not counted")
    inventory = Inventory(read_models([OfferedModel("a", directory)]), WeightHashes())
    (entry,) = inventory.entries()
    assert (entry.id, entry.size_bytes, entry.model_type, entry.quantization) == ("a", 10_000, "llama", "4bit")
    assert entry.estimated_memory_gb == 12_000 / 2**30
    assert entry.weight_hash == ""
    assert inventory.locate("a").disk_bytes == 10_000
    assert inventory.locate("b") is None
    assert "a" in inventory
    assert inventory.refresh_hash("a")
    assert inventory.entries()[0].weight_hash == weight_hash(directory)


def test_the_largest_model_comes_first(tmp_path):
    offered = [OfferedModel(name, folder(tmp_path / name, weights=bytes(size))) for name, size in (("a", 1), ("b", 9))]
    assert Inventory(read_models(offered), WeightHashes()).model_ids == ("b", "a")


@pytest.mark.parametrize(
    ("config", "weights"), [(None, b"x"), ("{", b"x"), ("[]", b"x"), ('{"model_type": "llama"}', None)]
)
def test_a_folder_without_a_model_is_refused(tmp_path, config, weights):
    directory = folder(tmp_path / "a", config=config, weights=weights)
    with pytest.raises(ModelUnusable, match="holds no model"):
        read_models([OfferedModel("a", directory)])


def test_a_missing_folder_and_a_double_id_are_refused(tmp_path):
    with pytest.raises(ModelUnusable, match="nowhere"):
        read_models([OfferedModel("a", tmp_path / "nowhere")])
    directory = folder(tmp_path / "a")
    with pytest.raises(ModelUnusable, match="listed twice"):
        read_models([OfferedModel("a", directory)] * 2)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ('{"quantization": {"bits": 8}}', "8bit"),
        ('{"quantization_config": {"bits": 4}}', "4bit"),
        ('{"quantization": "yes"}', ""),
        ("{}", ""),
    ],
)
def test_quantization(tmp_path, config, said):
    (facts,) = read_models([OfferedModel("a", folder(tmp_path / "a", config=config))])
    assert facts.quantization == said


def test_a_hash_is_taken_again_only_after_a_change(tmp_path, monkeypatch):
    taken = []

    def counted(directory):
        taken.append(directory)
        return weight_hash(directory)

    monkeypatch.setattr("provider.daemon.weight_hashes.weight_hash", counted)
    directory, hashes = folder(tmp_path / "a"), WeightHashes()
    assert hashes.refresh("a", directory)
    first = hashes.known("a")
    assert not hashes.refresh("a", directory)
    assert len(taken) == 1
    (directory / "model.safetensors").write_bytes(b"other weights")
    assert hashes.refresh("a", directory)
    assert hashes.known("a") == weight_hash(directory) != first
    os.utime(directory / "config.json", ns=(1, 1))
    assert not hashes.refresh("a", directory)
    assert len(taken) == 3


def test_a_model_that_changes_while_it_is_hashed_has_no_hash(tmp_path, monkeypatch):
    directory, hashes = folder(tmp_path / "a"), WeightHashes()

    def moving(path):
        (path / "model.safetensors").write_bytes(os.urandom(20))
        return weight_hash(path)

    hashes.refresh("a", directory)
    (directory / "model.safetensors").write_bytes(b"new")
    monkeypatch.setattr("provider.daemon.weight_hashes.weight_hash", moving)
    assert hashes.refresh("a", directory)
    assert hashes.known("a") == ""


def test_a_vanished_model_has_no_hash(tmp_path):
    hashes = WeightHashes()
    assert not hashes.refresh("a", tmp_path / "nowhere")
    assert hashes.known("a") == ""


def test_a_hash_is_forgotten_when_files_changed(tmp_path):
    directory, hashes = folder(tmp_path / "a"), WeightHashes()
    assert not hashes.drop_if_changed("a", directory)
    hashes.refresh("a", directory)
    assert not hashes.drop_if_changed("a", directory)
    (directory / "model.safetensors").write_bytes(b"other weights")
    assert hashes.drop_if_changed("a", directory)
    assert hashes.known("a") == ""
    assert not hashes.drop_if_changed("a", directory)
