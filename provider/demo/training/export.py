"""Writes a trained network as a model directory in Hugging Face layout, the form that mlx-lm loads."""

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
from tokenizers import Tokenizer

from provider.demo.training.network import NetworkShape, Parameters
from provider.demo.training.vocabulary import CHAT_TEMPLATE, END, PAD, SPECIAL_TOKENS, special_id

CONTEXT_TOKENS = 4096


def export_model(folder: Path, shape: NetworkShape, params: Parameters, tokenizer: Tokenizer) -> None:
    """Write weights (bfloat16), configuration, tokenizer and chat template into `folder`, replacing what is there."""
    folder.mkdir(parents=True, exist_ok=True)
    end, pad = special_id(tokenizer, END), special_id(tokenizer, PAD)
    config: dict[str, Any] = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.num_hidden_layers,
        "num_attention_heads": shape.num_attention_heads,
        "num_key_value_heads": shape.num_attention_heads,
        "head_dim": shape.head_size,
        "hidden_act": "silu",
        "rms_norm_eps": shape.rms_norm_eps,
        "rope_theta": shape.rope_theta,
        "max_position_embeddings": CONTEXT_TOKENS,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": end,
        "pad_token_id": pad,
        "torch_dtype": "bfloat16",
    }
    tokenizer_config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": CONTEXT_TOKENS,
        "clean_up_tokenization_spaces": False,
        "eos_token": END,
        "pad_token": PAD,
        "additional_special_tokens": [token for token in SPECIAL_TOKENS if token not in (END, PAD)],
        "chat_template": CHAT_TEMPLATE,
    }
    generation: dict[str, Any] = {"do_sample": False, "temperature": 0.0, "eos_token_id": end, "pad_token_id": pad}
    _write_json(folder / "config.json", config)
    _write_json(folder / "tokenizer_config.json", tokenizer_config)
    _write_json(folder / "generation_config.json", generation)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    arrays = {name: mx.array(value).astype(mx.bfloat16) for name, value in params.items()}
    mx.save_safetensors(str(folder / "model.safetensors"), arrays, metadata={"format": "mlx"})


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
