"""Forms of single values that many declarations use, and the parameters of lists."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias

import msgspec

from server.openapi.operation import Parameter

Moment = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
"""RFC 3339 in UTC."""

Amount = Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]+\.[0-9]+$")]
"""US dollars as a decimal text."""

JsonObject: TypeAlias = dict[str, Any]
"""An object whose members are not declared."""

Window = Annotated[str, msgspec.Meta(extra_json_schema={"enum": ["24h", "1d", "7d", "30d", "all", "lifetime"]})]
Rows = Annotated[int, msgspec.Meta(ge=1, le=1000)]

LIMIT: Final = Parameter(name="limit", meaning="How many rows at most.", kind=Rows)
FEW: Final = Parameter(name="limit", meaning="How many at most.", kind=Annotated[int, msgspec.Meta(ge=1, le=200)])
PERIOD: Final = (
    Parameter(name="since", meaning="Only what happened since this moment.", kind=Moment),
    Parameter(name="until", meaning="Only what happened before it.", kind=Moment),
)
FORMAT: Final = Parameter(name="format", meaning="`csv` or `json`.")
