import pytest

from provider.models.prompt import PromptRefused, encode_text, render_chat
from tests.testbed.byte_model import START, byte_model

HELLO = [{"role": "user", "content": "hello"}]


def test_template_adds_the_generation_header(tiny):
    prompt = render_chat(tiny, HELLO)
    text = tiny.tokenizer.decode(list(prompt.tokens))
    assert text == "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"


def test_special_tokens_of_the_template_are_single_ids(tiny):
    start = tiny.tokenizer.get_vocab()["<|im_start|>"]
    assert list(render_chat(tiny, HELLO).tokens).count(start) == 2


def test_template_error_is_refused_without_its_text(tiny):
    with pytest.raises(PromptRefused) as caught:
        render_chat(tiny, [{"role": "wizard", "content": "secret"}])
    assert caught.value.reason == "jinja_template"
    assert "secret" not in str(caught.value)
    assert "unknown role" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_null_content_is_its_own_reason(tiny):
    with pytest.raises(PromptRefused) as caught:
        render_chat(tiny, [{"role": "user", "content": None}])
    assert caught.value.reason == "jinja_null_bridge"


def test_arguments_cannot_replace_our_own(tiny):
    assert render_chat(tiny, HELLO, template_arguments={"add_generation_prompt": False}) == render_chat(tiny, HELLO)


def test_model_without_template_is_refused():
    model = byte_model()
    model.tokenizer.has_chat_template = False
    with pytest.raises(PromptRefused, match="chat template cannot render"):
        render_chat(model, HELLO)


def test_raw_text_gets_the_tokenizers_own_start():
    model = byte_model()
    assert encode_text(model, "a").tokens == (START, ord("a"))
    assert encode_text(model, "a", template=True).tokens == (ord("a"),)


SYSTEM = {"role": "system", "content": "You are a quick brown fox."}


def beginnings(model, messages):
    prompt = render_chat(model, messages, with_boundaries=True)
    assert prompt.tokens == render_chat(model, messages).tokens
    return [model.tokenizer.decode(list(prompt.tokens[:end])) for end in prompt.boundaries]


def test_shared_beginnings_end_with_the_system_prompt_and_before_the_header(tiny):
    system = "<|im_start|>system\nYou are a quick brown fox.<|im_end|>\n"
    assert beginnings(tiny, [SYSTEM, *HELLO]) == [
        system + "<|im_start|>user\n",
        system + "<|im_start|>user\nhello<|im_end|>\n",
    ]
    assert beginnings(tiny, HELLO) == ["<|im_start|>user\nhello<|im_end|>\n"]


def test_a_beginning_that_the_template_refuses_is_left_out():
    model = byte_model()

    def render(messages, *, add_generation_prompt, **_):
        if not add_generation_prompt and messages[-1]["content"] == "":
            raise ValueError("say something")
        return "".join(message["content"] for message in messages) + ">" * add_generation_prompt

    model.tokenizer.has_chat_template, model.tokenizer.apply_chat_template = True, render
    assert render_chat(model, [{"role": "system", "content": "ab"}, *HELLO], with_boundaries=True).boundaries == (7,)


def test_one_token_is_left_to_compute_where_a_template_has_no_header():
    model = byte_model()
    model.tokenizer.has_chat_template = True
    model.tokenizer.apply_chat_template = lambda messages, **_: messages[-1]["content"]
    assert render_chat(model, HELLO, with_boundaries=True).boundaries == (4,)
