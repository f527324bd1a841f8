"""The public models as callers know them: aliases and open builds, with what the catalogue says and who serves them.

A scan of the fleet, so its result is kept, the longer the larger the fleet is. Who waits for one machine to become
routable sees it at once, and a large fleet is never scanned more often than every two seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from protocol.api.models import SELF_OWNER, ModelDescription
from server.registry.views import owned_by
from server.trust import TRUST_RANK

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.api.model_prices import PriceTable
    from server.catalog import CatalogModel, ModelDirectory
    from server.registry import ModelCapacity, Registry, Session

KEEP_SECONDS: Final = 2.0
KEEP_SECONDS_PER_MACHINE: Final = 0.002
"""A scan of 1,000 machines took 1.6 ms, a thousandth of the time for which it is kept; one of a single one 45 µs."""

MICROSECONDS: Final = 1_000_000
LISTED_FEATURES: Final = ("tools", "json_mode", "structured_outputs", "logprobs", "web_search", "reasoning")


@dataclass(frozen=True, slots=True)
class Listed:
    """One public name; `build` is what stands behind it, for its price."""

    description: ModelDescription
    build: str
    is_hidden: bool = False
    """A build behind an alias: it can be asked for by name, and is not listed."""

    def priced(self, prices: PriceTable) -> ModelDescription:
        """The description with the price of its build."""
        return replace(self.description, price=prices.of(self.build))


class ModelList:
    """All public names; `clock` gives seconds."""

    def __init__(self, registry: Registry, directory: ModelDirectory, clock: Callable[[], float]) -> None:
        self._registry = registry
        self._directory = directory
        self._clock = clock
        self._scanned_at: float | None = None
        self._keep_seconds = 0.0
        self._listed: dict[str, Listed] = {}
        self._rows: dict[str, ModelCapacity] = {}

    def public(self) -> dict[str, Listed]:
        """Every name that a request may use and somebody serves, hidden builds too, by id.

        An alias is listed as long as the catalogue knows a build of it, served or not; a build only while a machine
        that proved itself offers it to everybody: anyone else may invent names.
        """
        now = self._clock()
        if self._scanned_at is None or not 0 <= now - self._scanned_at < self._keep_seconds:
            self._scanned_at = now
            self._listed = self._scan(now)
        return self._listed

    def offered(self) -> dict[str, Listed]:
        """What may be resold, by id: the catalogue's text models under their public names, served now or not.

        Without a catalogue it is what is served. The restart of a machine takes nothing off this list.
        """
        found = {name: one for name, one in self.public().items() if not one.is_hidden}
        for entry in self._directory.models():
            if entry.id not in found and not self._directory.is_hidden(entry.id):
                found[entry.id] = Listed(with_facts(ModelDescription(model=entry.id), entry), entry.id)
        return {name: whole for name, one in found.items() if (whole := self._resold(one)) is not None}

    def _resold(self, one: Listed) -> Listed | None:
        """The listing with its build's quantization; None for what makes no text."""
        entry = self._directory.model(one.build)
        if entry is None:
            return one
        if entry.facts.model_type != "text":
            return None
        return replace(one, description=replace(one.description, quantization=entry.facts.quantization or None))

    def owned(self, account_id: str) -> dict[str, Listed]:
        """What an account's own connected machines serve, by id."""
        self.public()
        offering = _offers(one for one in self._registry.trusted_sessions() if owned_by(one, account_id))
        found = {model: self._listing(model, (model,), offering, self._rows, owner=SELF_OWNER) for model in offering}
        for alias in self._directory.aliases():
            builds = [build for build in alias.builds if build in found]
            if builds:
                found[alias.id] = self._named(found[builds[0]], alias.id, alias.display_name)
        return found

    def _scan(self, now: float) -> dict[str, Listed]:
        knows = self._registry.catalog.knows
        rows = self._rows = {row.id: row for row in self._registry.capacity(now)}
        self._keep_seconds = min(KEEP_SECONDS, KEEP_SECONDS_PER_MACHINE * len(self._registry.sessions()))
        offering = _offers(one for one in self._registry.trusted_sessions() if not one.caps.private_only)
        found = {model: self._listing(model, (model,), offering, rows) for model in offering if knows(model)}
        for alias in self._directory.aliases():
            builds = tuple(build for build in alias.builds if knows(build))
            if builds:
                listed = self._listing(builds[0], builds, offering, rows)
                found[alias.id] = self._named(listed, alias.id, alias.display_name)
        return found

    def _named(self, listed: Listed, alias: str, title: str) -> Listed:
        """The same under a public name, which says nothing of the build's quantization."""
        facts = listed.description
        named = replace(facts, model=alias, name=title or facts.name, quantization=None)
        return Listed(named, listed.build)

    def _listing(
        self,
        model: str,
        builds: tuple[str, ...],
        offering: dict[str, list[Session]],
        rows: dict[str, ModelCapacity],
        *,
        owner: str | None = None,
    ) -> Listed:
        sessions = list({one.session_id: one for build in builds for one in offering.get(build, ())}.values())
        known = [rows[build] for build in builds if build in rows]
        attested = [session for session in sessions if session.trust.attested]
        postures = [session.trust.posture for session in attested]
        entry = self._directory.model(model)
        described = ModelDescription(
            model=model,
            context_length=self._registry.catalog.context_window(model) or None,
            provider_count=len(sessions),
            attested_providers=len(attested),
            trust_level=max((one.trust.level for one in attested), key=TRUST_RANK.__getitem__, default="none"),
            secure_enclave=_all(one is not None and one.secure_enclave for one in postures),
            sip_enabled=_all(one is not None and one.sip_enabled for one in postures),
            secure_boot=_all(one is not None and one.secure_boot_enabled for one in postures),
            routable_providers=sum(row.routable_providers for row in known),
            warm_providers=sum(row.warm_providers for row in known),
            can_accept=any(row.can_accept for row in known),
            input_modalities=_modalities(entry, sessions, builds),
        )
        if owner is not None:
            described = replace(described, owned_by=owner)
        if entry is not None:
            described = with_facts(described, entry)
        return Listed(described, model, is_hidden=self._directory.is_hidden(model))


