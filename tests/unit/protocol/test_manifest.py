"""Manifests: what is accepted, every reason for a refusal, and where a build is stored."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.manifest import (
    MAX_MANIFEST_BYTES,
    ManifestRefused,
    aggregate_of,
    encode_manifest,
    is_file_path,
    is_model_id,
    is_version,
    parse_manifest,
    prefix_of,
    slug_of,
)

HASHES = {
    "config.json": "fd11fd11fceeb9df51a63f347cec3af4051d086fccb030e78777a83a4d3289e8",
    "model.safetensors": "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c",
    "sub/adapter.safetensors": "d339f720de1fd92a672df9ef19a8cdbda6171cbf33fcd35ad95c46f8aebaf628",
    "tokenizer.json": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
}
SIZES = {"config.json": 22, "model.safetensors": 7, "sub/adapter.safetensors": 4, "tokenizer.json": 2}
AGGREGATE = "5abe960b63d68609dbf3d258051a8637b1e8aa6a4e9fe714ab2e0e23fcf19131"


def good():
    return {
        "schema_version": 1,
        "model_id": "org/name",
        "version": "2026-07-01",
        "r2_prefix": prefix_of("org/name", "2026-07-01"),
        "aggregate_sha256": AGGREGATE,
        "total_size_bytes": sum(SIZES.values()),
        "file_count": 4,
        "files": [
            {"path": path, "size_bytes": SIZES[path], "sha256": sha256, "role": "weight"}
            for path, sha256 in HASHES.items()
        ],
        "created_at": "2026-07-01T00:00:00Z",
    }


def parse(members, **expected):
    return parse_manifest(json.dumps(members).encode(), **expected)


def test_good_manifest_has_the_weight_hash_of_the_vector():
    manifest = parse(good(), model_id="org/name", aggregate=AGGREGATE)
    assert aggregate_of(manifest.files) == AGGREGATE
    assert parse_manifest(encode_manifest(manifest)) == manifest


def test_files_that_do_not_count_are_listed_without_changing_the_hash():
    members = good()
    members["files"].append({"path": "README.md", "size_bytes": 3, "sha256": "0" * 64, "role": "other"})
    members["file_count"], members["total_size_bytes"] = 5, members["total_size_bytes"] + 3
    assert parse(members).aggregate_sha256 == AGGREGATE


@pytest.mark.parametrize(
    ("name", "expected"), [("model_id", "other/name"), ("r2_prefix", "v2/x/1"), ("aggregate", "0" * 64)]
)
def test_other_than_the_catalogue_says(name, expected):
    with pytest.raises(ManifestRefused, match="than the catalogue"):
        parse(good(), **{name: expected})


def changed(path, value):
    def change(members):
        *way, last = path
        place = members
        for step in way:
            place = place[step]
        place[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (changed(["schema_version"], 2), "schema 2"),
        (changed(["model_id"], "/abs"), "no valid model id"),
        (changed(["model_id"], "a/../b"), "no valid model id"),
        (changed(["version"], "a/b"), "no valid version"),
        (changed(["r2_prefix"], "v2/../x"), "no valid prefix"),
        (changed(["r2_prefix"], "/v2"), "no valid prefix"),
        (changed(["file_count"], 3), "count them rightly"),
        (changed(["file_count"], 0), "count them rightly"),
        (changed(["total_size_bytes"], 1), "do not add up"),
        (changed(["total_size_bytes"], -1), "expected shape"),
        (changed(["files", 0, "size_bytes"], -1), "expected shape"),
        (changed(["files", 0, "size_bytes"], 2**63), "expected shape"),
        (changed(["files", 0, "size_bytes"], "22"), "expected shape"),
        (changed(["files", 0, "sha256"], "0" * 63), "no lower-case hex"),
        (changed(["files", 0, "sha256"], "F" * 64), "no lower-case hex"),
        (changed(["files", 0, "sha256"], "0" * 64), "do not give its weight hash"),
        (changed(["aggregate_sha256"], "0" * 64), "do not give its weight hash"),
        (changed(["files", 0, "path"], ""), "no safe relative path"),
        (changed(["files", 0, "path"], "../evil"), "no safe relative path"),
        (changed(["files", 0, "path"], "/etc/passwd"), "no safe relative path"),
        (changed(["files", 0, "path"], "a//b"), "no safe relative path"),
        (changed(["files", 0, "path"], "a/./b"), "no safe relative path"),
        (changed(["files", 0, "path"], "a\\b"), "no safe relative path"),
        (changed(["files", 0, "path"], "a\nb"), "no safe relative path"),
        (changed(["files", 0, "path"], "x.part"), "reserved"),
        (changed(["files", 0, "path"], "x.part.json"), "reserved"),
        (changed(["files", 0, "path"], "manifest.json"), "reserved"),
        (changed(["files", 0, "path"], "tokenizer.json"), "twice"),
        (changed(["files", 0, "path"], "Tokenizer.JSON"), "twice"),
        (changed(["files", 0, "path"], "SUB"), "a file and as a folder"),
        (changed(["files"], "none"), "expected shape"),
    ],
)
def test_refusals(change, why):
    members = good()
    change(members)
    with pytest.raises(ManifestRefused, match=why):
        parse(members)


def test_too_large_a_manifest_is_not_even_decoded():
    with pytest.raises(ManifestRefused, match="larger than"):
        parse_manifest(b" " * (MAX_MANIFEST_BYTES + 1))


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b'{"schema_version":1}'])
def test_what_is_no_manifest(content):
    with pytest.raises(ManifestRefused, match="no JSON of the expected shape"):
        parse_manifest(content)


@pytest.mark.parametrize(
    ("model_id", "slug"),
    [
        ("mlx-community/Qwen2.5-0.5B-Instruct-4bit", "mlx-community-Qwen2.5-0.5B-Instruct-4bit--c4020aa3b35c"),
        ("foo/bar", "foo-bar--cc5d46bdb499"),
        ("foo__bar", "foo__bar--a3a759156e88"),
        ("--x--", "x--cf0e7da16ca6"),
    ],
)
def test_slugs(model_id, slug):
    assert slug_of(model_id) == slug
    assert prefix_of(model_id, "1") == f"v2/{slug}/1"


def test_slug_of_an_id_without_a_usable_letter():
    assert slug_of("---").startswith("model--")


def test_ids_and_versions():
    assert is_model_id("org/Name-4bit_1.0")
    assert not any(map(is_model_id, ("", "/a", "a/../b", "a b", "é", "a" * 257)))
    assert is_version("2026-07-01.a_b")
    assert not any(map(is_version, ("", "a/b", "..", ".", "a..b", "a b")))


@given(st.text(max_size=30))
def test_accepted_paths_stay_below_their_folder(path):
    if is_file_path(path):
        assert not path.startswith("/")
        assert all(part not in ("", ".", "..") for part in path.split("/"))
        assert "\\" not in path
