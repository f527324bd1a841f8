"""One line of the doctor."""

import enum
from dataclasses import dataclass


class Level(enum.StrEnum):
    """How bad it is."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`name` is stable; `detail` is what was seen, `fix` a command or an act, or ""."""

    section: str
    name: str
    level: Level
    detail: str
    fix: str = ""

    def as_json(self) -> dict[str, str]:
        """The stable keys of `--json`."""
        return {
            "section": self.section,
            "name": self.name,
            "level": self.level.value,
            "detail": self.detail,
            "fix": self.fix,
        }


def passed(section: str, name: str, detail: str) -> Finding:
    """All is well."""
    return Finding(section=section, name=name, level=Level.PASS, detail=detail)


def warned(section: str, name: str, detail: str, fix: str = "") -> Finding:
    """Something should be looked at."""
    return Finding(section=section, name=name, level=Level.WARN, detail=detail, fix=fix)


def failed(section: str, name: str, detail: str, fix: str = "") -> Finding:
    """This machine cannot serve as it should."""
    return Finding(section=section, name=name, level=Level.FAIL, detail=detail, fix=fix)
