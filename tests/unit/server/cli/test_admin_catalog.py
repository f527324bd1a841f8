"""`admin models …` and `admin aliases …` on both engines: publishing without a key of one's own."""

from __future__ import annotations

import json
from pathlib import Path

from protocol.manifest import encode_manifest
from server.store.file_lock import exclusive_file
from tests.testbed.model_server import ModelServer
from tests.unit.server.catalog.catalog_world import FILES, MODEL, manifest_of
from tests.unit.server.cli.terminal import Terminal


async def test_a_version_is_entered_served_and_retired(admin: Terminal, tmp_path: Path) -> None:
    empty = await admin("models", "list")
    assert (empty.code, "There are no models" in empty.output) == (0, True)
    files = {"1.0": tmp_path / "one.json", "2.0": tmp_path / "two.json"}
    files["1.0"].write_bytes(encode_manifest(manifest_of()))
    files["2.0"].write_bytes(encode_manifest(manifest_of(version="2.0", config_json=b"{ }")))
    facts = ("--display-name", "A Model", "--max-context", "4096", "--capability", "tools", "--parameter", "top_p=0.5")
    prices = ("--input", "0.06", "--output", "0.12")
    manifest = ("--manifest", str(files["1.0"]))
    made = (await admin.good("models", "register", MODEL, "1.0", *manifest, *facts, *prices))["model"]
    assert (made["version"], made["display_name"], made["max_context_length"]) == ("1.0", "A Model", 4096)
    assert (made["capabilities"], made["runtime_parameters"]) == (["tools"], {"top_p": 0.5})
    (price,) = (await admin.good("prices", "list"))["prices"]
    assert (price["model"], price["input_price"], price["output_price"]) == (MODEL, 60_000, 120_000)
    await admin.good("models", "register", MODEL, "2.0", "--manifest", str(files["2.0"]), "--no-activate")
    shown = await admin.good("models", "show", MODEL)
    assert [(one["version"], one["active"]) for one in shown["versions"]] == [("2.0", False), ("1.0", True)]
    assert (await admin.good("models", "promote", MODEL, "2.0"))["model"]["version"] == "2.0"
    assert (await admin.good("models", "set", MODEL, "--family", "m", "--thinks-on-request"))["model"]["family"] == "m"
    table = await admin("models", "list")
    assert MODEL in table.output
    assert (await admin("models", "show", MODEL)).code == 0
    assert (await admin.good("models", "remove", MODEL))["status"] == "removed"
    assert (await admin.good("models", "show", MODEL))["model"]["status"] == "retired"
    for wrong in (("promote", MODEL, "9"), ("show", "nobody/here"), ("remove", "nobody/here")):
        assert (await admin("models", *wrong)).code == 1, wrong
    names = ["register", "register", "promote", "set", "remove"]
    assert await admin.acts() == [(f"model.{name}", MODEL) for name in names]


async def test_what_cannot_be_entered_is_refused(admin: Terminal, tmp_path: Path) -> None:
    for wrong in (
        ("set", MODEL, "--status", "king"),
        ("set", MODEL, "--parameter", "top_p"),
        ("set", MODEL, "--deprecation-date", "soon"),
        ("set", MODEL, "--max-context", "-1"),
        ("register", MODEL, "1.0", "--input", "x", "--output", "1"),
        ("register", MODEL, "1.0", "--manifest", str(tmp_path)),
    ):
        assert (await admin("models", *wrong)).code == 64, wrong
    (tmp_path / "no.json").write_text("no")
    assert (await admin("models", "register", MODEL, "1.0", "--manifest", str(tmp_path / "no.json"))).code == 64
    nowhere = await admin("models", "register", MODEL, "1.0")
    assert (nowhere.code, "DARKBLOOM_MODEL_CDN_URL" in nowhere.errors) == (1, True)
    bad = await admin("models", "set", "../x")
    assert bad.code == 1
    assert await admin.acts() == []


