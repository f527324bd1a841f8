"""CSV that no spreadsheet runs, and JSON lines."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.rewards.tables import Cell, guarded, table_head, table_lines

COLUMNS = ("name", "amount", "own", "gone")


def read_csv(text: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text.decode(), newline="")))


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        " =1",
        "＝1",
        '=HYPERLINK("http://x","y")',
        "=cmd|' /C calc'!A0",
    ],
)
def test_formulas_are_shown_instead_of_run(text: str) -> None:
    assert guarded(text) == "'" + text
    (row,) = read_csv(table_head(COLUMNS, "csv") + table_lines([{"name": text}], COLUMNS, "csv"))
    assert row["name"] == "'" + text


@pytest.mark.parametrize("text", ["", "llama-3.2", "a=b", "key_1-2", "'x", "7"])
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert guarded(text) == text


def test_a_table_in_csv() -> None:
    lines: list[dict[str, Cell]] = [
        {"name": 'a "b", c', "amount": -5, "own": True, "gone": None},
        {"name": "x\r\ny", "amount": 0, "own": False, "more": 1},
    ]
    assert table_head(COLUMNS, "csv") + table_lines(lines, COLUMNS, "csv") == (
        b'name,amount,own,gone\r\n"a ""b"", c",-5,true,\r\n"x\r\ny",0,false,\r\n'
    )


def test_a_table_in_json_lines() -> None:
    assert table_head(COLUMNS, "jsonl") == b""
    lines: list[dict[str, Cell]] = [{"name": "=1", "amount": 2**53 - 1, "own": True, "gone": None}]
    assert table_lines(lines, COLUMNS, "jsonl") == b'{"name":"=1","amount":9007199254740991,"own":true,"gone":null}\n'
    assert table_lines([], COLUMNS, "jsonl") == b""


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)


@given(st.lists(st.fixed_dictionaries({"name": TEXTS, "amount": st.integers()}), max_size=5))
def test_both_forms_carry_every_text(lines: list[dict[str, Cell]]) -> None:
    found = read_csv(table_head(COLUMNS, "csv") + table_lines(lines, COLUMNS, "csv"))
    assert [(row["name"], int(row["amount"])) for row in found] == [
        (guarded(str(line["name"])), line["amount"]) for line in lines
    ]
    assert all(not row["name"].lstrip(" ").startswith(("=", "+", "-", "@")) for row in found)
    text = table_lines(lines, COLUMNS, "jsonl")
    assert [json.loads(one) for one in text.split(b"\n")[:-1]] == lines
