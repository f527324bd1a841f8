"""Entries of the model list."""

from __future__ import annotations

import pytest
from openai.types import Model

from protocol.api.models import ModelDescription, ModelPrice, model_entry, model_list, usd_per_token


@pytest.mark.parametrize(
    ("price", "text"),
    [
        (50_000, "0.00000005"),
        (60_000, "0.00000006"),
        (0, "0"),
        (165_000, "0.000000165"),
        (1, "0.000000000001"),
        (10**12, "1"),
        (-5, "0"),
    ],
)
def test_usd_per_token_is_exact(price: int, text: str) -> None:
    assert usd_per_token(price) == text


def test_model_entry_leaves_unknown_things_out() -> None:
    entry = model_entry(ModelDescription(model="org/m"))
    assert "context_length" not in entry
    assert "pricing" not in entry
    assert Model.model_validate(entry).id == "org/m"


def test_model_list_is_sorted_and_priced() -> None:
    price = ModelPrice(input_micro_usd=60_000, output_micro_usd=165_000)
    listed = model_list([ModelDescription(model="b"), ModelDescription(model="a", price=price, context_length=4096)])
    data = listed["data"]
    assert isinstance(data, list)
    assert [entry["id"] for entry in data] == ["a", "b"]
    assert data[0]["pricing"]["prompt"] == "0.00000006"
    assert data[0]["context_length"] == 4096
