"""Downloads over a real socket from a server that fails in every way, into a real folder."""

import errno
import json
import os

import pytest
import trio

from protocol.weight_hash import weight_hash
from provider.catalog.failures import DownloadBusy, DownloadFailed
from provider.catalog.place import LOCK_NAME, revision_of
from provider.catalog.staging import StagedFile, Staging
from provider.host.file_lock import FileLock
from provider.models.in_use import SnapshotHold
from tests.testbed.model_folder import SMALL, write_model_folder
from tests.testbed.model_server import Fault

WEIGHTS = "model.safetensors"


def staging_of(cache, manifest):
    return Staging(cache.folder(manifest.model_id).snapshots, manifest, SMALL).directory


def once(name, fault):
    """The first request of a file gets the fault."""
    return lambda asked: fault if asked.path == name and asked.before == 0 else None


def always(name, fault):
    return lambda asked: fault if asked.path == name else None


async def test_model_arrives_whole_and_becomes_current(server, folder, cache, fetch):
    manifest = server.publish(folder)
    heard = []
    downloaded = await fetch(manifest, listener=heard.append)
    place = cache.folder(manifest.model_id)
    assert downloaded.directory == place.current() == place.snapshots / revision_of(manifest.aggregate_sha256)
    assert weight_hash(downloaded.directory) == manifest.aggregate_sha256 == weight_hash(folder)
    assert downloaded.fetched_bytes == manifest.total_size_bytes
    assert (place.path / "model-id").read_text() == manifest.model_id
    assert [path.name for path in place.snapshots.iterdir()] == [downloaded.directory.name]
    assert not (downloaded.directory / "README.md").exists()
    assert (heard[0].phase, heard[0].done) == ("started", 0)
    assert heard[-1].done == heard[-1].total == manifest.total_size_bytes
    assert sorted(event.file for event in heard if event.phase == "verified") == sorted(
        file.path for file in manifest.files
    )


async def test_large_file_comes_in_ranges_several_at_a_time(server, folder, fetch):
    manifest = server.publish(folder)
    server.bytes_per_second = 2_000_000
    await fetch(manifest)
    assert server.asked[f"{manifest.r2_prefix}/{WEIGHTS}"] == 7
    assert server.most_at_once >= 3


async def test_second_download_fetches_nothing(server, folder, fetch):
    manifest = server.publish(folder)
    await fetch(manifest)
    asked = dict(server.asked)
    assert (await fetch(manifest)).fetched_bytes == 0
    assert server.asked == asked


async def test_damaged_installed_model_is_fetched_again(server, folder, cache, fetch):
    manifest = server.publish(folder)
    path = (await fetch(manifest)).directory / "config.json"
    path.write_text(json.dumps({"model_type": "other"}))
    downloaded = await fetch(manifest)
    assert weight_hash(downloaded.directory) == manifest.aggregate_sha256
    assert [entry.name for entry in cache.folder(manifest.model_id).snapshots.iterdir()] == [downloaded.directory.name]


async def test_cut_connections_go_on_where_they_stopped(server, folder, fetch):
    manifest = server.publish(folder)
    server.faults = lambda asked: Fault(cut_after=9_000) if asked.before < 3 and asked.path == WEIGHTS else None
    downloaded = await fetch(manifest)
    assert weight_hash(downloaded.directory) == manifest.aggregate_sha256
    assert downloaded.fetched_bytes == manifest.total_size_bytes


async def test_connection_that_is_always_cut_fails_and_keeps_what_arrived(server, folder, cache, fetch):
    manifest = server.publish(folder)
    server.faults = always(WEIGHTS, Fault(cut_after=0))
    with pytest.raises(DownloadFailed, match=r"model.safetensors cannot be fetched \(.*\); run the same command"):
        await fetch(manifest)
    assert staging_of(cache, manifest).is_dir()
    server.faults = lambda _asked: None
    await fetch(manifest)


@pytest.mark.parametrize("status", [500, 503, 429, 408])
async def test_status_that_may_pass_is_tried_again(server, folder, fetch, status):
    manifest = server.publish(folder)
    server.faults = once("config.json", Fault(status=status, headers={"Retry-After": "1"}))
    began = trio.current_time()
    await fetch(manifest)
    assert server.asked[f"{manifest.r2_prefix}/config.json"] == 2
    assert trio.current_time() - began >= SMALL.longest_retry_after


@pytest.mark.parametrize("status", [404, 403, 410])
async def test_status_that_stays_is_not_tried_again(server, folder, fetch, status):
    manifest = server.publish(folder)
    server.faults = always("config.json", Fault(status=status))
    with pytest.raises(DownloadFailed, match=f"answers {status} for config.json"):
        await fetch(manifest)
    assert server.asked[f"{manifest.r2_prefix}/config.json"] == 1


