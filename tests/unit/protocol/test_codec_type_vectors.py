"""The type column of the scanner's vectors: what the whole decode makes of each input."""

import pytest

from protocol.codec import FrameRejected, decode_from_provider
from protocol.messages.from_provider import Heartbeat, InferenceResponseChunk, Register

HB, REG, CHUNK = Heartbeat, Register, InferenceResponseChunk

VECTORS: list[tuple[str, bytes, object]] = [
    ("1", b'{"type":"heartbeat","status":"idle"}', HB),
    ("2", b'{"type":"register"}', REG),
    # The type is found; an array is no model entry, so the concrete message is then refused.
    ("3", b'{"stats":{"type":"decoy","n":1},"models":[{"type":"inner"},["type",2]],"type":"register"}', "invalid"),
    ("3b", b'{"stats":{"type":"decoy","n":1},"extra":[{"type":"inner"},["type",2]],"type":"register"}', REG),
    ("4", b'{"warm_models":["type","typewriter"],"type":"heartbeat"}', HB),
    ("5", b'{"a":1,"b":-2.5,"c":1e10,"d":2.5E-3,"e":true,"f":false,"g":null,"type":"heartbeat"}', HB),
    ("6", rb'{"note":"say \"hi\" \\ done","type":"heartbeat"}', HB),
    ("7", rb'{"note":"\\","type":"heartbeat"}', HB),
    ("8", rb'{"note":"a\\\"b","type":"heartbeat"}', HB),
    ("9", rb'{"a":"{[}]\"{","type":"cancel"}', "unknown"),
    ("10", b'{"a":{"b":"}","c":[1,2,{"d":"]"}]},"type":"heartbeat"}', HB),
    ("11", b'{"a":1,"a":2,"type":"heartbeat"}', HB),
    (
        "12",
        rb'{"type":"inference_response_chunk","request_id":"r",'
        rb'"encrypted_data":{"ephemeral_public_key":"A\/B=","ciphertext":"C\/D="}}',
        CHUNK,
    ),
    ("13", b'{"typ":"x","type":"heartbeat","types":"y"}', HB),
    ("14", b'{"type ":"x","type":"heartbeat"}', HB),
    ("15", b'{"":"","type":"heartbeat"}', HB),
    ("16", b'{"type":""}', "unknown"),
    ("17", b'{"type":"no_such_type"}', "unknown"),
    ("18", b'{"type":"heartbeat "}', "unknown"),
    ("19", b'{"type":"Heartbeat"}', "unknown"),
    ("20", b' \t\r\n{ "a" : 1 ,\n\t"type" :\r"heartbeat" , "b" : [ 1 , 2 ] }', HB),
    ("21", '{"ｔype":"x","type":"heartbeat"}'.encode(), HB),
    ("22", b'{"a":1,"type":"heartbeat"}x', "malformed"),
    ("23", b'{"type":"heartbeat","a":tru}', "malformed"),
    ("24", b'{"a":truefalse,"type":"heartbeat"}', "malformed"),
    ("25", b'{"a":-,"type":"heartbeat"}', "malformed"),
    ("26", b'{"a":[},"type":"heartbeat"}', "malformed"),
    ("27", b'{"a":"line\nbreak","type":"heartbeat"}', "malformed"),
    ("28", b'{"type":"heartbeat","a":' + b"[" * 200 + b"]" * 200 + b"}", "malformed"),
    ("29", rb'{"no\u0074e":1,"type":"heartbeat"}', HB),
    ("30", rb'{"t\u0079pe":"heartbeat"}', HB),
    ("31", rb'{"type":"heart\u0062eat"}', HB),
    ("32", rb'{"type":"heart\/beat"}', "unknown"),
    ("33", rb'{"type":"a","t\u0079pe":"heartbeat"}', HB),
    ("34", b'{"type":123}', "type"),
    ("35", b'{"type":1.5e3}', "type"),
    ("36", b'{"type":true}', "type"),
    ("37", b'{"type":{"x":1}}', "type"),
    ("38", b'{"type":["heartbeat"]}', "type"),
    ("39", b'{"type":null}', "unknown"),
    ("40", b'{"status":"idle"}', "unknown"),
    ("41", b"{}", "unknown"),
    ("42", b"[]", "malformed"),
    ("43", b'["type","heartbeat"]', "malformed"),
    ("44", b'"type"', "malformed"),
    ("45", b"null", "malformed"),
    ("46", b"", "malformed"),
    ("47", b'{"type":"first","type":"heartbeat"}', HB),
    ("48", b'{"type":"heartbeat","type":"heartbeat"}', HB),
    ("49", b'{"type":"first","Type":"heartbeat"}', HB),
    ("50", b'{"Type":"first","type":"heartbeat"}', HB),
    ("51", b'{"Type":"heartbeat"}', HB),
    ("52", b'{"TYPE":"heartbeat"}', HB),
    ("53", b'{"type":1,"type":"heartbeat"}', "type"),
    ("54", b'{"type":"heartbeat","Type":1}', "type"),
    ("55", b'{"typ', "malformed"),
    ("56", b'{"type":', "malformed"),
    ("57", b'{"type":"heartb', "malformed"),
    ("58", b'{"type":"heartbeat"', "malformed"),
    ("59", b'{"a":1,', "malformed"),
    ("60", b'{"type":"x","a":"\\', "malformed"),
    ("61", b'{"a":"b"} {"type":"heartbeat"}', "malformed"),
    ("62", b'{"a":1,,"type":"x"}', "malformed"),
    ("63", b'{"a":1"type":"x"}', "malformed"),
    ("64", b'{"type" "x"}', "malformed"),
    ("65", b"{'type':'x'}", "malformed"),
    ("66", b'{type:"x"}', "malformed"),
    ("67", b'{1:2,"type":"x"}', "malformed"),
    ("68", b'{"a":[}],"type":"x"}', "malformed"),
    ("69", b'{"a":{]},"type":"x"}', "malformed"),
    ("70", b'{"a":1 2,"type":"x"}', "malformed"),
    ("71", b'{"type":"x",}', "malformed"),
    ("72", b'{,"type":"x"}', "malformed"),
    ("73", b'{"a":[1,2,"type":"x"}', "malformed"),
    ("74", b'\xef\xbb\xbf{"type":"x"}', "malformed"),
    ("75", b'\x00{"type":"x"}', "malformed"),
    ("76", b"[" * 10_000, "malformed"),
    ("77", b'{"a":' * 1_000 + b"1" + b"}" * 1_000, "malformed"),
    ("78", b"\\" * 4_096, "malformed"),
]


