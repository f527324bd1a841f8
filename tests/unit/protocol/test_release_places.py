"""What would leave a bundle is told by names alone, the same with every version of Python."""

import contextlib
import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.release_places import Places

UNFILTERED = {"filter": "fully_trusted"} if hasattr(tarfile, "data_filter") else {}
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
        member("here", LINK, "."),
        member(".", tarfile.DIRTYPE),
    ],
    ids=lambda one: f"{one.name} {one.linkname}".strip(),
)
def test_what_stays_inside(inside: tarfile.TarInfo) -> None:
    assert not Places().leaves(inside)


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
        member("a/b/x", LINK, "c/../y"),
        member("x", LINK),
        member("x", HARD),
        member("."),
        member("a\0b"),
        member("x", LINK, "a\0b"),
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
    assert Places().leaves(outside)


@pytest.mark.parametrize(
    "members",
    [
        [member("s", LINK, "a"), member("s/x")],
        [member("s", LINK, "a"), member("S/x")],
        [member("caf\u00e9", LINK, "a"), member("cafe\u0301/x")],
        [member("s", LINK, "a"), member("s")],
        [member("s", LINK, "a"), member("s", LINK, "b")],
        [member("s", LINK, "a"), member("s/t/u", LINK, "x")],
        [member("s", LINK, "a"), member("h", HARD, "s")],
        [member("s", LINK, "a"), member("h", HARD, "./s/x")],
    ],
    ids=["below", "in capitals", "spelt otherwise", "over it", "link over it", "link below", "hard link", "hard below"],
)
def test_nothing_goes_through_a_link(members: list[tarfile.TarInfo]) -> None:
    places = Places()
    assert [places.leaves(one) for one in members] == [False, True]


def test_links_may_meet_links_on_their_way_down() -> None:
    places = Places()
    chain = [member("bin/python", LINK, "python3"), member("bin/python3", LINK, "../lib/python3.11")]
    assert not any(places.leaves(one) for one in [*chain, member("lib64", LINK, "lib"), member("lib/python3.11")])


PARTS = st.sampled_from(["a", "b", "c", "A", "..", "."])
PATHS = st.lists(PARTS, min_size=1, max_size=5).map("/".join)
MEMBERS = st.lists(
    st.one_of(
        st.builds(member, PATHS, st.just(tarfile.DIRTYPE)),
        st.builds(member, PATHS, st.sampled_from([LINK, HARD]), PATHS),
        st.builds(member, PATHS),
    ),
    max_size=8,
)


@given(MEMBERS)
def test_what_is_let_through_changes_nothing_outside(
    tmp_path_factory: pytest.TempPathFactory, members: list[tarfile.TarInfo]
) -> None:
    """The library unpacks what is let through as it is, without rules of its own."""
    root = tmp_path_factory.mktemp("root")
    bundle = root.joinpath(*"xxxxxx")  # as deep as paths can climb, so that what leaves is seen
    bundle.mkdir(parents=True)
    places = Places()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for one in members:
            if not places.leaves(one):
                tar.addfile(one)
    packed.seek(0)
    with tarfile.open(fileobj=packed) as tar:
        tar.errorlevel = 0
        for one in tar:
            with contextlib.suppress(OSError, KeyError):
                tar.extract(one, bundle, **UNFILTERED)
    outside = [path for path in root.rglob("*") if bundle not in (path, *path.parents) and path not in bundle.parents]
    assert outside == []
    for path in bundle.rglob("*"):
        with contextlib.suppress(RuntimeError, OSError):  # a link to itself
            assert path.resolve().is_relative_to(bundle)
