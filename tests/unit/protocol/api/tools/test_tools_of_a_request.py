"""Tools, tool choice and tool history of a chat request, as a whole body."""

from __future__ import annotations

import json
from typing import Any

import pydantic
import pytest

from protocol.api import ApiError, ChatRequest, parse_chat_request
from protocol.api.tools import ToolChoice, read_choice
from protocol.api.tools.enforcement import MAX_NODES
from protocol.api.tools.schema import MARKER

MESSAGES: list[dict[str, Any]] = [{"role": "user", "content": "x"}]


class City(pydantic.BaseModel):
    name: str


class Trip(pydantic.BaseModel):
    start: City
    stops: list[City]
    note: str | None = None


def tool(name: str = "f", parameters: object = None) -> dict[str, Any]:
    function: dict[str, Any] = {"name": name}
    if parameters is not None:
        function["parameters"] = parameters
    return {"type": "function", "function": function}


def parse(**members: Any) -> ChatRequest:
    return parse_chat_request(json.dumps({"model": "m", "messages": MESSAGES} | members).encode())


def sent(**members: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(parse(**members).provider_body("b", 5))
    return found


def refused(**members: Any) -> tuple[int, str | None]:
    with pytest.raises(ApiError) as caught:
        parse(**members)
    return caught.value.status, caught.value.param


def of_property(schema: object) -> dict[str, Any]:
    return {"type": "object", "properties": {"x": schema}}


@pytest.mark.parametrize(
    ("value", "choice"),
    [
        (None, ToolChoice("auto")),
        ("auto", ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ({"type": "auto"}, ToolChoice("auto")),
        ({"type": "none"}, ToolChoice("none")),
        ({"type": "required"}, ToolChoice("required")),
        ({"type": "function", "function": {"name": "f"}}, ToolChoice("named", "f")),
        ({"type": "function", "name": "f"}, ToolChoice("named", "f")),
        ({"type": "function", "name": "f", "function": {"name": "f"}}, ToolChoice("named", "f")),
    ],
)
def test_choices(value: object, choice: ToolChoice) -> None:
    assert read_choice(value) == choice
    assert choice.forced == (choice.mode in ("required", "named"))


@pytest.mark.parametrize(
    "value",
    [
        "maybe",
        "function",
        7,
        [],
        {},
        {"type": "any"},
        {"type": "function"},
        {"type": "function", "function": {}},
        {"type": "function", "function": "f"},
        {"type": "function", "function": {"name": 7}},
        {"type": "function", "name": ""},
        {"type": "function", "name": "f", "function": {"name": "g"}},
        {"type": ["function"], "name": "f"},
    ],
)
def test_choices_that_are_none(value: object) -> None:
    assert refused(tools=[tool()], tool_choice=value) == (400, "tool_choice")


@pytest.mark.parametrize(
    ("tools", "param"),
    [
        ({}, "tools"),
        (["x"], "tools[0]"),
        ([tool()] * 65, "tools"),
        ([tool("f"), tool("f")], "tools"),
        ([tool("f"), tool("")], "tools[1].function.name"),
        ([tool("a b")], "tools[0].function.name"),
        ([tool("x" * 65)], "tools[0].function.name"),
        ([tool("é")], "tools[0].function.name"),
        ([{"type": "function"}], "tools[0].function.name"),
        ([{"type": "function", "function": None}], "tools[0].function.name"),
        ([{"type": "function", "function": {"name": 7}}], "tools[0].function.name"),
        ([tool("f", of_property({MARKER: True}))], "tools"),
    ],
)
def test_tools_that_are_none(tools: object, param: str) -> None:
    assert refused(tools=tools) == (400, param)


def test_hosted_tools_are_ignored_unless_a_call_is_forced() -> None:
    hosted = {"type": "web_search"}
    request = parse(tools=[hosted])
    assert (request.has_tools, request.forces_tool) == (False, False)
    assert parse(tools=[hosted, tool()]).has_tools
    assert refused(tools=[tool(), hosted], tool_choice="required") == (400, "tools[1]")


def test_a_forced_tool_must_be_declared() -> None:
    assert refused(tool_choice="required") == (400, "tool_choice")
    assert refused(tools=[], tool_choice="required") == (400, "tool_choice")
    assert refused(tools=[tool("f")], tool_choice={"type": "function", "name": "g"}) == (400, "tool_choice")
    assert parse(tools=[tool("f")], tool_choice={"type": "function", "name": "f"}).forces_tool


def test_no_tool_reaches_the_provider_if_none_may_be_called() -> None:
    body = sent(tools=[tool()], tool_choice="none", parallel_tool_calls=True)
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & body.keys()
    assert not parse(tools=[tool()], tool_choice="none").has_tools


def test_flat_tools_are_understood() -> None:
    flat = {"type": "function", "name": "f", "parameters": of_property({})}
    assert sent(tools=[flat])["tools"][0]["parameters"]["properties"]["x"]["type"] == "string"


def test_what_pydantic_writes_is_taken_in_every_mode() -> None:
    for choice in ("auto", "required", {"type": "function", "name": "f"}):
        body = sent(tools=[tool("f", Trip.model_json_schema())], tool_choice=choice)
        parameters = body["tools"][0]["function"]["parameters"]
        assert parameters["properties"]["start"]["properties"]["name"]["type"] == "string"
        assert parameters["properties"]["note"] == Trip.model_json_schema()["properties"]["note"] | {
            "type": "string",
            "nullable": True,
        }
        assert "$ref" not in json.dumps(parameters)


UNENFORCEABLE = [
    {"$ref": "https://example.com/s"},
    {"$ref": "#/nowhere"},
    {"$dynamicRef": "#x"},
    {"if": {}, "then": {}},
    {"dependentRequired": {}},
    {"dependencies": {}},
    {"propertyNames": {}},
    {"unevaluatedProperties": False},
    {"type": ["string", "integer"]},
    {"anyOf": [{"type": "string"}, {"type": "integer"}]},
    {"oneOf": [{"type": "string"}, {}]},
    {"enum": ["a", 1]},
    {"type": "string", "pattern": "^[a-z]+$"},
    {"type": "string", "pattern": "a" * 129},
    {"type": "object", "patternProperties": {f"p{index}": {} for index in range(33)}},
]


@pytest.mark.parametrize("schema", UNENFORCEABLE, ids=[next(iter(schema)) for schema in UNENFORCEABLE])
def test_what_cannot_be_enforced_is_refused_only_where_it_must_be(schema: dict[str, Any]) -> None:
    declared = [tool("f", of_property(schema)), tool("g", of_property({"type": "string"}))]
    assert parse(tools=declared).has_tools
    assert parse(tools=declared, tool_choice="none").fields
    assert parse(tools=declared, tool_choice={"type": "function", "name": "g"}).forces_tool
    assert refused(tools=declared, tool_choice="required") == (422, "tools")
    assert refused(tools=declared, tool_choice={"type": "function", "name": "f"}) == (422, "tools")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "^plain text$"},
        {"type": ["string", "null"]},
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
        {"enum": ["a", None]},
        {"type": "array", "items": {"type": "integer"}},
    ],
)
def test_what_can_be_enforced_passes(schema: dict[str, Any]) -> None:
    assert parse(tools=[tool("f", of_property(schema))], tool_choice="required").forces_tool


