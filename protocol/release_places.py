"""Where the members of a bundle come to lie, told by their names alone, so that no version of Python decides it.

Invariant: whatever was let through, unpacked in its order into an empty folder, changes nothing outside of it: no
member lies below a link, so the folders on the way to one are real; a symbolic link goes up before it goes down, never
above the bundle; and what it meets on the way down are folders, or links of which the same is true.
"""

from __future__ import annotations

import tarfile
import unicodedata
from pathlib import PurePosixPath
from typing import TypeAlias

Place: TypeAlias = tuple[str, ...]


class Places:
    """The members of one archive so far; remembers its symbolic links."""

    def __init__(self) -> None:
        self._links: set[Place] = set()

    def leaves(self, member: tarfile.TarInfo) -> bool:
        """Whether a member is no file, folder or link, or if it, or what it links to, may lie outside of the bundle."""
        parts = PurePosixPath(member.name).parts
        if "\0" in member.name + member.linkname or _goes_astray(parts) or self._is_below_a_link(parts):
            return True
        if member.isdir():
            return False
        if not parts:
            return True
        if member.islnk():
            # A second name of a symbolic link would be one that starts elsewhere.
            target = PurePosixPath(member.linkname).parts
            return not target or _goes_astray(target) or self._is_below_a_link(target)
        if member.issym():
            self._links.add(_place(parts))
            return not member.linkname or _goes_astray(PurePosixPath(member.linkname).parts, depth=len(parts) - 1)
        return not member.isreg()

    def _is_below_a_link(self, parts: Place) -> bool:
        """Whether a path is a symbolic link's, or leads through one."""
        place = _place(parts)
        return any(place[:end] in self._links for end in range(1, len(place) + 1))


def _goes_astray(parts: Place, *, depth: int = 0) -> bool:
    """Whether a path is absolute, goes up after it went down, or goes up more than `depth` folders."""
    up = next((number for number, part in enumerate(parts) if part != ".."), len(parts))
    return up > depth or parts[:1] == ("/",) or parts[:1] == ("//",) or ".." in parts[up:]


def _place(parts: Place) -> Place:
    """Parts as the file systems see them that take upper and lower case, and ways to write a letter, for the same."""
    return tuple(unicodedata.normalize("NFD", part).casefold() for part in parts)
