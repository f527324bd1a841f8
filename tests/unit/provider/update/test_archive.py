"""What an archive says of its files is bounded, and nothing of a wrong one lands outside of its folder."""

import gzip
import io
import tarfile
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

import protocol.release_archive
from protocol.release_archive import MAX_DEPTH, ArchiveRefused, open_archive
from protocol.release_bundle import MAX_UNPACKED_BYTES
from provider.update.members import extract_member
from tests.testbed.bundles import PROGRAM, file, link, packed, whole


def unpack(archive, into):
    with open_archive(archive) as members:
        for member in members:
            extract_member(members.tar, member, into)


def unpacked(archive, into):
    """Unpack and name every file with its length."""
    unpack(io.BytesIO(archive), into)
    return {str(path.relative_to(into)): path.stat().st_size for path in into.rglob("*") if path.is_file()}


def refusal(archive, into):
    with pytest.raises(ArchiveRefused) as found:
        unpack(io.BytesIO(archive), into)
    return str(found.value)


def hard_link(name, target):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.LNKTYPE, target
    return member, b""


def of_size(size):
    """The header of a file without its content."""
    member = tarfile.TarInfo("lib/large")
    member.size = size
    return member.tobuf(tarfile.GNU_FORMAT)


def told(name, told_of_it):
    """A file of which more is told than its name."""
    member, content = file(name)
    member.pax_headers = told_of_it
    return member, content


def sparse(rest):
    """A sparse file that the pax format maps at the beginning of its content."""
    member, content = file("lib/sparse", rest)
    member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "10"}
    return member, content


def test_a_good_archive_comes_out_whole(tmp_path):
    members = [*whole(), file("lib/weights", bytes(3_000_000)), hard_link("bin/again", "bin/darkbloom")]
    found = unpacked(packed(members), tmp_path)
    assert found.pop("lib/weights") == 3_000_000
    assert found["bin/again"] == found["bin/darkbloom"] == found["bin/db"] == len(PROGRAM)


@pytest.mark.parametrize(
    ("archive", "words"),
    [
        (gzip.compress(of_size(MAX_UNPACKED_BYTES + 1)), "or too much"),
        # Python 3.11.3 and earlier read no such header.
        (gzip.compress(of_size(-(2**40))), "or too much" if hasattr(tarfile, "data_filter") else "cannot be unpacked"),
        (packed([file("/".join(["a"] * MAX_DEPTH) + "/b")]), "more than 64 parts"),
        (packed([file("../evil")]), "outside of itself"),
        (packed([link("lib/x", "../../x")]), "outside of itself"),
        (packed([link("lib", "bin"), file("lib/x")]), "below a link"),
        (packed([hard_link("a", "b"), *(file(f"{number}", b"x") for number in range(99)), file("b")]), "before it"),
        (packed([sparse(b"1\n0\n10\n".ljust(512, b"\0"))]), "a sparse file"),
        (packed([sparse(b"9999999\n" + b"1\n" * 1_500_000)]), "too much is told"),
        (packed([told("a", {"comment": "x" * 3_000_000})]), "too much is told"),
        (packed(whole())[:-40], "cannot be unpacked"),
    ],
    ids=["size", "negative", "depth", "outside", "link", "below", "link ahead", "sparse", "endless map", "told", "cut"],
)
def test_archives_against_the_rules(tmp_path, archive, words):
    into = tmp_path / "bundle"
    into.mkdir()
    assert words in refusal(archive, into)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_the_number_of_files_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(protocol.release_archive, "MAX_ENTRIES", 20)
    unpack(io.BytesIO(packed(file(str(number)) for number in range(20))), tmp_path)
    assert refusal(packed(file(str(number)) for number in range(21)), tmp_path) == "holds too many files, or too much"


def test_a_name_of_any_length_is_not_taken_into_memory(tmp_path):
    name = tarfile.TarInfo("././@LongLink")
    name.type, name.size = tarfile.GNUTYPE_LONGNAME, 2**32
    assert "too much is told" in refusal(gzip.compress(name.tobuf(tarfile.GNU_FORMAT)), tmp_path)


def test_what_is_told_of_files_is_not_kept(tmp_path):
    archive = packed(told(f"lib/{number}", {"comment": "x" * 1_000_000}) for number in range(30))
    tracemalloc.start()
    try:
        unpack(io.BytesIO(archive), tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 12_000_000
    finally:
        tracemalloc.stop()


def test_what_is_told_of_all_files_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(protocol.release_archive, "MAX_HEADERS_BYTES", 5_000_000)
    plain = b"".join(
        tarfile.TarInfo.create_pax_global_header({f"key{number}": "x" * 1_000_000}) + of_size(0) for number in range(6)
    )
    assert refusal(gzip.compress(plain), tmp_path) == "holds too many files, or too much"


@given(place=st.integers(0, 4 * 512), change=st.binary(min_size=1, max_size=64))
def test_spoiled_headers_are_refused_or_harmless(tmp_path_factory, place, change):
    plain = gzip.decompress(packed(whole()))
    spoiled = gzip.compress(plain[:place] + change + plain[place + len(change) :], compresslevel=1)
    into = tmp_path_factory.mktemp("spoiled") / "bundle"
    into.mkdir()
    try:
        unpack(io.BytesIO(spoiled), into)
    except (ArchiveRefused, OSError):
        pass
    assert [path.name for path in into.parent.iterdir()] == ["bundle"]