@pytest.mark.parametrize("choice", ["auto", "required"])
@pytest.mark.parametrize(
    "schema",
    [
        b'{"const":1e400}',
        b'{"enum":[1e400,"a"]}',
        b'{"type":1e400}',
        b'{"type":[{"a":1},["b"]]}',
        b'{"anyOf":[{"type":{}}]}',
        b'{"pattern":1e400}',
    ],
)
def test_schemas_that_nobody_understands_are_no_fault_of_ours(schema: bytes, choice: str) -> None:
    text = (
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"tool_choice":"%b","tools":[{"type":"function",'
        b'"function":{"name":"f","parameters":{"type":"object","properties":{"x":%b}}}}]}'
    ) % (choice.encode(), schema)
    try:
        fault = parse_chat_request(text).provider_body("b", 5) and None
    except ApiError as error:
        fault = (error.status, error.param)
    assert fault in ((None,) if choice == "auto" else (None, (422, "tools")))


def test_a_hosted_tool_may_have_any_name() -> None:
    text = (
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[{"type":"web_search","name":1e400},'
        b'{"type":"function","function":{"name":"f","parameters":{"$ref":"#/$defs/a","$defs":{"a":{}}}}}]}'
    )
    assert parse_chat_request(text).has_tools


def test_forced_schemas_are_bounded_in_depth_and_number() -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(40):
        deep = of_property(deep)
    assert refused(tools=[tool("f", deep)], tool_choice="required") == (422, "tools")
    assert parse(tools=[tool("f", deep)]).has_tools
    half = {"type": "object", "properties": {f"p{index}": {"type": "string"} for index in range(MAX_NODES // 2)}}
    assert parse(tools=[tool("f", half)], tool_choice="required").forces_tool
    assert refused(tools=[tool("f", half), tool("g", half)], tool_choice="required") == (422, "tools")


def test_a_deterministic_422_says_that_repeating_is_useless() -> None:
    with pytest.raises(ApiError) as caught:
        parse(tools=[tool("f", of_property({"if": {}}))], tool_choice="required")
    assert ("x-should-retry", "false") in caught.value.headers()


# --- history --------------------------------------------------------------------------------------------------------


def called(*ids: str, arguments: object = "{}") -> dict[str, Any]:
    calls = [{"id": one, "type": "function", "function": {"name": "f", "arguments": arguments}} for one in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def result(call_id: object) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": "42"}


def test_results_follow_their_calls() -> None:
    assert parse(messages=[*MESSAGES, called("a", "b"), result("b"), result("a"), *MESSAGES, result("a")])


@pytest.mark.parametrize(
    "messages",
    [
        [result("a")],
        [result("a"), called("a")],
        [called("a"), result("b")],
        [called("a"), result("")],
        [called("a"), result(None)],
        [called("a"), result(7)],
        [called("a"), {"role": "tool", "content": "42"}],
        [called("a", arguments={})],
        [called("a", arguments=None)],
        [{"role": "assistant", "tool_calls": {}}],
        [{"role": "assistant", "tool_calls": ["x"]}],
        [{"role": "assistant", "tool_calls": [{"id": "a"}]}],
    ],
)
def test_histories_that_do_not_fit_are_400(messages: list[Any]) -> None:
    assert refused(messages=[*MESSAGES, *messages]) == (400, "messages")


@pytest.mark.parametrize("role", ["developer", "critic", 7, None])
def test_roles_are_not_judged_here(role: object) -> None:
    assert sent(messages=[{"role": role, "content": "x"}])["messages"][0]["role"] == role


# --- older words ----------------------------------------------------------------------------------------------------


def test_functions_become_tools() -> None:
    function = {"name": "f", "parameters": of_property({"type": "string"})}
    body = sent(functions=[function], function_call={"name": "f"})
    assert body["tools"] == [{"type": "function", "function": function}]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert not {"functions", "function_call"} & body.keys()
    assert sent(functions=[function], function_call="auto")["tool_choice"] == "auto"
    assert "tools" not in sent(functions=[function], function_call="none")
    assert "tools" not in sent(functions=None, function_call=None)
    assert sent(functions=[function], tools=None)["tools"] == [{"type": "function", "function": function}]


def test_an_older_history_becomes_one_of_tools() -> None:
    body = sent(
        messages=[
            *MESSAGES,
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "1"},
            {"role": "assistant", "content": None, "function_call": {"name": "g", "arguments": "{}"}},
            {"role": "function", "name": "g", "content": "2"},
        ]
    )
    first, one, second, two = body["messages"][1:]
    assert first["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}
    assert (one["role"], one["tool_call_id"]) == ("tool", first["tool_calls"][0]["id"])
    assert (two["role"], two["tool_call_id"]) == ("tool", second["tool_calls"][0]["id"])
    assert first["tool_calls"][0]["id"] != second["tool_calls"][0]["id"]


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"functions": {}}, "functions"),
        ({"functions": [], "tools": []}, "functions"),
        ({"functions": [{"name": "f"}], "function_call": "always"}, "function_call"),
        ({"functions": [{"name": "f"}], "function_call": "auto", "tool_choice": "auto"}, "function_call"),
        ({"functions": [{"name": "f"}], "function_call": {"name": "g"}}, "tool_choice"),
        ({"functions": ["f"]}, "tools[0].function.name"),
    ],
)
def test_older_words_that_are_wrong(members: dict[str, Any], param: str) -> None:
    assert refused(**members) == (400, param)


def test_a_result_of_no_function_call_is_400() -> None:
    assert refused(messages=[*MESSAGES, {"role": "function", "name": "f", "content": "1"}]) == (400, "messages")
