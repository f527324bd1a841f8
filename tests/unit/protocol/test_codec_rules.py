"""Reading and writing rules of the frame codec."""

import msgspec
import pytest

from protocol.codec import (
    FrameRejected,
    attested_bytes,
    chunk_frame,
    decode_from_provider,
    decode_to_provider,
    encode,
    inference_request_frame,
)
from protocol.messages.from_provider import (
    FROM_PROVIDER,
    BackendCapacity,
    EncryptedPayload,
    Heartbeat,
    InferenceComplete,
    InferenceError,
    InferenceResponseChunk,
    ModelEntry,
    ModelsUpdate,
    Register,
    RegisterExtension,
    Slot,
)
from protocol.messages.to_provider import (
    TO_PROVIDER,
    AttestationChallenge,
    DesiredModels,
    InferenceRequest,
    RuntimeStatus,
    TrustStatus,
)
from protocol.messages.wire import raw_bytes


def heartbeat(members: bytes) -> Heartbeat:
    message = decode_from_provider(b'{"type":"heartbeat",%b}' % members)
    assert isinstance(message, Heartbeat)
    return message


def slot(members: bytes) -> Slot:
    capacity = heartbeat(b'"backend_capacity":{"slots":[{%b}]}' % members).backend_capacity
    assert capacity is not None
    return capacity.slots[0]


def rejection(payload: bytes) -> FrameRejected:
    with pytest.raises(FrameRejected) as caught:
        decode_from_provider(payload)
    return caught.value


def test_missing_required_scalars_read_as_zero() -> None:
    message = heartbeat(b'"x":0')
    assert (message.status, message.stats.requests_served, message.system_metrics.cpu_usage) == ("", 0, 0.0)
    assert message.warm_models == ()
    assert message.backend_capacity is None


@pytest.mark.parametrize(
    "members",
    [
        b'"status":null,"active_model":null,"stats":null,"warm_models":null,"system_metrics":null,"backend_capacity":null',
        b'"stats":{"requests_served":null},"system_metrics":{"cpu_usage":null}',
        b'"active_model":null',
    ],
)
def test_null_reads_as_absent(members: bytes) -> None:
    assert heartbeat(members) == Heartbeat()


def test_null_inside_lists_is_a_wrong_type() -> None:
    assert rejection(b'{"type":"heartbeat","warm_models":["a",null]}').kind == "invalid"


def test_free_for_load_keeps_zero_and_absence_apart() -> None:
    def free(members: bytes) -> float | None:
        capacity = heartbeat(b'"backend_capacity":{%b}' % members).backend_capacity
        assert capacity is not None
        return capacity.free_for_load_gb

    assert free(b'"free_for_load_gb":0') == 0.0
    assert free(b'"x":1') is None
    assert free(b'"free_for_load_gb":-1') == -1.0


def test_template_render_ok_keeps_false_and_absence_apart() -> None:
    message = decode_from_provider(
        b'{"type":"models_update","models":[{"id":"a","template_render_ok":false},{"id":"b"}]}'
    )
    assert isinstance(message, ModelsUpdate)
    assert [model.template_render_ok for model in message.models] == [False, None]


@pytest.mark.parametrize(
    "written", [b"1.0", b"1e3", b"1E2", b"9223372036854775808", b"-9223372036854775809", b"true", b'"1"', b"[1]"]
)
def test_integer_field_rejects_other_numbers_and_types(written: bytes) -> None:
    rejected = rejection(b'{"type":"heartbeat","backend_capacity":{"slots":[{"num_running":%b}]}}' % written)
    assert rejected.kind == "invalid"
    assert str(rejected) == "invalid heartbeat message: backend_capacity.slots[].num_running"
    assert rejected.message_type == "heartbeat"


@pytest.mark.parametrize(
    ("written", "read"),
    [(b"-0", 0), (b"9223372036854775807", 2**63 - 1), (b"-9223372036854775808", -(2**63)), (b"7", 7)],
)
def test_integer_field_covers_signed_64_bit(written: bytes, read: int) -> None:
    assert slot(b'"num_running":%b' % written).num_running == read


@pytest.mark.parametrize("written", [b"1e999", b"-1e999", b'"1"', b"true"])
def test_float_field_rejects_what_is_not_finite(written: bytes) -> None:
    assert rejection(b'{"type":"heartbeat","system_metrics":{"cpu_usage":%b}}' % written).kind == "invalid"


@pytest.mark.parametrize("written", [b"NaN", b"Infinity", b"-Infinity", b"01", b".5", b"1.", b"+1"])
def test_number_that_is_not_json_is_malformed(written: bytes) -> None:
    for key in (b"cpu_usage", b"unknown_key"):
        assert rejection(b'{"type":"heartbeat","system_metrics":{"%b":%b}}' % (key, written)).kind == "malformed"


def test_float_field_accepts_integers() -> None:
    assert heartbeat(b'"system_metrics":{"cpu_usage":1,"memory_pressure":2.5e-1}').system_metrics.cpu_usage == 1.0


