"""What the model list says of the fleet: trusted providers alone, looked at anew every two seconds."""

from __future__ import annotations

from protocol.messages.from_provider import ModelEntry
from server.api.fleet_view import FleetView
from tests.unit.server.registry.fleet import Fleet, register_message, trusted


def test_only_trusted_providers_are_listed_and_counted() -> None:
    fleet = Fleet()
    view = FleetView(fleet.registry, fleet.clock)
    fleet.warm("a")
    invented = register_message(ModelEntry(id="m"), ModelEntry(id="invented"))
    fleet.connect("stranger", message=invented, trust=trusted(admitted=False))
    fleet.connect("low", message=invented, trust=trusted(level="self_signed"))
    assert [(one.model, one.provider_count) for one in view.descriptions().values()] == [("m", 1)]
    assert [row["id"] for row in view.capacity()] == ["m"]
    assert view.descriptions()["m"].trust_level == "hardware"
    fleet.registry.set_trust("stranger", trusted(), fleet.now)
    assert set(view.descriptions()) == {"m"}
    fleet.clock.now += 2
    assert set(view.descriptions()) == {"m", "invented"}
    assert view.descriptions()["m"].provider_count == 2
