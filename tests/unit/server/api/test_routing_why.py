"""Explanations over HTTP: an owner sees his own machines alone, administrators requests and models."""

from __future__ import annotations

import pytest
from quart_trio import QuartTrio

from protocol.api.errors import ApiError, openai_envelope
from server.accounts.ports import Identity
from server.api.routing_why import routing_why_blueprint
from tests.unit.server.registry.fleet import Fleet, request


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


class Gate:
    """Knows one caller."""

    def __init__(self, caller: Identity) -> None:
        self._caller = caller

    async def caller(self) -> Identity:
        return self._caller

    async def person(self) -> Identity:
        return self._caller


def site(fleet: Fleet, *, account: str = "owner", admin: bool = False) -> QuartTrio:
    caller = Identity(account_id=account, key_id="", credential="jwt", has_user=True, is_admin=admin)
    app = QuartTrio(__name__)
    app.register_blueprint(routing_why_blueprint(Gate(caller), fleet.registry, lambda: fleet.now))  # type: ignore[arg-type]

    @app.errorhandler(ApiError)
    async def refused(error: ApiError) -> tuple[dict[str, object], int]:
        return openai_envelope(error), error.status

    return app


async def get(app: QuartTrio, path: str) -> tuple[int, dict[str, object]]:
    answer = await app.test_client().get(path)
    return answer.status_code, await answer.get_json()


async def test_an_owner_sees_his_machine_by_connection_and_by_identity(fleet: Fleet) -> None:
    fleet.warm("a", account_id="owner")
    for name in ("a", "dev-a"):
        status, answer = await get(site(fleet), f"/v1/me/providers/{name}/why")
        assert status == 200
        (model,) = answer["models"]  # type: ignore[misc]
        assert (answer["provider_id"], model["model"], model["eligible"]) == ("a", "m", True)


async def test_nobody_sees_the_machine_of_another(fleet: Fleet) -> None:
    fleet.warm("a", account_id="somebody")
    status, answer = await get(site(fleet), "/v1/me/providers/a/why")
    assert (status, answer["error"]["code"]) == (404, "not_found")  # type: ignore[index]


async def test_administrators_see_machines_requests_and_models(fleet: Fleet) -> None:
    fleet.warm("a", account_id="somebody", concurrency=1)
    fleet.registry.choose_and_reserve(request(), fleet.now)
    app = site(fleet, admin=True)
    assert (await get(app, "/v1/admin/routing/providers/a"))[1]["in_flight"] == 1
    _, trace = await get(app, "/v1/admin/routing/requests/l1")
    (attempt,) = trace["attempts"]  # type: ignore[misc]
    assert (attempt["provider_id"], attempt["path"]) == ("a", "unique_min")
    _, model = await get(app, "/v1/admin/routing/models/m")
    assert (model["providers"], model["by_first_gate"]) == (1, {"no_headroom": 1})
    for path in ("providers/b", "requests/l2", "models/x/y"):
        assert (await get(app, f"/v1/admin/routing/{path}"))[0] == 404


async def test_others_may_not_ask_what_administrators_ask(fleet: Fleet) -> None:
    fleet.warm("a", account_id="owner")
    for path in ("providers/a", "requests/l1", "models/m"):
        assert (await get(site(fleet), f"/v1/admin/routing/{path}"))[0] == 403
