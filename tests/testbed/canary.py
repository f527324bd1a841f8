"""A secret text that must not leak, in every form in which it could."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

# Plain letters, so that a fragment is found too, and signs that escaping changes.
MARK = "kanarie7f3a9c"
MARGIN = 4


class Canary:
    """One secret and its traces; `also` names further forms in which it could come out."""

    def __init__(self, name: str, also: Mapping[str, bytes] | None = None) -> None:
        self.mark = f"{MARK}{name}"
        self.text = f'{self.mark} "gëhéim" \\ 🐤 ende{name}'
        self._also = dict(also or {})

    def traces(self) -> dict[str, bytes]:
        """Give the byte strings to look for by the name of their form."""
        raw = self.text.encode()
        found = {
            "mark": self.mark.encode(),
            "raw": raw,
            "json": json.dumps(self.text)[1:-1].encode(),
            "json-utf8": json.dumps(self.text, ensure_ascii=False)[1:-1].encode(),
            "repr": repr(raw)[2:-1].encode(),
            "escape": self.text.encode("unicode_escape"),
            "percent": quote(self.text).encode(),
            "hex": raw.hex().encode(),
            "hex-upper": raw.hex().upper().encode(),
        }
        for shift in range(3):
            # Base64 looks different at each of the three alignments; the ends depend on the neighbours.
            padded = b"\0" * shift + raw
            found[f"base64-{shift}"] = b64encode(padded)[MARGIN:-MARGIN]
            found[f"base64-url-{shift}"] = urlsafe_b64encode(padded)[MARGIN:-MARGIN]
        return found | self._also

    def found_in(self, content: bytes) -> list[str]:
        """Name the forms that occur in some bytes."""
        return [form for form, trace in self.traces().items() if trace in content]


def leaks(canaries: list[Canary], folder: Path, leave_out: set[Path]) -> list[str]:
    """Search every file below a folder; gives `file: form` for each hit."""
    hits: list[str] = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path not in leave_out):
        content = path.read_bytes()
        hits += [f"{path.relative_to(folder)}: {form}" for canary in canaries for form in canary.found_in(content)]
    return hits
