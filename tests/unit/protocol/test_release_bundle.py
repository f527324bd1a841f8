"""What a bundle must not hold is told by names alone, the same with every version of Python."""

import tarfile

import pytest

from protocol.release_bundle import leaves_the_bundle

LINK, HARD = tarfile.SYMTYPE, tarfile.LNKTYPE


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    "inside",
    [
        member("bin/darkbloom"),
        member("./bin/darkbloom"),
        member("bin", tarfile.DIRTYPE),
        member("bin/db", LINK, "darkbloom"),
        member("bin/python", LINK, "../lib/./python3"),
        member("a/b/c", LINK, "../../x"),
        member("bin/again", HARD, "bin/darkbloom"),
        member("..lib/x", LINK, "..x"),
    ],
    ids=lambda one: f"{one.name} {one.linkname}".strip(),
)
def test_what_stays_inside(inside: tarfile.TarInfo) -> None:
    assert not leaves_the_bundle(inside)


@pytest.mark.parametrize(
    "outside",
    [
        member("../x"),
        member("lib/../../x"),
        member("/etc/x"),
        member("bin/x", LINK, "/etc/passwd"),
        member("bin/x", LINK, "../../x"),
        member("x", LINK, ".."),
        member("a/x", LINK, "b/../../../x"),
        member("a/b/x", HARD, "../x"),
        member("x", HARD, "/etc/passwd"),
        member("dev/null", tarfile.CHRTYPE),
        member("dev/disk", tarfile.BLKTYPE),
        member("pipe", tarfile.FIFOTYPE),
        member("unknown", b"Z"),
    ],
    ids=lambda one: f"{one.name} {one.linkname}".strip(),
)
def test_what_would_leave(outside: tarfile.TarInfo) -> None:
    assert leaves_the_bundle(outside)
