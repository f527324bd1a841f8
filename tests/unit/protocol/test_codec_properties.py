"""Properties of the frame codec: the scanner is never wrong, both paths agree, hostile bytes never crash."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import native
from native import pure
from protocol.codec import FrameRejected, decode_from_provider, encode
from protocol.messages import from_provider as f

KEYS = st.sampled_from(
    [
        "type",
        "Type",
        "TYPE",
        "tYpe",
        "status",
        "active_model",
        "stats",
        "warm_models",
        "models",
        "system_metrics",
        "x",
        "",
    ]
) | st.text(max_size=6)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**70), max_value=2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["heartbeat", "register", "type", "", "cancel"])
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)
SCANNERS = [native.scan_type, pure.scan_type]


def written(members: list[tuple[str, Any]], *, ascii_only: bool, space: str) -> bytes:
    """Write an object whose keys may repeat, which no dict could hold."""
    body = f",{space}".join(
        f"{json.dumps(key, ensure_ascii=ascii_only)}{space}:{json.dumps(value, ensure_ascii=ascii_only)}"
        for key, value in members
    )
    return f"{space}{{{body}{space}}}".encode()


OBJECTS = st.builds(
    written,
    st.lists(st.tuples(KEYS, VALUES), max_size=6),
    ascii_only=st.booleans(),
    space=st.sampled_from(["", " ", "\n\t"]),
)


def strict_type(payload: bytes) -> object:
    """The last top-level member that folds to `type`, by a strict parser; `...` when the text is no strict object."""

    def refuse(_: str) -> None:
        raise ValueError

    try:
        pairs = json.loads(payload.decode(), object_pairs_hook=list, parse_constant=refuse)
    except (ValueError, RecursionError):
        return ...
    if not payload.strip(b" \t\r\n").startswith(b"{"):
        return ...
    found = [value for key, value in pairs if key.isascii() and key.lower() == "type"]
    return found[-1] if found else None


@pytest.mark.parametrize("scan", SCANNERS)
@given(
    payload=OBJECTS | st.binary(max_size=60) | st.text(alphabet='{}[]",:\\typeTYPE 1\n', max_size=40).map(str.encode)
)
def test_scanner_is_never_wrong(scan: Any, payload: bytes) -> None:
    span = scan(payload)
    expected = strict_type(payload)
    if span is not None and expected is not ...:
        assert payload[span[0] : span[1]].decode() == expected


def outcome(payload: bytes) -> object:
    try:
        return encode(decode_from_provider(payload))
    except FrameRejected as rejected:
        return rejected.kind


@given(
    st.sampled_from([message.TYPE for message in f.FROM_PROVIDER]),
    st.dictionaries(
        st.sampled_from(sorted({name for message in f.FROM_PROVIDER for name in message.__struct_fields__})),
        VALUES,
        max_size=5,
    ),
)
def test_both_paths_give_the_same_message(name: str, members: dict[str, Any]) -> None:
    members.pop("attestation", None)
    members.pop("profile", None)
    body = json.dumps(members)[1:]
    comma = "," if members else ""
    plain = f'{{"type":"{name}"{comma}{body}'.encode()
    folded = f'{{"Type":"{name}"{comma}{body}'.encode()
    assert native.scan_type(plain) is not None
    assert native.scan_type(folded) is None
    assert outcome(plain) == outcome(folded)


def structs(message: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Any message of a type, raw members left out."""
    fields = [field for field in msgspec.structs.fields(message) if field.type is not msgspec.Raw]
    return st.builds(message, **{field.name: values_of(field.type) for field in fields})


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    info = msgspec.inspect.type_info(kind)
    return values_of_info(info)


def values_of_info(info: Any) -> st.SearchStrategy[Any]:
    match info:
        case msgspec.inspect.UnionType():
            return st.one_of([values_of_info(member) for member in info.types])
        case msgspec.inspect.NoneType():
            return st.none()
        case msgspec.inspect.BoolType():
            return st.booleans()
        case msgspec.inspect.IntType():
            return st.integers(min_value=info.ge, max_value=info.le)
        case msgspec.inspect.FloatType():
            return st.floats(allow_nan=False, allow_infinity=False)
        case msgspec.inspect.StrType():
            return st.text(st.characters(codec="utf-8"), max_size=12)
        case msgspec.inspect.LiteralType():
            return st.sampled_from(info.values)
        case msgspec.inspect.VarTupleType():
            return st.lists(values_of_info(info.item_type), max_size=3).map(tuple)
        case msgspec.inspect.DictType():
            text = st.text(st.characters(codec="utf-8"), max_size=6)
            return st.dictionaries(text, text, max_size=3)
        case msgspec.inspect.StructType():
            return structs(info.cls)
        case _:
            raise AssertionError(info)


@pytest.mark.parametrize("message", f.FROM_PROVIDER, ids=lambda message: message.TYPE)
@given(data=st.data())
def test_every_message_survives_the_round_trip(message: Any, data: st.DataObject) -> None:
    original = data.draw(structs(message))
    assert decode_from_provider(encode(original)) == original


@given(st.binary(max_size=200))
def test_hostile_bytes_end_in_a_rejection(payload: bytes) -> None:
    assert outcome(payload) in {"malformed", "type", "unknown", "invalid"}
