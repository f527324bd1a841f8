"""The committed weights of the demo model answer questions that they were never trained on."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import mlx_lm
from mlx.utils import tree_flatten

from provider.demo import DEMO_MODEL_ID, demo_model_path
from provider.demo.training.corpus import FALLBACK, Topic
from provider.demo.training.judge import Judged, judge_model, right_share
from tests.conftest import FULL

MIB = 1024 * 1024


def _describe(entries: list[Judged]) -> str:
    return "\n".join(f"{entry.asked} -> {entry.answered}: {entry.prompt!r} => {entry.text!r}" for entry in entries)


def _greedy(messages: list[dict[str, str]], *, max_tokens: int = 96) -> str:
    model, tokenizer = mlx_lm.load(str(demo_model_path()))[:2]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
    text: str = mlx_lm.generate(model, tokenizer, prompt, max_tokens=max_tokens)
    return text


def test_unseen_phrasings_find_their_topic(judged: list[Judged]) -> None:
    wrong = [entry for entry in judged if entry.asked not in (FALLBACK, entry.answered)]
    assert right_share(judged, fallback=False) >= 0.80, _describe(wrong)


def test_off_topic_prompts_get_the_fallback(judged: list[Judged]) -> None:
    wrong = [entry for entry in judged if entry.asked == FALLBACK != entry.answered]
    assert right_share(judged, fallback=True) >= 0.95, _describe(wrong)


def test_every_answer_is_a_known_answer(judged: list[Judged]) -> None:
    salad = [entry for entry in judged if entry.ratio < 0.9]
    assert not salad, _describe(salad)


def test_folder_stays_below_four_mebibytes(demo_folder: Path) -> None:
    files = [path for path in demo_folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) <= 4 * MIB


def test_weights_are_one_million_bfloat16_parameters() -> None:
    model = mlx_lm.load(str(demo_model_path()))[0]
    arrays = [value for _, value in tree_flatten(model.parameters())]
    assert {value.dtype for value in arrays} == {mx.bfloat16}
    assert 0.8e6 <= sum(value.size for value in arrays) <= 1.2e6


def test_config_is_a_llama_with_room_for_4096_tokens() -> None:
    config = json.loads((demo_model_path() / "config.json").read_text())
    assert config["model_type"] == "llama"
    assert config["max_position_embeddings"] >= 4096


def test_model_directory_has_the_hugging_face_layout() -> None:
    assert {path.name for path in demo_model_path().iterdir()} == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert DEMO_MODEL_ID == "darkbloom-demo"


def test_system_message_leaves_most_answers_as_they_are(asked: tuple[Topic, ...], answers: dict[str, str]) -> None:
    system = {"role": "system", "content": "You are a helpful assistant."}
    half = [Topic(topic.name, "", topic.phrasings[::2]) for topic in (asked if FULL else asked[::2])]
    judged = judge_model(demo_model_path(), half, answers, before=[system], max_tokens=16)
    assert right_share(judged, fallback=False) >= 0.80
    assert right_share(judged, fallback=True) >= 0.90


def test_second_question_of_a_dialogue_gets_its_own_answer(answers: dict[str, str]) -> None:
    messages = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": answers["greeting"]},
        {"role": "user", "content": "How do I start a provider?"},
    ]
    assert _greedy(messages) == answers["start_provider"]


def test_prompt_far_beyond_the_trained_lengths_is_answered() -> None:
    assert _greedy([{"role": "user", "content": "the cat sat on the mat " * 60}], max_tokens=2)