def with_facts(described: ModelDescription, entry: CatalogModel) -> ModelDescription:
    """Add what the catalogue says of a model."""
    facts = entry.facts
    return replace(
        described,
        created=entry.created_at // MICROSECONDS,
        name=facts.display_name or None,
        description=facts.description or None,
        hugging_face_id=facts.hugging_face_id or None,
        context_length=facts.max_context_length or described.context_length,
        max_output_length=facts.max_output_length or None,
        quantization=facts.quantization or None,
        features=tuple(name for name in LISTED_FEATURES if name in facts.capabilities),
        model_type=facts.model_type,
        deprecation_date=facts.deprecation_date or None,
    )


def _modalities(entry: CatalogModel | None, sessions: list[Session], builds: tuple[str, ...]) -> tuple[str, ...]:
    said = entry.facts.capabilities if entry is not None else ()
    offers = [ad for one in sessions for build in builds if (ad := one.caps.models.get(build)) is not None]
    found = ["text"]
    if "vision" in said or any(offer.is_vision for offer in offers):
        found.append("image")
    if "video" in said:
        found.append("video")
    return tuple(found)


def _offers(sessions: Iterable[Session]) -> dict[str, list[Session]]:
    offering: dict[str, list[Session]] = {}
    for session in sessions:
        for model in session.caps.models:
            offering.setdefault(model, []).append(session)
    return offering


def _all(flags: Iterable[bool]) -> bool:
    """True only when there is a flag and none is False: a claim about nobody is no claim."""
    found = list(flags)
    return bool(found) and all(found)
