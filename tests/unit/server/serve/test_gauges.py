"""Gauges of the fleet: label values come from trusted providers and from requests that wait, never from strangers."""

from __future__ import annotations

from typing import Any

from server.observe import Metrics
from server.observe.exposition import render
from server.registry import Enqueue
from server.serve.drain import Drain
from server.serve.gauges import declare_gauges
from tests.unit.server.registry.fleet import Fleet, request, trusted, wire_slot


def shown(fleet: Fleet) -> str:
    metrics = Metrics()
    declare_gauges(metrics, registry=fleet.registry, drain=Drain(), log=None)
    return render(metrics.families.registry, "text/plain")[0].decode()


async def test_names_of_unproven_peers_are_no_label_values(autojump_clock: Any) -> None:
    fleet = Fleet()
    fleet.warm("a")
    fleet.connect("stranger", trust=trusted(admitted=False))
    fleet.beat("stranger", wire_slot(num_running=7))
    low = fleet.connect("low", trust=trusted(level="none"))
    fleet.beat("low", wire_slot(num_running=9))
    text = shown(fleet)
    assert 'darkbloom_provider_slots{model="m",state="resident"} 1.0' in text
    assert 'darkbloom_engine_rows{model="m"} 0.0' in text
    fleet.registry.set_trust(low.session_id, trusted(), fleet.now)
    text = shown(fleet)
    assert 'darkbloom_provider_slots{model="m",state="resident"} 2.0' in text
    assert 'darkbloom_engine_rows{model="m"} 9.0' in text


async def test_a_queue_is_shown_whoever_could_serve_it(autojump_clock: Any) -> None:
    fleet = Fleet()
    fleet.warm("a", concurrency=1)
    assert fleet.registry.choose_and_reserve(request(1), fleet.now).reservation is not None
    verdict = fleet.registry.decide(request(2), fleet.now)
    assert isinstance(verdict, Enqueue)
    fleet.registry.enqueue(request(2), verdict.decision, now=fleet.now, wake=lambda: None)
    fleet.registry.set_trust("a", trusted(untrusted="transient"), fleet.now)
    text = shown(fleet)
    assert 'darkbloom_queue_depth{model="m"} 1.0' in text
    assert "darkbloom_provider_slots{" not in text