def test_duplicate_key_last_one_wins() -> None:
    assert heartbeat(b'"status":"idle","status":"serving"').status == "serving"


def test_keys_match_in_exact_case_only() -> None:
    assert heartbeat(b'"Status":"idle"').status == ""


@pytest.mark.parametrize("escape", [rb"\ud800", rb"\udc00", rb"\ud800\u0041", rb"\ud800x"])
def test_lone_surrogate_is_malformed_in_known_and_unknown_members(escape: bytes) -> None:
    for key in (b"status", b"unknown"):
        assert rejection(b'{"type":"heartbeat","%b":"%b"}' % (key, escape)).kind == "malformed"


def test_surrogate_pair_is_combined() -> None:
    assert heartbeat(rb'"status":"\ud83c\udf0d"').status == "🌍"


@pytest.mark.parametrize("payload", [b'{"type":"heartbeat","x":"\xff"}', b'{"\xc3\x28":1,"Type":"heartbeat"}'])
def test_invalid_utf8_is_malformed(payload: bytes) -> None:
    assert rejection(payload).kind == "malformed"


@pytest.mark.parametrize("brackets", [(b"[", b"]"), (b'{"a":', b"}")])
@pytest.mark.parametrize("key", [b"type", b"Type"])
def test_nesting_is_accepted_to_128_levels(brackets: tuple[bytes, bytes], key: bytes) -> None:
    opened, closed = brackets

    def frame(levels: int) -> bytes:
        inside = levels - 1
        return b'{"%b":"heartbeat","a":%b1%b}' % (key, opened * inside, closed * inside)

    assert decode_from_provider(frame(128)) == Heartbeat()
    assert rejection(frame(129)).kind == "malformed"


def test_brackets_inside_strings_are_not_nesting() -> None:
    assert heartbeat(b'"note":"%b"' % (b"[{" * 500)) == Heartbeat()


def test_large_frame_is_decoded_when_it_is_plain() -> None:
    padding = b"x" * (10 * 1024 * 1024 - 100)
    assert heartbeat(b'"padding":"%b"' % padding) == Heartbeat()


def test_large_frame_is_refused_when_its_type_is_not_plain() -> None:
    payload = b'{"Type":"heartbeat","padding":"%b"}' % (b"x" * 300_000)
    assert rejection(payload).kind == "malformed"


def test_fifty_unknown_keys_are_ignored() -> None:
    extra = b",".join(b'"unknown_%d":{"a":[%d]}' % (i, i) for i in range(50))
    assert decode_from_provider(b'{"type":"register",%b}' % extra) == Register()


def test_legacy_keys_are_ignored() -> None:
    assert decode_from_provider(b'{"type":"register","wallet_address":"0x1"}') == Register()


@pytest.mark.parametrize("status", [b'"finished"', b'""', b"null", b"1"])
def test_load_status_outside_its_set_is_rejected(status: bytes) -> None:
    assert rejection(b'{"type":"load_model_status","model_id":"m","status":%b}' % status).kind == "invalid"
    assert rejection(b'{"type":"load_model_status","model_id":"m"}').kind == "invalid"


def test_other_words_of_closed_sets_pass_through() -> None:
    assert slot(b'"state":"dreaming"').state == "dreaming"
    assert heartbeat(b'"status":"asleep"').status == "asleep"


def test_negative_usage_rejects_the_frame() -> None:
    rejected = rejection(b'{"type":"inference_complete","request_id":"r","usage":{"completion_tokens":-1}}')
    assert str(rejected) == "invalid inference_complete message: usage.completion_tokens"


def test_profile_of_any_size_never_fails_its_frame() -> None:
    def profile(raw: bytes) -> bytes:
        message = decode_from_provider(b'{"type":"inference_complete","request_id":"r","profile":%b}' % raw)
        assert isinstance(message, InferenceComplete)
        return message.profile_bytes()

    assert profile(b'{"a": [1]}') == b'{"a": [1]}'
    assert profile(b'"%b"' % (b"x" * 4094)) == b'"%b"' % (b"x" * 4094)
    assert profile(b'"%b"' % (b"x" * 4095)) == b""
    assert profile(b"null") == b""


def test_available_token_budget_keeps_explicit_zero() -> None:
    message = decode_from_provider(b'{"type":"inference_error","request_id":"r","available_token_budget":0}')
    assert isinstance(message, InferenceError)
    assert message.available_token_budget == 0
    assert b'"available_token_budget":0' in encode(message)


def test_features_are_read_from_our_own_key() -> None:
    message = decode_from_provider(
        b'{"type":"register","platform":"linux-x86_64","darkbloom":{"features":["drain"],"later":1}}'
    )
    assert isinstance(message, Register)
    assert message.platform == "linux-x86_64"
    assert message.darkbloom == RegisterExtension(features=("drain",))


