"""What the files of a model folder say about the model, without reading its weights."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import msgspec

from protocol.weight_hash import WEIGHT_SUFFIXES
from provider.memory.policy import GIB, padded_weights

MAX_CONFIG_BYTES: Final = 4 * 1024 * 1024
_NAMED: Final = (
    (("4bit", "q4", "int4"), "4bit"),
    (("8bit", "q8", "int8"), "8bit"),
    (("3bit", "q3"), "3bit"),
    (("bf16",), "bf16"),
    (("fp16", "f16"), "fp16"),
)
_WIDE_TYPES: Final = ("float32", "fp32")


class FolderUnusable(Exception):
    """A folder holds no model; the text says why, as the second half of a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """One model on disk. `quantization` is for example `4bit`, or ""; numbers are 0 where the configuration is silent.

    `kv_bytes_per_token` is for attention in every layer, before a sliding window saves any of it.
    `template_render_ok` None means that there is no chat template or that nothing could be found out.
    """

    model_id: str
    directory: Path
    disk_bytes: int
    model_type: str = ""
    quantization: str = ""
    is_vision: bool = False
    has_own_code: bool = False
    context_tokens: int = 0
    layers: int = 0
    kv_bytes_per_token: int = 0
    template_render_ok: bool | None = None

    @property
    def estimated_memory_gb(self) -> float:
        """GiB that the weights take in memory, as the load gate counts them."""
        return padded_weights(self.disk_bytes) / GIB


def read_facts(model_id: str, directory: Path) -> ModelFacts:
    """Read one folder; only sizes of weights are looked at. Raises `FolderUnusable`."""
    config = read_config(directory)
    disk_bytes = weight_bytes(directory)
    if disk_bytes <= 0:
        raise FolderUnusable("it holds no weights (*.safetensors, *.npz, *.bin)")
    section = text_section(config)
    return ModelFacts(
        model_id=model_id,
        directory=directory,
        disk_bytes=disk_bytes,
        model_type=str(config.get("model_type", "")),
        quantization=quantization_of(model_id, config, directory),
        is_vision="vision_config" in config,
        has_own_code=bool(config.get("model_file")),
        context_tokens=_whole(section, "max_position_embeddings"),
        layers=_whole(section, "num_hidden_layers"),
        kv_bytes_per_token=_kv_bytes_per_token(section),
    )


def read_config(directory: Path) -> dict[str, object]:
    """Read `config.json`; raises `FolderUnusable`."""
    content = read_small(directory / "config.json")
    if content is None:
        raise FolderUnusable("it holds no config.json")
    config = _object(content)
    if config is None:
        raise FolderUnusable("its config.json is no JSON object")
    return config


def read_small(path: Path) -> bytes | None:
    """Read a configuration file of sane size; None when it is missing, unreadable or too large."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CONFIG_BYTES + 1)
    except OSError:
        return None
    return content if len(content) <= MAX_CONFIG_BYTES else None


def weight_bytes(directory: Path) -> int:
    """Sum the sizes of all weight files, links followed, hidden entries not; raises `FolderUnusable`."""
    total = 0
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    total += weight_bytes(Path(entry.path))
                elif entry.name.endswith(WEIGHT_SUFFIXES):
                    total += entry.stat().st_size
    except OSError as error:
        raise FolderUnusable(f"a file of it cannot be read ({error.strerror})") from None
    return total


def quantization_of(model_id: str, config: Mapping[str, object], directory: Path) -> str:
    """Name the number format of the weights: from the model's name, else from its configuration."""
    name = model_id.rpartition("/")[2].lower()
    for words, label in _NAMED:
        if any(word in name for word in words):
            return label
    for section in (config.get("quantization"), config.get("quantization_config")):
        if bits := _bits(section):
            return bits
    content = read_small(directory / "quantize_config.json")
    return _bits(_object(content)) if content is not None else ""


def text_section(config: Mapping[str, object]) -> Mapping[str, object]:
    """Give the configuration of the language part, where a model has several."""
    text = config.get("text_config")
    return {**config, **cast(Mapping[str, object], text)} if isinstance(text, dict) else config


def _bits(section: object) -> str:
    bits = section.get("bits") if isinstance(section, dict) else None
    return f"{bits}bit" if isinstance(bits, int) else ""


def _kv_bytes_per_token(section: Mapping[str, object]) -> int:
    heads = _whole(section, "num_attention_heads")
    kv_heads = _whole(section, "num_key_value_heads") or heads
    head_size = _whole(section, "head_dim") or (_whole(section, "hidden_size") // heads if heads else 0)
    stated = section.get("torch_dtype", section.get("dtype"))
    return 2 * _whole(section, "num_hidden_layers") * kv_heads * head_size * (4 if stated in _WIDE_TYPES else 2)


def _whole(section: Mapping[str, object], name: str) -> int:
    value = section.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _object(content: bytes) -> dict[str, object] | None:
    try:
        decoded: object = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return cast(dict[str, object], decoded) if isinstance(decoded, dict) else None
