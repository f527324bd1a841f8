"""Registering a release, and switching one on and off, each act with its audit row.

Invariant: a version of a platform is registered once; the same again changes nothing, anything else is refused, so a
key that leaked cannot rewrite what machines have installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec import structs

from protocol.release_signature import is_signed
from server.administration.operator import Deed
from server.catalog import release_rows
from server.catalog.refused import ArtefactRefused
from server.catalog.release_wish import is_same
from server.store.errors import Conflict, NotFound

if TYPE_CHECKING:
    from server.administration.operator import Operator
    from server.catalog.artefacts import Artefacts
    from server.catalog.release_rows import Release
    from server.catalog.release_wish import ReleaseName, ReleaseWish
    from server.store import Tx


class ReleaseActs:
    """Acts on releases; raises Invalid, NotFound, Conflict, ArtefactRefused and StoreUnavailable.

    `approval`: a registered release waits until an operator activates it. Registering needs `artefacts`, the operator's
    download server; `signing_keys` are those of which one must have signed, if there are any.
    """

    def __init__(
        self,
        operator: Operator,
        *,
        artefacts: Artefacts | None,
        approval: bool = False,
        signing_keys: Sequence[bytes] = (),
    ) -> None:
        self._operator = operator
        self.artefacts = artefacts
        self._approval = approval
        self._signing_keys = signing_keys

    async def register(self, actor: str, wish: ReleaseWish) -> Release:
        """Enter a release whose bundle lies at the download server; give its row."""
        assert self.artefacts is not None, "the caller has looked whether there is a download server"
        asked = structs.replace(wish.release(active=not self._approval, now=self._operator.now()), registered_by=actor)
        known = await self._operator.read(lambda tx: release_rows.read_release(tx, asked.version, asked.platform))
        if known is not None:
            return _unchanged(known, asked)
        if self._signing_keys and not is_signed(asked.bundle_hash, asked.signature, self._signing_keys):
            raise ArtefactRefused("signature must be by a key of DARKBLOOM_RELEASE_SIGNING_KEYS, over bundle_hash.")
        await self.artefacts.check(asked)
        try:
            return await self._operator.act(actor, "release.register", lambda tx, _now: _entered(tx, asked))
        except Conflict:
            # Somebody else was faster; or this is run again, because the answer to its COMMIT was lost.
            known = await self._operator.read(lambda tx: release_rows.read_release(tx, asked.version, asked.platform))
            if known is None:
                raise
            return _unchanged(known, asked)

    async def switch(self, actor: str, name: ReleaseName, *, active: bool) -> Release:
        """Offer a release to machines again, or not any more."""

        async def work(tx: Tx, _now: int) -> Deed[Release]:
            before = await release_rows.read_release(tx, name.version, name.platform)
            changed = await release_rows.switch_release(
                tx, name.version, name.platform, active=active, approved_by=actor
            )
            after = await release_rows.read_release(tx, name.version, name.platform)
            if before is None or after is None or not changed:
                raise NotFound(f"There is no release {name.version[:100]!r} for {name.platform}.")
            return Deed(after, _target(after), {"active": before.active}, {"active": active})

        return await self._operator.act(actor, "release.activate" if active else "release.deactivate", work)


async def _entered(tx: Tx, release: Release) -> Deed[Release]:
    if not await release_rows.insert_release(tx, release):
        raise Conflict(_OTHER)
    facts: dict[str, Any] = {name: value for name, value in structs.asdict(release).items() if name in _AUDITED}
    return Deed(release, _target(release), {}, facts)


def _unchanged(known: Release, asked: Release) -> Release:
    if not is_same(known, asked):
        raise Conflict(_OTHER)
    return known


def _target(release: Release) -> str:
    return f"{release.version} {release.platform}"


_OTHER = "This version is registered for this platform with other content; publish the build under a new version."
_AUDITED = ("binary_hash", "bundle_hash", "backend", "url", "active")
