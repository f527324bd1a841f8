import random

import pytest

from provider.engine.detokenise import ByteDetokeniser, WindowDetokeniser, make_detokeniser
from provider.engine.vocabulary import build_vocabulary
from tests.conftest import FULL
from tests.testbed.needs import module

tokenizers = module("tokenizers")

TEXT = "héllo 😀 wörld €"
SAMPLES = ["hello world, the running fox", TEXT, "日本語 テスト Привет", "  two  spaces\n\ttab", "a,b;c! can't"] * 3


def byte_level():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|end|>", "<|start|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SAMPLES, trainer)
    tokenizer.add_tokens(["<tool>", "naïve Wort"])
    return tokenizer


def sentencepiece(*, strip):
    from tokenizers import AddedToken, Tokenizer, decoders, models

    words = ["▁", "▁hello", "▁wor", "ld", "h", "é", "l", "o", "▁▁", "w", "ö", "r", "d", "▁the"]
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2}
    vocabulary.update({f"<0x{value:02X}>": 3 + value for value in range(256)})
    vocabulary.update({word: 259 + place for place, word in enumerate(words)})
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True))
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if strip:
        steps.append(decoders.Strip(" ", 1, 0))
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.add_special_tokens([AddedToken(word, special=True) for word in ("<unk>", "<s>", "</s>")])
    return tokenizer


def word_piece():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    words = ["[UNK]", "[SEP]", "hello", "##s", "wor", "##ld", ",", "!", "a", "##b", "don", "'", "t"]
    tokenizer = Tokenizer(models.WordPiece({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    tokenizer.add_special_tokens(["[SEP]"])
    return tokenizer


KINDS = {
    "byte_level": byte_level,
    "sentencepiece_strip": lambda: sentencepiece(strip=True),
    "sentencepiece": lambda: sentencepiece(strip=False),
    "word_piece": word_piece,
}


def pieces_of(vocabulary, ids):
    detokeniser = make_detokeniser(vocabulary)
    return [*(detokeniser.add(token) for token in ids), detokeniser.flush()]


@pytest.mark.parametrize("kind", KINDS)
def test_random_sequences_equal_the_one_shot_decode(kind):
    tokenizer = KINDS[kind]()
    vocabulary = build_vocabulary(tokenizer)
    chance = random.Random(11)
    rounds = 2_000 if kind == "word_piece" and not FULL else 10_000
    for _ in range(rounds):
        ids = [chance.randrange(tokenizer.get_vocab_size()) for _ in range(chance.randrange(1, 24))]
        assert "".join(pieces_of(vocabulary, ids)) == tokenizer.decode(ids, skip_special_tokens=True), ids


def test_long_window_sequence_equals_the_one_shot_decode():
    tokenizer = word_piece()
    chance = random.Random(5)
    ids = [chance.randrange(tokenizer.get_vocab_size()) for _ in range(500)]
    assert "".join(pieces_of(build_vocabulary(tokenizer), ids)) == tokenizer.decode(ids)


@pytest.mark.parametrize("kind", ["byte_level", "sentencepiece_strip"])
def test_text_round_trips_without_half_characters(kind):
    tokenizer = KINDS[kind]()
    ids = list(tokenizer.encode(TEXT).ids) if kind == "byte_level" else [3 + byte for byte in TEXT.encode()]
    pieces = pieces_of(build_vocabulary(tokenizer), ids)
    assert "".join(pieces) == TEXT
    assert not any("\ufffd" in piece for piece in pieces)


def test_stopping_inside_a_character_gives_one_replacement():
    vocabulary = build_vocabulary(byte_level())
    emoji = [vocabulary.pieces.index(bytes([byte])) for byte in "😀".encode()]
    assert pieces_of(vocabulary, emoji[:3]) == ["", "", "", "\ufffd"]


def test_leading_space_is_kept_by_byte_level():
    tokenizer = byte_level()
    assert "".join(pieces_of(build_vocabulary(tokenizer), tokenizer.encode(" hello").ids)) == " hello"


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_tokens_can_be_shown_to_a_reader(kind):
    tokenizer = KINDS[kind]()
    vocabulary = build_vocabulary(tokenizer)
    token = min(vocabulary.hidden)
    name = tokenizer.id_to_token(token)
    shown = vocabulary.showing({token})
    other = next(i for i in range(vocabulary.size) if i not in vocabulary.hidden and vocabulary.decode([i]).isalpha())
    assert name not in "".join(pieces_of(vocabulary, [other, token, other]))
    assert name in "".join(pieces_of(shown, [other, token, other]))
    assert vocabulary.showing({other}) is vocabulary


def test_hidden_and_unknown_ids_add_nothing():
    tokenizer = byte_level()
    vocabulary = build_vocabulary(tokenizer, [5])
    special = tokenizer.token_to_id("<|end|>")
    assert pieces_of(vocabulary, [special, 5, vocabulary.size, vocabulary.size + 100]) == [""] * 5


def test_kind_decides_the_detokeniser():
    assert isinstance(make_detokeniser(build_vocabulary(byte_level())), ByteDetokeniser)
    assert isinstance(make_detokeniser(build_vocabulary(word_piece())), WindowDetokeniser)
