"""What the filter of later Pythons does for a bundle is done for earlier ones too."""

import io
import os
import tarfile

import pytest

from provider.update.members import extract_member, harmless


def member(name, kind=tarfile.REGTYPE, target="", mode=0o6777):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, mode
    info.uid, info.gid, info.uname, info.gname = 1234, 1234, "someone", "some"
    return info


@pytest.mark.parametrize(
    "bad",
    [
        member("../outside"),
        member("a/../../outside"),
        member("/etc/outside"),
        member("out", tarfile.SYMTYPE, "../outside"),
        member("out", tarfile.SYMTYPE, "/etc"),
        member("a/out", tarfile.SYMTYPE, "../../outside"),
        member("out", tarfile.LNKTYPE, "../outside"),
        member("through/outside"),
        member("device", tarfile.CHRTYPE),
        member("pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda info: f"{info.name} {info.linkname}".strip(),
)
def test_what_leaves_the_folder_is_refused(tmp_path, bad):
    into = tmp_path / "bundle"
    into.mkdir()
    (into / "through").symlink_to(tmp_path)
    with pytest.raises(tarfile.TarError):
        harmless(bad, into)
    assert os.listdir(tmp_path) == ["bundle"]


@pytest.mark.parametrize(
    ("good", "mode"),
    [
        (member("bin/darkbloom"), 0o755),
        (member("bin/hidden", mode=0o000), 0o600),
        (member("lib", tarfile.DIRTYPE, mode=0o777), 0o755),
        (member("bin/python", tarfile.SYMTYPE, "../lib/python3"), 0o6777),
        (member("bin/again", tarfile.LNKTYPE, "bin/darkbloom"), 0o755),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_what_stays_keeps_its_rights_but_no_owner_and_no_special_ones(tmp_path, good, mode):
    kept = harmless(good, tmp_path)
    assert (kept.uid, kept.gid, kept.uname, kept.gname) == (os.geteuid(), os.getegid(), "", "")
    assert kept.mode == mode
    assert (good.uid, good.mode) != (kept.uid, kept.mode) or good.issym()


@pytest.mark.parametrize("filters", [True, False])
def test_a_bundle_comes_out_the_same_with_and_without_filters(tmp_path, monkeypatch, filters):
    if not filters:
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
        monkeypatch.setattr(tarfile.TarFile, "extraction_filter", staticmethod(lambda info, _path: info), raising=False)
    elif not hasattr(tarfile, "data_filter"):
        pytest.skip("this Python has no filters")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.addfile(member("bin", tarfile.DIRTYPE, mode=0o755))
        info = member("bin/darkbloom", mode=0o755)
        info.size = 4
        tar.addfile(info, io.BytesIO(b"true"))
        tar.addfile(member("bin/db", tarfile.SYMTYPE, "darkbloom"))
    packed.seek(0)
    with tarfile.open(fileobj=packed) as tar:
        for one in tar:
            extract_member(tar, one, tmp_path)
    assert (tmp_path / "bin" / "db").read_text() == "true"
    placed = (tmp_path / "bin" / "darkbloom").stat()
    assert (placed.st_uid, placed.st_mode & 0o7777) == (os.geteuid(), 0o755)