async def test_wrong_bytes_once_are_fetched_again(server, folder, fetch):
    manifest = server.publish(folder)
    server.faults = once("tokenizer.json", Fault(corrupt=True))
    assert weight_hash((await fetch(manifest)).directory) == manifest.aggregate_sha256
    assert server.asked[f"{manifest.r2_prefix}/tokenizer.json"] == 2


async def test_wrong_bytes_always_name_the_file_and_leave_the_old_model(server, folder, cache, fetch, tmp_path):
    old = (await fetch(server.publish(folder))).directory
    manifest = server.publish(write_model_folder(tmp_path / "next", seed=2), version="2")
    server.faults = always(WEIGHTS, Fault(corrupt=True))
    with pytest.raises(DownloadFailed, match=r"The file model\.safetensors .* wrong content, twice"):
        await fetch(manifest)
    assert cache.folder(manifest.model_id).current() == old
    assert weight_hash(old) == weight_hash(folder)


async def test_server_without_ranges_sends_whole_files(server, folder, fetch):
    manifest = server.publish(folder)
    server.faults = lambda _asked: Fault(whole=True)
    assert weight_hash((await fetch(manifest)).directory) == manifest.aggregate_sha256


async def test_interrupted_file_starts_over_when_the_server_has_no_ranges(server, folder, fetch):
    manifest = server.publish(folder)
    server.faults = always("adapter.safetensors", Fault(cut_after=2_000))
    with pytest.raises(DownloadFailed):
        await fetch(manifest, limits=SMALL)
    server.faults = lambda _asked: Fault(whole=True)
    assert weight_hash((await fetch(manifest)).directory) == manifest.aggregate_sha256


async def test_other_range_than_asked_for_is_not_taken(server, folder, fetch):
    manifest = server.publish(folder)
    server.faults = once(WEIGHTS, Fault(shift=100))
    assert weight_hash((await fetch(manifest)).directory) == manifest.aggregate_sha256


@pytest.mark.parametrize("fault", [Fault(total=123), Fault(whole=True)])
async def test_wrong_size_on_the_server_is_said(server, folder, fetch, fault):
    manifest = server.publish(folder)
    server.files[f"{manifest.r2_prefix}/config.json"] += b" "
    server.faults = always("config.json", fault)
    with pytest.raises(DownloadFailed, match=r"config\.json has \d+ bytes on the download server, but 23 in the"):
        await fetch(manifest)


async def test_range_outside_of_the_servers_file_starts_over_once(server, folder, fetch, tmp_path):
    manifest = server.publish(folder)
    server.faults = once("tokenizer.json", Fault(status=416))
    await fetch(manifest)
    server.faults = always("tokenizer.json", Fault(status=416))
    with pytest.raises(DownloadFailed, match=r"does not give out tokenizer\.json rightly"):
        await fetch(server.publish(write_model_folder(tmp_path / "next", seed=2), version="2"))


async def test_too_little_space_is_said_before_anything_is_fetched(server, folder, cache, fetch):
    manifest = server.publish(folder)
    with pytest.raises(DownloadFailed, match=r"needs 0\.0 GiB more, and 0\.0 GiB are free"):
        await fetch(manifest, free=lambda _path: manifest.total_size_bytes + 999)
    assert not server.asked
    assert not staging_of(cache, manifest).exists()
    await fetch(manifest, free=lambda _path: manifest.total_size_bytes + 1000)