@pytest.mark.parametrize(("payload", "expected"), [pytest.param(v[1], v[2], id=v[0]) for v in VECTORS])
def test_vector(payload: bytes, expected: object) -> None:
    if isinstance(expected, type):
        assert type(decode_from_provider(payload)) is expected
        return
    with pytest.raises(FrameRejected) as caught:
        decode_from_provider(payload)
    assert caught.value.kind == expected


def test_type_of_an_invalid_message_is_named_from_our_own_set() -> None:
    with pytest.raises(FrameRejected) as caught:
        decode_from_provider(VECTORS[2][1])
    assert (caught.value.message_type, str(caught.value)) == ("register", "invalid register message: models[]")


def test_chunk_key_with_escaped_slash_is_read_unescaped() -> None:
    chunk = decode_from_provider(VECTORS[12][1])
    assert isinstance(chunk, InferenceResponseChunk)
    assert chunk.encrypted_data is not None
    assert (chunk.encrypted_data.ephemeral_public_key, chunk.encrypted_data.ciphertext) == ("A/B=", "C/D=")


def outcome(payload: bytes) -> str:
    try:
        return decode_from_provider(payload).TYPE
    except FrameRejected as rejected:
        return rejected.kind


@pytest.mark.parametrize("payload", [pytest.param(v[1], id=v[0]) for v in VECTORS if len(v[1]) < 200])
def test_every_prefix_of_a_vector_ends_in_a_message_or_a_rejection(payload: bytes) -> None:
    outcomes = {outcome(payload[:length]) for length in range(len(payload))}
    assert outcomes <= {"malformed", "type", "unknown", "invalid", "heartbeat", "register", "inference_response_chunk"}
