"""Whether a release should be installed; pure."""

import enum

from protocol.semver import parse_version
from provider.update.state import UpdateState


class Verdict(enum.StrEnum):
    """What a comparison says."""

    CURRENT = "current"
    NEWER = "newer"
    OLDER = "older"
    QUARANTINED = "quarantined"


def compare(installed: str, offered: str, state: UpdateState) -> Verdict:
    """Compare versions by precedence; an installed version that cannot be read is older than any."""
    here, there = parse_version(installed), parse_version(offered)
    if there is None or (here is not None and here == there):
        return Verdict.CURRENT
    if here is not None and there < here:
        return Verdict.OLDER
    return Verdict.QUARANTINED if offered in state.quarantined else Verdict.NEWER