async def test_disk_that_fills_up_keeps_what_arrived(server, folder, cache, fetch, monkeypatch):
    manifest = server.publish(folder)
    room = 100_000
    write = os.pwrite

    def pwrite(descriptor, data, offset):
        nonlocal room
        if room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        room -= len(data)
        return write(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(DownloadFailed, match=r"The disk is full; .* what has arrived is kept"):
        await fetch(manifest)
    assert staging_of(cache, manifest).is_dir()
    room = 10**9
    downloaded = await fetch(manifest)
    assert downloaded.fetched_bytes <= manifest.total_size_bytes - 90_000
    assert weight_hash(downloaded.directory) == manifest.aggregate_sha256


async def test_cancelled_download_goes_on_later(server, folder, cache, fetch):
    manifest = server.publish(folder)
    server.bytes_per_second = 100_000
    heard = []
    with trio.move_on_after(0.2):
        await fetch(manifest, listener=heard.append)
    with pytest.raises(Exception, match="its download is not finished"):
        cache.folder(manifest.model_id).current()
    server.bytes_per_second = float("inf")
    downloaded = await fetch(manifest)
    assert 0 < heard[-1].done < manifest.total_size_bytes
    assert downloaded.fetched_bytes == manifest.total_size_bytes - heard[-1].done


async def test_files_of_an_earlier_run_are_put_in_place_without_the_server(server, folder, cache, fetch):
    manifest = server.publish(folder)
    staging = staging_of(cache, manifest)
    for file in manifest.files:
        (staging / file.path).parent.mkdir(parents=True, exist_ok=True)
        (staging / file.path).write_bytes((folder / file.path).read_bytes())
    (staging / "stranger.safetensors").write_bytes(b"not in the manifest")
    downloaded = await fetch(manifest)
    assert downloaded.fetched_bytes == 0
    assert not server.asked
    assert weight_hash(downloaded.directory) == manifest.aggregate_sha256


async def test_part_of_another_content_is_not_continued(server, folder, fetch, tmp_path):
    manifest = server.publish(folder)
    server.faults = always(WEIGHTS, Fault(cut_after=2_000))
    with pytest.raises(DownloadFailed):
        await fetch(manifest, limits=SMALL)
    server.faults = lambda _asked: None
    changed = server.publish(write_model_folder(tmp_path / "changed", seed=3))
    assert changed.r2_prefix == manifest.r2_prefix
    downloaded = await fetch(changed)
    assert weight_hash(downloaded.directory) == changed.aggregate_sha256


async def test_manifest_whose_hidden_file_changes_the_hash_is_inconsistent(server, folder, cache, fetch, monkeypatch):
    manifest = server.publish(folder)
    monkeypatch.setattr("provider.catalog.download.staged_hash", lambda _staging: "0" * 64)
    with pytest.raises(DownloadFailed, match="inconsistent"):
        await fetch(manifest)
    assert not staging_of(cache, manifest).exists()


async def test_second_process_is_refused_with_the_pid_of_the_first(server, folder, cache, fetch):
    manifest = server.publish(folder)
    place = cache.folder(manifest.model_id).path
    place.mkdir(parents=True)
    with FileLock.take(place / LOCK_NAME), pytest.raises(DownloadBusy, match=f"by process {os.getpid()}"):
        await fetch(manifest)
    await fetch(manifest)


async def test_new_version_removes_the_old_one_unless_it_is_loaded(server, folder, cache, fetch, tmp_path):
    first = (await fetch(server.publish(folder))).directory
    with SnapshotHold(first):
        second = (await fetch(server.publish(write_model_folder(tmp_path / "b", seed=5), version="2"))).directory
        assert first.exists()
    third = (await fetch(server.publish(write_model_folder(tmp_path / "c", seed=6), version="3"))).directory
    assert [path for path in (first, second, third) if path.exists()] == [third]


async def test_download_yields_to_its_pace(server, folder, fetch):
    manifest = server.publish(folder)
    paces = 0

    async def pace():
        nonlocal paces
        paces += 1
        await trio.lowlevel.checkpoint()

    await fetch(manifest, pace=pace, limits=SMALL.quietly())
    assert paces >= 3
    assert server.most_at_once == 1


async def test_unwritable_cache_is_said(server, folder, cache, fetch):
    cache.root.parent.mkdir(parents=True, exist_ok=True)
    cache.root.write_text("a file where the folder should be")
    with pytest.raises(DownloadFailed, match="cannot be used"):
        await fetch(server.publish(folder))


def test_note_never_says_more_than_was_written(folder, tmp_path):
    from protocol.manifest import ManifestFile
    from protocol.weight_hash import digest_file

    digest = digest_file(folder, WEIGHTS)
    file = ManifestFile(path=WEIGHTS, size_bytes=digest.size_bytes, sha256=digest.sha256.hex())
    staged = StagedFile(tmp_path, file, SMALL)
    staged.look()
    staged.open()
    staged.write(staged.pieces[1], b"x" * 9000)
    staged.close()
    again = StagedFile(tmp_path, file, SMALL)
    again.look()
    assert [piece.done for piece in again.pieces] == [0, 9000, 0, 0, 0, 0, 0]
    note = tmp_path / f"{WEIGHTS}.part.json"
    told = json.loads(note.read_text())
    for wrong in ([0, 9000], [0, 40_000, 0, 0, 0, 0, 0], [-1, 0, 0, 0, 0, 0, 0]):
        note.write_text(json.dumps({**told, "done": wrong}))
        fresh = StagedFile(tmp_path, file, SMALL)
        fresh.look()
        assert fresh.done == 0
