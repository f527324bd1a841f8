"""Requests made up from the OpenAPI document, sent to a real coordinator: no crash, every answer as declared.

A few for each operation in the ordinary run; in the long one many more, with the values at the edges of every schema,
and as an administrator too.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.conftest import FULL
from tests.testbed.coordinator import ADMIN_KEY, API_KEY, Coordinator
from tests.testbed.sim_provider import MODEL, SimulatedProvider

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
# 503 is what a coordinator says of what is not configured (payments, one-time codes); no other 5xx may come.
EXPECTED = '[checks.not_a_server_error]\nexpected-statuses = ["2xx", "3xx", "4xx", 503]\n'
BODIES = ("ChatBody", "CompletionBody", "ResponsesBody", "MessagesBody")
LIMIT_SECONDS = 1500.0 if FULL else 180.0


async def document_of(server: Coordinator) -> dict[str, Any]:
    """The served document; inference asks for a model that somebody serves, or for one that nobody knows."""
    document: dict[str, Any] = (await server.get("/openapi.json", None)).json()
    for name in BODIES:
        document["components"]["schemas"][name]["properties"]["model"] = {"enum": [MODEL, "nobody/has-this"]}
    return document


async def explore(server: Coordinator, folder: Path, key: str | None) -> str:
    """Run the command-line tool and give what it reports; fails unless it found nothing."""
    (folder / "openapi.json").write_text(json.dumps(await document_of(server)))
    (folder / "schemathesis.toml").write_text(EXPECTED)
    command = [
        *(str(Path(sys.executable).parent / "schemathesis"), "run", "openapi.json", "--url", server.base_url),
        *("--checks", CHECKS, "--phases", "examples,coverage,fuzzing" if FULL else "examples,fuzzing"),
        *("--max-examples", "40" if FULL else "1" if key is None else "2", "--generation-deterministic"),
        *("--no-shrink", "--suppress-health-check", "all"),
        *("--warnings", "off", "--no-color", "--request-timeout", "30"),
        # It stops all inference, that of the tests beside this one too.
        *("--exclude-path", "/v1/admin/drain"),
        *(() if key is None else ("--header", f"Authorization: Bearer {key}")),
    ]
    with trio.fail_after(LIMIT_SECONDS):
        done = await trio.run_process(
            command, cwd=folder, capture_stdout=True, capture_stderr=True, check=False, env={"HOME": str(folder)}
        )
    report = done.stdout.decode()
    assert done.returncode == 0, report[-6000:] + done.stderr.decode()[-2000:]
    return report


@pytest.mark.parametrize(
    "key", [None, API_KEY, pytest.param(ADMIN_KEY, marks=pytest.mark.nightly)], ids=["nobody", "key", "admin"]
)
async def test_every_operation_answers_as_declared(sealed: Coordinator, tmp_path: Path, key: str | None) -> None:
    async with SimulatedProvider().session(sealed.link_url):
        await sealed.routable(MODEL)
        assert "No issues found" in await explore(sealed, tmp_path, key)
        assert (await sealed.get("/health", None)).status_code == 200