async def test_files_are_looked_for_at_the_download_server(admin: Terminal) -> None:
    manifest = manifest_of()
    async with ModelServer.open() as shelf:
        admin.environment["DARKBLOOM_MODEL_CDN_URL"] = shelf.url
        early = await admin("models", "register", MODEL, "1.0", "--json")
        assert (early.code, early.json["error"]["type"]) == (1, "refused")
        shelf.files[f"{manifest.r2_prefix}/manifest.json"] = encode_manifest(manifest)
        shelf.files |= {f"{manifest.r2_prefix}/{path}": content for path, content in FILES.items()}
        assert (await admin.good("models", "register", MODEL, "1.0"))["model"]["version"] == "1.0"


async def test_a_name_moves_from_build_to_build(admin: Terminal) -> None:
    empty = await admin("aliases", "list")
    assert (empty.code, "There are no aliases" in empty.output) == (0, True)
    for build in ("org/a", "org/b"):
        await admin.good("models", "set", build)
    await admin.good("aliases", "save", "chat", "org/a", "--display-name", "Chat")
    moved = await admin("aliases", "save", "chat", "org/b", "--hide", "org/old")
    assert "chat stands for org/b, and for org/a where that is not served." in moved.output
    (listed,) = (await admin.good("aliases", "list"))["aliases"]
    assert (listed["desired_build"], listed["previous_build"], listed["retired_builds"]) == (
        "org/b", "org/a", ["org/old"],
    )  # fmt: skip
    assert listed["display_name"] == "Chat"
    unknown = await admin("aliases", "save", "other", "org/unknown")
    assert (unknown.code, "not in the catalogue" in unknown.errors) == (1, True)
    assert (await admin("models", "remove", "org/b")).code == 1
    assert (await admin.good("aliases", "save", "chat", "org/b", "--previous", ""))["alias"]["previous_build"] is None
    assert (await admin.good("aliases", "delete", "chat"))["status"] == "deleted"
    assert (await admin("aliases", "delete", "chat")).code == 1
    assert [action for action, target in await admin.acts() if target == "chat"] == [
        "alias.save", "alias.save", "alias.save", "alias.delete",
    ]  # fmt: skip


async def test_the_operators_file_counts_as_catalogue(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text('[[models]]\nid = "org/in-file"\n')
    admin = Terminal(f"sqlite:///{tmp_path / 'data.db'}", DARKBLOOM_MODEL_CATALOG=str(file))
    await admin.migrate()
    assert (await admin.good("aliases", "save", "chat", "org/in-file"))["alias"]["desired_build"] == "org/in-file"
    file.write_text("no catalogue")
    unusable = await admin("aliases", "save", "chat", "org/in-file")
    assert (unusable.code, "DARKBLOOM_MODEL_CATALOG" in unusable.errors) == (2, True)


async def test_a_running_coordinator_is_asked_for_the_same(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    admin = Terminal(f"sqlite:///{path}")
    await admin.migrate()
    with exclusive_file(path):
        for words, request, body in (
            (("models", "promote", MODEL, "1.0"), "POST /v1/admin/models/promote",
             {"model_id": MODEL, "version": "1.0"}),
            (("models", "set", MODEL, "--min-ram", "8"), "POST /v1/admin/models/set",
             {"model_id": MODEL, "min_ram_gb": 8}),
            (("aliases", "save", "chat", "org/a"), "POST /v1/admin/models/aliases",
             {"id": "chat", "desired_build": "org/a", "active": True}),
        ):  # fmt: skip
            refused = await admin(*words)
            method, _, where = request.partition(" ")
            assert f"curl -X {method} http://127.0.0.1:8080{where} " in refused.errors
            assert json.loads(refused.errors.partition("-d '")[2].partition("'")[0]) == body
        assert (await admin("models", "list")).code == 0
        assert (await admin("aliases", "list")).code == 0
