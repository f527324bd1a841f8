"""The self-check of chat templates: three verdicts, and no template that can hurt us."""

import json

import pytest

from provider.models.templates.cases import text_cases, vision_cases
from provider.models.templates.checker import TemplateChecker
from provider.models.templates.rendering import check_templates
from provider.models.templates.shipped import ShippedTemplates, read_templates
from tests.testbed.tiny_model import CHAT_TEMPLATE

SIMPLE = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
TOOLS = (
    "{% for tool in tools or [] %}{{ tool | tojson }}"
    "{% for name, leaf in tool.function.parameters.properties.items() %}"
    "{{ name }} {{ leaf.type.upper() }} {{ leaf.enum | default([]) | join('|') }}{% endfor %}{% endfor %}"
    "{% for message in messages %}{{ message.content }}"
    "{% for call in message.tool_calls or [] %}{{ call.function.arguments.items() | list }}{% endfor %}{% endfor %}"
)


def builtin(cases):
    import msgspec

    return msgspec.to_builtins(cases)


def verdict(template, cases=None):
    return check_templates([template], template, template, {}, builtin(cases or text_cases()))


@pytest.fixture(scope="module")
def checker():
    with TemplateChecker() as checker:
        yield checker


@pytest.mark.parametrize(
    "template",
    [
        SIMPLE,
        TOOLS,
        CHAT_TEMPLATE,
        "{{ bos_token }}{{ eos_token }}" + SIMPLE,
        "{{ strftime_now('%Y') }}{% generation %}x{% endgeneration %}" + SIMPLE,
        "{% for message in messages %}{% if loop.first %}{% continue %}{% endif %}{{ message.content }}{% endfor %}",
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + SIMPLE,
    ],
)
def test_templates_that_work(template):
    assert verdict(template) is True


@pytest.mark.parametrize(
    "template",
    [
        "{% for %}",
        "{{ unknown.member }}",
        "{{ messages[99].content.upper() }}",
        "{{ raise_exception('never') }}",
        "{% for message in messages %}{{ message.content.upper().missing.x }}{% endfor %}",
        "{{ messages.append(1) }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ 1 // 0 }}",
    ],
)
def test_templates_that_do_not(template):
    assert verdict(template) is False


def test_leaf_without_a_type_renders_only_because_schemas_are_completed():
    raw = [{"messages": [{"role": "user", "content": "x"}], "tools": [raw_tool()], "may_refuse": True}]
    assert check_templates([TOOLS], TOOLS, TOOLS, {}, raw) is False
    assert verdict(TOOLS) is True


def raw_tool():
    return {"function": {"name": "f", "parameters": {"properties": {"city": {"description": "no type"}}}}}


def test_all_named_templates_must_compile_and_the_tool_template_is_used_for_tools(tmp_path):
    named = [{"name": "default", "template": SIMPLE}, {"name": "tool_use", "template": "{{ tools[0].function.name }}"}]
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"chat_template": named, "bos_token": {"content": "<s>"}})
    )
    shipped = read_templates(tmp_path)
    assert shipped.plain == SIMPLE
    assert shipped.tools == "{{ tools[0].function.name }}"
    assert shipped.tokens["bos_token"] == "<s>"
    assert check_templates(shipped.all, shipped.plain, shipped.tools, shipped.tokens, builtin(text_cases())) is True
    assert check_templates([*shipped.all, "{% for %}"], SIMPLE, SIMPLE, {}, []) is False
    assert check_templates([None], None, None, {}, []) is False


def test_own_file_wins_over_the_tokenizers_configuration(tmp_path):
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ broken.x }}"}))
    (tmp_path / "chat_template.jinja").write_text(SIMPLE)
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": SIMPLE}))
    shipped = read_templates(tmp_path)
    assert shipped.plain == shipped.tools == SIMPLE
    assert len(shipped.all) == 3


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"chat_template": null}'])
def test_folder_without_a_template_gives_no_verdict(tmp_path, checker, content):
    (tmp_path / "tokenizer_config.json").write_text(content)
    assert checker.check_folder(tmp_path) is None


@pytest.mark.parametrize("stated", [7, {"a": 1}, [7], [{"name": "default"}]])
def test_template_of_a_wrong_type_is_broken(tmp_path, checker, stated):
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": stated}))
    assert checker.check_folder(tmp_path) is False


def test_child_gives_the_same_verdicts(tmp_path, checker):
    (tmp_path / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    assert checker.check_folder(tmp_path) is True
    (tmp_path / "chat_template.jinja").write_text("{% for %}")
    assert checker.check_folder(tmp_path) is False


def test_images_are_tried_only_with_models_that_see(tmp_path, checker):
    blind = "{% for message in messages %}{{ message.content.strip() }}{% endfor %}"
    (tmp_path / "chat_template.jinja").write_text(blind)
    assert checker.check_folder(tmp_path) is True
    assert checker.check_folder(tmp_path, is_vision=True) is False
    assert len(vision_cases()) == 2


def test_template_without_end_or_with_endless_memory_is_broken_and_the_next_one_is_judged():
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    with TemplateChecker(limit_seconds=0.3) as checker:
        assert checker.check(ShippedTemplates((endless,), endless, endless)) is False
        huge = "{{ 'x' * 10 ** 10 }}"
        assert checker.check(ShippedTemplates((huge,), huge, huge)) is False
    with TemplateChecker() as checker:
        assert checker.check(ShippedTemplates((SIMPLE,), SIMPLE, SIMPLE)) is True


def test_same_content_is_rendered_once(checker, monkeypatch):
    shipped = ShippedTemplates((SIMPLE + "once",), SIMPLE + "once", SIMPLE + "once")
    assert checker.check(shipped) is True
    monkeypatch.setattr(checker, "_ask", lambda _shipped: pytest.fail("asked again"))
    assert checker.check(shipped) is True


def test_without_a_child_nothing_is_known(monkeypatch):
    def refuse(*_arguments, **_keywords):
        raise PermissionError("no programs")

    monkeypatch.setattr("subprocess.Popen", refuse)
    with TemplateChecker() as checker:
        assert checker.check(ShippedTemplates((SIMPLE,), SIMPLE, SIMPLE)) is None
