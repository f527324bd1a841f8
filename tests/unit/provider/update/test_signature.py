"""Signed releases: what is not signed by a known key, or is not what it is offered as, is never unpacked."""

import base64
import json

import pytest
from nacl.signing import SigningKey

from protocol.settings import SettingsError
from provider.config import load_settings
from provider.update.install import stage
from provider.update.release import ReleaseRefused
from tests.unit.provider.update.release_peer import ENTRY, MARK, latest, make_bundle

OURS, OTHER = SigningKey(bytes(range(32))), SigningKey(bytes(32))
KEYS = (bytes(OURS.verify_key),)


def written(key):
    return base64.b64encode(bytes(key.verify_key)).decode()


def signed(text, key=OURS):
    return base64.b64encode(key.sign(text.encode()).signature).decode()


def offer(peer, *, version="0.2.0", mark=None):
    """Release a bundle whose mark names its version; gives the row."""
    said = {"version": version} if mark is None else mark
    peer.bundle = make_bundle({MARK: json.dumps(said).encode(), ENTRY: b"#!/bin/sh\necho new\n"})
    return peer.release(version)


def staged(installed):
    return sorted(entry.name for entry in (installed.base / "versions").iterdir())


def test_a_signature_in_the_row_is_taken(peer, installed):
    row = offer(peer)
    row["signature"] = signed(row["bundle_hash"])
    stage(latest(peer), installed, keys=KEYS)
    assert staged(installed) == ["0.1.0", "0.2.0"]


def test_a_signature_beside_the_bundle_is_taken(peer, installed):
    row = offer(peer)
    peer.signature = signed(row["bundle_hash"]).encode() + b"\n"
    stage(latest(peer), installed, keys=KEYS)
    assert staged(installed) == ["0.1.0", "0.2.0"]
    assert "/bundle.tar.gz.sig" in peer.asked


def test_one_of_several_keys_is_enough(peer, installed):
    row = offer(peer)
    row["signature"] = signed(row["bundle_hash"], OTHER)
    stage(latest(peer), installed, keys=(*KEYS, bytes(OTHER.verify_key)))
    assert staged(installed) == ["0.1.0", "0.2.0"]


@pytest.mark.parametrize(
    ("signature", "words"),
    [
        (lambda row: "", "carries no signature"),
        (lambda row: signed(row["bundle_hash"], OTHER), "by none of the keys"),
        (lambda row: signed(row["binary_hash"]), "by none of the keys"),
        (lambda row: signed(row["bundle_hash"])[:-4], "by none of the keys"),
        (lambda row: "not base64", "by none of the keys"),
    ],
)
def test_without_a_right_signature_nothing_is_fetched(peer, installed, signature, words):
    row = offer(peer)
    row["signature"] = signature(row)
    with pytest.raises(ReleaseRefused, match=words):
        stage(latest(peer), installed, keys=KEYS)
    assert staged(installed) == ["0.1.0"]
    assert "/bundle.tar.gz" not in peer.asked


def test_another_bundle_under_a_signed_hash_is_refused(peer, installed):
    row = offer(peer)
    row["signature"] = signed(row["bundle_hash"])
    peer.bundle = make_bundle({MARK: b"{}", ENTRY: b"#!/bin/sh\necho evil\n"})
    with pytest.raises(ReleaseRefused, match="does not have the hash"):
        stage(latest(peer), installed, keys=KEYS)
    assert staged(installed) == ["0.1.0"]


@pytest.mark.parametrize("mark", [{"version": "0.1.5"}, {}])
def test_an_old_signed_bundle_cannot_be_offered_as_a_new_one(peer, installed, mark):
    row = offer(peer, mark=mark)
    row["signature"] = signed(row["bundle_hash"])
    with pytest.raises(ReleaseRefused, match=r"offered as 0\.2\.0 calls itself"):
        stage(latest(peer), installed, keys=KEYS)
    assert staged(installed) == ["0.1.0"]


def test_the_installed_bundle_pins_the_key_of_its_successor(peer, installed):
    (installed.folder("0.1.0") / MARK).write_text(json.dumps({"version": "0.1.0", "update_keys": [written(OURS)]}))
    row = offer(peer)
    with pytest.raises(ReleaseRefused, match="carries no signature"):
        stage(latest(peer), installed, keys=())
    row["signature"] = signed(row["bundle_hash"])
    stage(latest(peer), installed, keys=())
    assert staged(installed) == ["0.1.0", "0.2.0"]


def test_a_configured_key_wins_over_the_pinned_one(peer, installed):
    (installed.folder("0.1.0") / MARK).write_text(json.dumps({"update_keys": [written(OURS)]}))
    row = offer(peer)
    row["signature"] = signed(row["bundle_hash"])
    with pytest.raises(ReleaseRefused, match="by none of the keys"):
        stage(latest(peer), installed, keys=(bytes(OTHER.verify_key),))


@pytest.mark.parametrize("mark", ["no json", '{"update_keys": ["short"]}', '{"update_keys": 7}'])
def test_a_mark_that_cannot_be_read_is_no_permission(peer, installed, mark):
    (installed.folder("0.1.0") / MARK).write_text(mark)
    offer(peer)
    with pytest.raises(ReleaseRefused, match="install the program anew"):
        stage(latest(peer), installed, keys=())


def test_keys_are_settings():
    loaded = load_settings({"DARKBLOOM_UPDATE_KEYS": f"{written(OURS)},{written(OTHER)}"})
    assert loaded.settings.update_keys == (*KEYS, bytes(OTHER.verify_key))
    with pytest.raises(SettingsError, match="DARKBLOOM_UPDATE_KEYS"):
        load_settings({"DARKBLOOM_UPDATE_KEYS": "AAAA"})
