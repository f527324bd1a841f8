"""Bundles at a download server on loopback: both hashes must be right, and no file may lie outside."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
import tracemalloc
from collections.abc import AsyncGenerator

import msgspec
import pytest

from protocol.release_bundle import ENTRY, MAX_UNPACKED_BYTES
from server.catalog.artefacts import Artefacts, entry_hash
from server.catalog.refused import ArtefactRefused
from server.catalog.release_rows import Release
from server.catalog.release_wish import ReleaseWish
from tests.testbed import bundles
from tests.testbed.bundles import PROGRAM, file, link, packed, place_of, release_body, whole
from tests.testbed.model_server import PIECE, Asked, Fault, ModelServer


@pytest.fixture
async def shelf() -> AsyncGenerator[ModelServer]:
    async with ModelServer.open() as server:
        yield server


def wanted(shelf: ModelServer, bundle: bytes, **members: str) -> Release:
    body = release_body(f"{shelf.url}/cdn", "0.7.0", bundle, **members)
    return msgspec.convert(body, ReleaseWish).release(active=True, now=1)


async def refusal(shelf: ModelServer, release: Release, *, seconds: float = 120.0) -> str:
    with pytest.raises(ArtefactRefused) as found:
        await Artefacts(f"{shelf.url}/cdn", check_seconds=seconds).check(release)
    return str(found.value)


async def test_a_good_bundle_passes_at_both_places(shelf: ModelServer) -> None:
    bundle = packed(whole())
    release = wanted(shelf, bundle)
    artefacts = Artefacts(f"{shelf.url}/cdn/")
    for place in artefacts.places(release):
        shelf.files = {place.removeprefix(f"{shelf.url}/"): bundle}
        await artefacts.check(msgspec.structs.replace(release, url=place))
    assert shelf.sent == 2 * len(bundle)


async def test_what_lies_elsewhere_is_not_even_asked_for(shelf: ModelServer) -> None:
    bundle = packed(whole())
    for url in (
        f"{shelf.url}/cdn/{place_of('0.7.0')}?x=1",
        f"{shelf.url}/cdn/{place_of('0.7.1')}",
        f"http://elsewhere.example/cdn/{place_of('0.7.0')}",
        f"{shelf.url}/cdn/releases/v0.7.0/artifacts/{'0' * 64}/darkbloom-bundle-{bundles.PLATFORM}.tar.gz",
    ):
        said = await refusal(shelf, wanted(shelf, bundle, url=url))
        assert said.startswith(f"url must be {shelf.url}/cdn/releases/v0.7.0/darkbloom-bundle-"), said
    assert not shelf.asked


async def test_one_other_bit_is_another_bundle(shelf: ModelServer) -> None:
    bundle = packed(whole())
    release = wanted(shelf, bundle)
    shelf.files[f"cdn/{place_of('0.7.0')}"] = bundle[:40] + bytes([bundle[40] ^ 1]) + bundle[41:]
    assert "does not have this bundle_hash" in await refusal(shelf, release)
    shelf.files[f"cdn/{place_of('0.7.0')}"] = bundle
    other = msgspec.structs.replace(release, binary_hash="0" * 64)
    assert "does not have this binary_hash" in await refusal(shelf, other)


async def test_a_download_server_that_fails_is_told_of(shelf: ModelServer) -> None:
    bundle = packed([*whole(), file("lib/weights", random.Random(1).randbytes(2 * PIECE))])
    release = wanted(shelf, bundle)
    assert "answers 404; upload the bundle first" in await refusal(shelf, release)
    shelf.files[f"cdn/{place_of('0.7.0')}"] = bundle

    def fault(_asked: Asked) -> Fault:
        return faults.pop()

    faults = [Fault(cut_after=20), Fault(status=302, headers={"Location": "/elsewhere"})]
    shelf.faults = fault
    assert "answers 302" in await refusal(shelf, release)
    assert "cannot be fetched" in await refusal(shelf, release)
    shelf.faults = lambda _asked: None
    shelf.bytes_per_second = 1.0
    assert "took more than 0.05 seconds" in await refusal(shelf, release, seconds=0.05)


def device() -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo("dev/null")
    member.type = tarfile.CHRTYPE
    return member, b""


def hard_link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.LNKTYPE, target
    return member, b""


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([*whole(), file("../x")], "outside of itself"),
        ([*whole(), file("lib/../../x")], "outside of itself"),
        ([*whole(), file("/etc/x")], "outside of itself"),
        ([*whole(), device()], "outside of itself"),
        ([*whole(), link("lib/x", "/etc/passwd")], "outside of itself"),
        ([*whole(), link("lib/x", "../../x")], "outside of itself"),
        ([*whole(), link("new", "lib"), file("new/x")], "below a link"),
        ([*whole(), file(ENTRY, PROGRAM)], "one ordinary file"),
        ([*whole(), file(f"./{ENTRY}", PROGRAM)], "one ordinary file"),
        ([file(bundles.MARK), link(ENTRY, "other"), file("bin/other", PROGRAM)], "one ordinary file"),
        ([file("bin/other", PROGRAM), hard_link(ENTRY, "bin/other")], "one ordinary file"),
        ([file(bundles.MARK)], "holds no bin/darkbloom"),
        ([], "holds no bin/darkbloom"),
    ],
)
def test_archives_against_the_rules(members: list[tuple[tarfile.TarInfo, bytes]], words: str) -> None:
    with pytest.raises(ArtefactRefused, match=words):
        entry_hash(io.BytesIO(packed(members)))


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", gzip.compress(b"no archive" * 100), packed(whole())[:-40]],
    ids=["empty", "text", "compressed text", "cut"],  # compressed bytes hold the time, and workers compare the ids
)
def test_what_is_no_archive(content: bytes) -> None:
    with pytest.raises(ArtefactRefused, match="release artifact verification failed"):
        entry_hash(io.BytesIO(content))


def test_archives_that_would_fill_the_disk_or_the_memory() -> None:
    many = packed(file(f"lib/{number}") for number in range(16_385))
    with pytest.raises(ArtefactRefused, match="too many files"):
        entry_hash(io.BytesIO(many))
    large = tarfile.TarInfo("lib/large")
    large.size = MAX_UNPACKED_BYTES + 1
    with pytest.raises(ArtefactRefused, match="or too much"):
        entry_hash(io.BytesIO(gzip.compress(large.tobuf(tarfile.GNU_FORMAT))))
    name = tarfile.TarInfo("././@LongLink")
    name.type, name.size = tarfile.GNUTYPE_LONGNAME, 2**32
    with pytest.raises(ArtefactRefused, match="too much is told"):
        entry_hash(io.BytesIO(gzip.compress(name.tobuf(tarfile.GNU_FORMAT))))


def sparse_header(*, goes_on: bool) -> bytes:
    """A sparse file of ten bytes; its map may go on in blocks that follow."""
    member = tarfile.TarInfo("lib/sparse")
    member.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = SPAN
    header[482] = goes_on
    header[483:495] = b"%011o\0" % 10
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


SPAN = b"%011o\0" % 1 * 2
"""One byte at the place 1, as maps of sparse files have it."""


def test_a_sparse_file_takes_more_than_it_says_and_is_refused() -> None:
    with pytest.raises(ArtefactRefused, match="a sparse file, 'lib/sparse'"):
        entry_hash(io.BytesIO(gzip.compress(sparse_header(goes_on=False))))


def test_headers_without_an_end_are_not_taken_into_memory() -> None:
    block = (SPAN * 21).ljust(504, b"\0") + b"\1" + bytes(7)
    endless = gzip.compress(sparse_header(goes_on=True) + block * 20_000)
    with pytest.raises(ArtefactRefused, match="too much is told"):
        entry_hash(io.BytesIO(endless))
    one = tarfile.TarInfo.create_pax_global_header({"comment": "x"})
    nested = (one[:156] + tarfile.XHDTYPE + one[157:])[:512]
    nested = nested[:148] + b"%06o\0 " % sum(nested[:148] + b" " * 8 + nested[156:]) + nested[156:] + one[512:]
    with pytest.raises(ArtefactRefused, match="cannot be unpacked"):
        entry_hash(io.BytesIO(gzip.compress(nested * 1_500)))


def test_what_is_told_of_a_file_is_not_kept() -> None:
    def told(number: int) -> tuple[tarfile.TarInfo, bytes]:
        member, content = file(f"lib/{number}")
        member.pax_headers = {"comment": "x" * 1_000_000}
        return member, content

    bundle = io.BytesIO(packed([*whole(), *(told(number) for number in range(30))]))
    tracemalloc.start()
    try:
        entry_hash(bundle)
        assert tracemalloc.get_traced_memory()[1] < 12_000_000
    finally:
        tracemalloc.stop()


class Left(BaseException):
    """The caller has gone."""


@pytest.mark.parametrize("looks", [0, 5, 20])
def test_the_walk_ends_when_its_caller_leaves(looks: int) -> None:
    """Wherever it is: even the head of the archive may be gigabytes long."""
    left = iter(range(looks))

    def leave() -> None:
        if next(left, None) is None:
            raise Left

    endless_name = b"\x1f\x8b\x08\x08" + bytes(6) + b"x" * 1_000
    for archive in (packed([*whole(), file("lib/noise", random.Random(1).randbytes(4_000_000))]), endless_name):
        with pytest.raises(Left):
            entry_hash(io.BytesIO(archive), leave)
        left = iter(range(looks))


def test_the_hash_is_of_the_program() -> None:
    program = b"x" * 3_000_000
    assert entry_hash(io.BytesIO(packed(whole(program)))) == bundles.sha256(program)
