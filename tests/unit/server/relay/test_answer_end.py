"""What a completion message may claim, and what of the machine a client may see."""

from __future__ import annotations

import pytest

from protocol.messages.from_provider import CompleteExtension, InferenceComplete, Usage
from server.relay import RelayJob, RequestStamps
from server.relay.answer_end import billed_usage, outcome_of_status, receipt_member, usage_report
from server.relay.provider_headers import clean, provider_details, provider_headers
from server.relay.settlement import BilledUsage, Outcome
from tests.unit.server.registry.fleet import session


def complete(**usage: int) -> InferenceComplete:
    return InferenceComplete(request_id="r", usage=Usage(**usage))


def job(*, prompt: int = 1000, output: int = 10) -> RelayJob:
    return RelayJob(
        coord_request_id="c",
        public_model="m",
        build="m",
        prompt_tokens=1,
        prompt_tokens_hold=prompt,
        max_tokens=output,
        stream=True,
        include_usage=True,
        created=0,
        stamps=RequestStamps(received=0, parsed=0, reserved=0),
        make_body=str.encode,
    )


def test_output_is_cut_to_the_bound_and_reasoning_to_the_output() -> None:
    usage = billed_usage(complete(prompt_tokens=5, completion_tokens=50, reasoning_tokens=40), job())
    assert usage == BilledUsage(prompt_tokens=5, completion_tokens=10, reasoning_tokens=10)
    assert usage_report(usage).completion_tokens == 10


def test_a_cache_report_beyond_the_prompt_is_dropped() -> None:
    assert billed_usage(complete(prompt_tokens=5, cached_tokens=5), job()).cached_tokens == 5
    assert billed_usage(complete(prompt_tokens=5, cached_tokens=6), job()).cached_tokens == 0


def test_the_prompt_is_cut_to_its_hold_and_the_cache_to_the_prompt() -> None:
    usage = billed_usage(complete(prompt_tokens=2**62, cached_tokens=2**61), job(prompt=70))
    assert (usage.prompt_tokens, usage.cached_tokens) == (70, 70)


@pytest.mark.parametrize(
    ("extension", "shown"),
    [
        (None, False),
        (CompleteExtension(receipt="{}"), False),
        (CompleteExtension(receipt="{}", receipt_signature="s"), True),
        (CompleteExtension(receipt="x" * 9000, receipt_signature="s"), False),
    ],
)
def test_receipt_needs_both_parts_and_a_sane_size(extension: CompleteExtension | None, shown: bool) -> None:
    assert bool(receipt_member(InferenceComplete(request_id="r", darkbloom=extension))) is shown


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (400, Outcome.CLIENT_ERROR),
        (404, Outcome.CLIENT_ERROR),
        (429, Outcome.RATE_LIMITED),
        (499, Outcome.CLIENT_GONE),
        (500, Outcome.INTERNAL_ERROR),
        (502, Outcome.PROVIDER_ERROR),
        (503, Outcome.PROVIDER_ERROR),
        (504, Outcome.TIMEOUT),
    ],
)
def test_outcome_of_status(status: int, outcome: Outcome) -> None:
    assert outcome_of_status(status) is outcome


def test_clean_lets_no_header_be_injected() -> None:
    assert clean("Apple M3\r\nX-Injected: é true") == "Apple M3X-Injected:  true"
    assert clean("x" * 200) == "x" * 128
    assert clean("\x00\x7f") == ""


def test_headers_leave_empty_values_out_and_name_no_serial() -> None:
    headers = provider_headers(provider_details(session(ident={"serials": frozenset({"SERIAL1"})})))
    assert headers == {
        "X-Provider-Id": "s",
        "X-Provider-Attested": "true",
        "X-Provider-Trust-Level": "hardware",
        "X-Provider-Encrypted": "true",
    }
