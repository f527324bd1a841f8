"""The coordinator: reachable, on time, content with the token, and what it offers."""

import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec

from protocol.semver import parse_version
from provider.account import TokenFile, TokenFileRefused
from provider.config import Configuration
from provider.doctor.finding import Finding, failed, passed, warned
from provider.status.text import LOG_IN_AGAIN
from provider.update.release import ReleaseRefused, fetch_latest
from provider.upstream import Upstream, UpstreamUnreachable

SECTION: Final = "coordinator"
MAX_SKEW_SECONDS: Final = 30.0


class _Entry(msgspec.Struct, frozen=True):
    id: str = ""
    aggregate_sha256: str = ""
    weight_hash: str = ""


class _Catalogue(msgspec.Struct, frozen=True):
    models: tuple[_Entry, ...] = ()


def health(base: str) -> Iterator[Finding]:
    """`coordinator health` and `clock skew`."""
    try:
        with Upstream(base, timeout=4.0) as upstream:
            asked = time.time()
            answer = upstream.get("/health")
    except UpstreamUnreachable as unreachable:
        yield failed(SECTION, "coordinator health", str(unreachable), "check the address and the network")
        return
    if answer.status != 200:
        yield failed(SECTION, "coordinator health", f"{base} answers with status {answer.status}")
        return
    yield passed(SECTION, "coordinator health", base)
    yield from _skew(answer.date, asked)


def account(base: str, configuration: Configuration) -> Iterator[Finding]:
    """`account link`: whether the coordinator accepts the token."""
    try:
        token = TokenFile(configuration.settings.state_directory).read()
    except TokenFileRefused:
        return
    if token is None:
        return
    if token.coordinator and token.coordinator != base:
        yield warned(
            SECTION,
            "account link",
            f"the token is of {token.coordinator}, not of {base}",
            LOG_IN_AGAIN,
        )
        return
    try:
        with Upstream(base, timeout=4.0) as upstream:
            answer = upstream.get("/v1/provider/account-earnings", token=token.secret, query={"limit": "1"})
    except UpstreamUnreachable:
        return
    if answer.status in (401, 403):
        yield failed(SECTION, "account link", "the coordinator does not accept the token", LOG_IN_AGAIN)


def release(base: str, platform: str, version: str) -> Iterator[Finding]:
    """`up to date`."""
    try:
        with Upstream(base, timeout=4.0) as upstream:
            found = fetch_latest(upstream, platform)
    except UpstreamUnreachable:
        return
    except ReleaseRefused as refused:
        yield warned(SECTION, "up to date", str(refused))
        return
    if found is None:
        yield passed(SECTION, "up to date", f"no release is registered for {platform}")
        return
    ours, theirs = parse_version(version), parse_version(found.version)
    if ours is not None and theirs is not None and ours < theirs:
        yield warned(SECTION, "up to date", f"{found.version} is out, this is {version}", "darkbloom update")
    else:
        yield passed(SECTION, "up to date", version)


def expected_hashes(base: str) -> dict[str, str]:
    """The catalogue's weight hashes by model; empty when it cannot be read."""
    try:
        with Upstream(base, timeout=4.0) as upstream:
            answer = upstream.get("/v1/models/catalog", query={"type": "text"})
        entries = msgspec.convert(answer.content, _Catalogue).models
    except (UpstreamUnreachable, msgspec.ValidationError):
        return {}
    return {entry.id: entry.aggregate_sha256 or entry.weight_hash for entry in entries}


def _skew(date: str, asked: float) -> Iterator[Finding]:
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return
    skew = abs(theirs - asked)
    if skew > MAX_SKEW_SECONDS:
        yield failed(
            SECTION, "clock skew", f"this clock differs by {skew:.0f} s; challenges will fail", "set the clock (NTP)"
        )
    else:
        yield passed(SECTION, "clock skew", f"{skew:.0f} s")