@pytest.mark.parametrize("key", [b"type", b"Type"])
def test_attestation_keeps_its_exact_bytes_on_both_paths(key: bytes) -> None:
    envelope = rb'{ "signature":"x" , "attestation": {"b" : "\/", "a":1.0} }'
    message = decode_from_provider(b'{"%b":"register","attestation": %b ,"version":"1"}' % (key, envelope))
    assert isinstance(message, Register)
    assert raw_bytes(message.attestation) == envelope
    assert attested_bytes(message.attestation) == rb'{"b" : "\/", "a":1.0}'


@pytest.mark.parametrize("key", [b"type", b"Type"])
def test_attestation_null_is_absent(key: bytes) -> None:
    message = decode_from_provider(b'{"%b":"register","attestation":null,"version":null}' % key)
    assert isinstance(message, Register)
    assert raw_bytes(message.attestation) == b""
    assert attested_bytes(message.attestation) == b""


def test_attested_bytes_refuses_two_inner_blobs() -> None:
    assert attested_bytes(msgspec.Raw(b'{"attestation":{"a":1},"attestation":{"a":2}}')) == b""


@pytest.mark.parametrize(
    "payload",
    [
        b'{"type":"SECRET-WORD"}',
        b'{"type":"heartbeat","status":["SECRET-WORD"]}',
        b'{"type":"load_model_status","status":"SECRET-WORD - at `$.SECRET`"}',
        b'{"type":"register","template_hashes":{"SECRET-WORD":1}}',
        b'{"type":"heartbeat","SECRET-WORD":tru}',
        b'{"Type":"heartbeat","status":{"SECRET-WORD":null}}',
        b'{"type":"attestation_response","model_hashes":{"SECRET-WORD":[]}}',
    ],
)
def test_rejection_never_quotes_the_frame(payload: bytes) -> None:
    rejected = rejection(payload)
    seen = [str(rejected), repr(rejected), repr(rejected.__cause__), repr(rejected.__context__)]
    assert not any("SECRET" in text for text in seen)


def test_repr_of_a_frame_shows_no_content() -> None:
    assert repr(InferenceError(request_id="r", error="SECRET")) == "<frame inference_error>"
    assert repr(Register(auth_token="SECRET")) == "<frame register>"
    assert repr(EncryptedPayload(ciphertext="SECRET")) == "<EncryptedPayload>"


def test_directions_do_not_mix() -> None:
    with pytest.raises(FrameRejected) as caught:
        decode_to_provider(b'{"type":"heartbeat"}')
    assert caught.value.kind == "unknown"
    assert rejection(b'{"type":"cancel","request_id":"r"}').kind == "unknown"


def test_every_type_of_a_direction_is_named_once() -> None:
    names = [message.TYPE for message in FROM_PROVIDER + TO_PROVIDER]
    assert len(names) == len(set(names)) == 24


def test_zero_values_that_must_be_written_are_written() -> None:
    assert encode(RuntimeStatus(verified=False)) == b'{"type":"runtime_status","verified":false,"mismatches":[]}'
    assert encode(TrustStatus(trust_level="none", status="online")) == (
        b'{"type":"trust_status","trust_level":"none","status":"online","reason":""}'
    )
    assert encode(DesiredModels()) == b'{"type":"desired_models","models":[]}'
    assert b'"models":[]' in encode(Register())
    assert b'"num_running":0' in encode(Heartbeat(backend_capacity=BackendCapacity(slots=(Slot(),))))


def test_absent_values_are_left_out_and_never_null() -> None:
    written = encode(Heartbeat())
    assert b"active_model" not in written
    assert b"null" not in written
    assert b"attestation" not in encode(Register())
    assert b"quantization" in encode(ModelsUpdate(models=(ModelEntry(),)))


def test_type_is_the_first_key() -> None:
    for message in (Heartbeat(), AttestationChallenge(nonce="n", timestamp="t"), InferenceRequest()):
        assert encode(message).startswith(b'{"type":"%b"' % message.TYPE.encode())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_number_that_is_not_finite_is_not_written(bad: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        encode(Heartbeat(backend_capacity=BackendCapacity(slots=(Slot(observed_decode_tps=bad),))))


def test_text_with_the_word_null_is_written() -> None:
    assert b'"status":"null"' in encode(Heartbeat(status="null"))


def test_inference_request_frame_equals_the_encoder() -> None:
    payload = EncryptedPayload(ephemeral_public_key="A/B=", ciphertext="C/D=")
    for budget, scope in ((0, ""), (5000, 'sc"ope')):
        built = inference_request_frame(
            request_id='r"1',
            ephemeral_public_key="A/B=",
            ciphertext=b"C/D=",
            first_content_budget_ms=budget,
            cache_scope=scope,
        )
        message = InferenceRequest(
            request_id='r"1', encrypted_body=payload, first_content_budget_ms=budget, cache_scope=scope
        )
        assert built == encode(message)
        assert b'"body"' not in built


def test_chunk_frame_equals_the_encoder() -> None:
    payload = EncryptedPayload(ephemeral_public_key="A/B=", ciphertext="C/D=")
    assert chunk_frame(request_id="r", public_key="A/B=", ciphertext=b"C/D=") == encode(
        InferenceResponseChunk(request_id="r", encrypted_data=payload)
    )
