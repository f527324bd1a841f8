"""Unpacking one member of a bundle so that nothing of it lands, or points, outside of the folder.

Python 3.11.4 and later know this as the filter `data`; distributions ship earlier ones, for which it is done here.
"""

import copy
import os
import tarfile
from pathlib import Path

_KEPT_MODE = 0o755


def extract_member(tar: tarfile.TarFile, member: tarfile.TarInfo, into: Path) -> None:
    """Unpack a member; raises `tarfile.TarError` for one that would leave the folder."""
    if hasattr(tarfile, "data_filter"):
        tar.extract(member, into, filter="data")
    else:
        tar.extract(harmless(member, into), into)


def harmless(member: tarfile.TarInfo, into: Path) -> tarfile.TarInfo:
    """Copy a member without owner and special rights; raises `tarfile.TarError` unless it stays below `into`."""
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        raise tarfile.ExtractError("The member is neither a file nor a folder nor a link.")
    _refuse_outside(os.path.join(into, member.name), into)
    if member.issym() or member.islnk():
        if os.path.isabs(member.linkname):
            raise tarfile.ExtractError("A link has an absolute target.")
        # A symbolic link starts at its own place, a hard link at the root of the archive.
        start = os.path.dirname(os.path.join(into, member.name)) if member.issym() else into
        _refuse_outside(os.path.join(start, member.linkname), into)
    kept = copy.copy(member)
    if not member.issym():
        kept.mode = member.mode & _KEPT_MODE | (0o700 if member.isdir() else 0o600)
    kept.uid, kept.gid, kept.uname, kept.gname = os.geteuid(), os.getegid(), "", ""
    return kept


def _refuse_outside(path: str, into: Path) -> None:
    folder = os.path.realpath(into)
    if os.path.commonpath([folder, os.path.realpath(path)]) != folder:
        raise tarfile.ExtractError("A member or the target of a link lies outside of the bundle.")
