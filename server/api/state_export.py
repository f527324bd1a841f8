"""`GET /v1/admin/state-export`: the persistent-data directory as an encrypted archive, for holders of an admin key."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from quart import Blueprint, request

from protocol.api.errors import ApiError, invalid_request
from server.accounts.guards import require_admin_key
from server.answer import StreamingAnswer
from server.answer.writer import AnswerAborted
from server.api.gate import PRIVATE, client_ip
from server.observe.redact import mask_ip
from server.state_export import ExportBusy, ExportFailed, RecipientUnusable

if TYPE_CHECKING:
    from server.accounts.credentials import ListedSecrets
    from server.answer import AnswerWriter
    from server.api.gate import AccountGate
    from server.state_export import SealedArchive, StateExport

_log = logging.getLogger("darkbloom.state_export")

MICROSECONDS: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StateExportServices:
    """What the endpoint works with. `export` None: nobody has said for whom to encrypt, and plain is not permitted."""

    gate: AccountGate
    admin_keys: ListedSecrets
    export: StateExport | None
    wall_clock: Callable[[], int]


def state_export_blueprint(services: StateExportServices) -> Blueprint:
    """Serve the export; where it is disabled, do not register this, so that the path is unknown like any other."""
    blueprint = Blueprint("state_export", __name__)

    @blueprint.get("/v1/admin/state-export")
    async def download() -> StreamingAnswer:
        _require_admin_key(services)
        if request.method == "HEAD":
            # An export is too much work for an answer without a body.
            wrong = invalid_request("HEAD is not allowed here; use GET.", status=405)
            wrong.allow = ("GET",)
            raise wrong
        if services.export is None:
            _report("no_recipient")
            text = (
                "No recipient is set, and plain archives are not permitted; set DARKBLOOM_STATE_EXPORT_RECIPIENT to an "
                "age public key."
            )
            raise ApiError(412, "precondition_failed", text, retryable=False)
        archive = await _made(services.export)
        _report("sent", files=archive.files, databases=archive.databases, size=archive.size)
        seconds = services.wall_clock() // MICROSECONDS
        ending = ".zip.age" if archive.encrypted else ".zip"
        headers = {
            **PRIVATE,
            "Content-Type": "application/octet-stream",
            "Content-Length": str(archive.size),
            "Content-Disposition": f'attachment; filename="darkbloom-state-{seconds}{ending}"',
        }
        return StreamingAnswer(_sender(archive), headers=headers, on_end=archive.close)

    return blueprint


def _require_admin_key(services: StateExportServices) -> None:
    facts = services.gate.facts()
    credential = facts.credential()
    try:
        require_admin_key(credential.token if credential.kind == "bearer" else None, services.admin_keys)
    except ApiError:
        _report("refused")
        services.gate.limits.take("failed_bearer", facts.ip)
        raise


async def _made(export: StateExport) -> SealedArchive:
    try:
        return await export.make()
    except ExportBusy:
        _report("busy")
        text = "Another export is under way; try again when it has ended."
        raise ApiError(409, "conflict", text, retry_after_seconds=30) from None
    except (ExportFailed, RecipientUnusable) as error:
        _report("failed", problem=str(error))
        text = "The state could not be exported; the coordinator's log says why."
        raise ApiError(500, "export_failed", text, retryable=False) from None


def _sender(archive: SealedArchive) -> Callable[[AnswerWriter], Awaitable[None]]:
    async def send(writer: AnswerWriter) -> None:
        left = archive.size
        while block := await archive.read():
            left -= len(block)
            await writer.write(block)
        if left:
            raise AnswerAborted

    return send


def _report(outcome: str, **counts: object) -> None:
    level = logging.INFO if outcome == "sent" else logging.WARNING
    _log.log(level, "state_export", extra={"outcome": outcome, "client": mask_ip(client_ip()), **counts})
