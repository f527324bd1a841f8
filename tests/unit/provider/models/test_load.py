import json
from dataclasses import replace

import pytest

from provider.models.load import LoadFailed, context_tokens, load_model
from tests.testbed.needs import module


def test_loaded_model_has_its_numbers(tiny):
    assert tiny.kv_bytes_per_token == 2 * 3 * 4 * 24 * 4
    assert tiny.kv_bytes_per_row == 0
    assert tiny.context_tokens == 4096
    assert tiny.batchable
    assert tiny.weight_bytes < 4_000_000
    assert tiny.logits_size == tiny.vocabulary.size
    assert tiny.load_time_ms > 0


def test_end_tokens_come_from_all_sources(tiny):
    vocabulary = tiny.tokenizer.get_vocab()
    assert tiny.eos_ids == {vocabulary["<|im_end|>"], vocabulary["<|endoftext|>"]}


def test_broken_generation_config_is_no_obstacle(tiny_directory, tiny, tmp_path):
    from provider.models.load import end_tokens

    (tmp_path / "generation_config.json").write_text("{")
    assert end_tokens(tiny.tokenizer, tmp_path) <= tiny.eos_ids
    (tmp_path / "generation_config.json").write_text("[]")
    assert end_tokens(tiny.tokenizer, tmp_path) <= tiny.eos_ids
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": 77}))
    assert 77 in end_tokens(tiny.tokenizer, tmp_path)


def test_missing_directory_names_itself(tmp_path):
    with pytest.raises(LoadFailed, match="is not a directory; download the model demo first"):
        load_model("demo", tmp_path / "none")


def test_directory_without_weights_is_refused(tmp_path, tiny_directory):
    module("mlx.core")
    (tmp_path / "config.json").write_text((tiny_directory / "config.json").read_text())
    with pytest.raises(LoadFailed, match="cannot be loaded"):
        load_model("demo", tmp_path)


@pytest.mark.parametrize(
    ("config", "tokenizer", "registry", "context"),
    [
        ({"max_position_embeddings": 4096}, 10**30, None, 4096),
        ({"max_position_embeddings": 4096}, 2048, None, 2048),
        ({"max_position_embeddings": 4096}, 2048, 1000, 1000),
        ({"max_position_embeddings": 4096, "rope_scaling": {"rope_type": "linear", "factor": 4.0}}, 1e30, None, 16384),
        (
            {"max_position_embeddings": 131072, "rope_scaling": {"rope_type": "llama3", "factor": 32}},
            1e30,
            None,
            131072,
        ),
        ({"text_config": {"max_position_embeddings": 512}}, 1e30, None, 512),
        ({}, 1e30, None, 4096),
    ],
)
def test_context_is_the_smallest_limit(config, tokenizer, registry, context):
    assert context_tokens(config, tokenizer, registry) == context


def test_models_are_plain_records(tiny):
    assert replace(tiny, model_id="other").model_id == "other"
    assert "network" not in repr(tiny)
