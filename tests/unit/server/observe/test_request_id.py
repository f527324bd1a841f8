"""Which request id a client sees."""

from __future__ import annotations

import re
import uuid

import pytest

from server.observe import choose_request_id, mint_coord_request_id, mint_request_id
from server.observe.request_id import mint_uuid

MINTED = re.compile(r"[0-9a-v]{12}")


def test_minted_ids_have_the_documented_form_and_differ() -> None:
    ids = {mint_request_id() for _ in range(200)}
    assert len(ids) == 200
    assert all(MINTED.fullmatch(found) for found in ids)
    assert mint_coord_request_id() != mint_coord_request_id()


@pytest.mark.parametrize("offered", ["abc-1", "A.b_c:d-9", "x" * 64])
def test_acceptable_id_is_echoed(offered: str) -> None:
    assert choose_request_id(offered) == offered


@pytest.mark.parametrize("offered", [None, "", "x" * 65, "a b", "a\r\nb", "a\n", "ä", "a;b"])
def test_other_ids_are_replaced(offered: str | None) -> None:
    chosen = choose_request_id(offered)
    assert chosen != offered
    assert MINTED.fullmatch(chosen)


def test_minted_uuids_are_random_and_of_version_4() -> None:
    texts = {mint_uuid() for _ in range(200)}
    assert len(texts) == 200
    for text in texts:
        parsed = uuid.UUID(text)
        assert (str(parsed), parsed.version, parsed.variant) == (text, 4, uuid.RFC_4122)
