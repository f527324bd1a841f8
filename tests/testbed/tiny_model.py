"""Builds a random llama model of at most a million parameters, with byte-level BPE tokenizer and chat template."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>")

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role not in ['system', 'user', 'assistant', 'tool'] %}"
    "{{ raise_exception('unknown role') }}{% endif %}"
    "{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

CORPUS = (
    "The quick brown fox jumps over the lazy dog while the running river keeps singing.",
    "Hello world! How are you today? I am fine, thank you, and you?",
    "héllo 😀 wörld €, naïve café, größer, 日本語 テスト, Привет мир.",
    "def main() -> None:\n    print('hello')\n    return 1 + 2 * 3\n",
    '{"name": "get_weather", "arguments": {"city": "Paris"}}',
    "Numbers 0 1 2 3 4 5 6 7 8 9 10 100 1000, dates 2024-01-02, and punctuation: ;,.!?()[]{}",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyShape:
    """Sizes of the random model; the defaults give about 0.5 M parameters."""

    hidden_size: int = 96
    intermediate_size: int = 256
    num_hidden_layers: int = 3
    num_attention_heads: int = 4
    num_key_value_heads: int = 4
    max_position_embeddings: int = 4096


TINY = TinyShape()
EIGHT_MILLION = TinyShape(
    hidden_size=256, intermediate_size=1152, num_hidden_layers=7, num_attention_heads=8, num_key_value_heads=8
)
"""About 8 M parameters, for the throughput benchmark only."""


def build_tiny_model(
    directory: Path, *, shape: TinyShape = TINY, vocabulary: int = 512, seed: int = 7, dtype: str = "float32"
) -> Path:
    """Write a loadable model directory (config, tokenizer, template, weights) and return it.

    The weights are random but the same for the same arguments. Takes well under a second for the default shape.
    """
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.models import llama

    directory.mkdir(parents=True, exist_ok=True)
    size, ids = _write_tokenizer(directory, vocabulary)
    config: dict[str, object] = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": size,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "torch_dtype": dtype,
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        **asdict(shape),
    }
    (directory / "config.json").write_text(json.dumps(config, indent=1))
    (directory / "generation_config.json").write_text(
        json.dumps({"eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]]})
    )
    model = llama.Model(llama.ModelArgs.from_dict(config))
    key = mx.random.key(seed)
    weights = {}
    for name, value in tree_flatten(model.parameters()):
        key, part = mx.random.split(key)
        weight = (
            mx.ones(value.shape) if name.endswith("norm.weight") else mx.random.normal(value.shape, key=part) * 0.09
        )
        weights[name] = weight.astype(getattr(mx, dtype))
    mx.eval(weights)
    mx.save_safetensors(str(directory / "model.safetensors"), weights, metadata={"format": "mlx"})
    return directory


def _write_tokenizer(directory: Path, vocabulary: int) -> tuple[int, dict[str, int]]:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 4, trainer)
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": 4096,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(settings, indent=1))
    return tokenizer.get_vocab_size(), {token: number for number, token in enumerate(SPECIAL_TOKENS)}
