"""Settings reach the records of each room, and the catalogue file is read or refused."""

from __future__ import annotations

import dataclasses

from server.config import CoordinatorSettings, load_settings
from server.link import LinkSettings
from server.listener import ListenerLimits
from server.registry import RoutingPolicy
from server.relay import AttemptLimits, QueueBounds, RelayTimes
from server.serve import records
from server.trust import TrustPolicy


def test_defaults_of_settings_are_the_defaults_of_the_rooms() -> None:
    settings = CoordinatorSettings()
    assert records.listener_limits(settings) == ListenerLimits()
    assert records.link_settings(settings) == LinkSettings()
    assert records.trust_policy(settings) == TrustPolicy()
    assert records.relay_times(settings) == RelayTimes()
    assert records.queue_bounds(settings) == QueueBounds()
    assert records.attempt_limits(settings) == AttemptLimits()
    assert records.routing_policy(settings) == RoutingPolicy()


def test_changed_settings_arrive() -> None:
    settings = load_settings(
        {
            "DARKBLOOM_WRITE_DEADLINE": "7s",
            "DARKBLOOM_MAX_SOCKETS_PER_IP": "5",
            "DARKBLOOM_MIN_TRUST": "self_signed",
            "DARKBLOOM_ALLOW_DEV_ATTESTATION": "1",
            "DARKBLOOM_FIRST_CONTENT_BASE": "9s",
            "DARKBLOOM_CHUNK_QUEUE": "3",
            "DARKBLOOM_MAX_ATTEMPTS": "2",
        }
    ).settings
    assert records.listener_limits(settings).write_deadline_seconds == 7
    assert records.link_settings(settings).unregistered_per_ip == 5
    assert records.trust_policy(settings).allow_dev
    assert records.routing_policy(settings).min_trust == "self_signed"
    assert records.routing_policy(settings).first_content_base_ms == 9000
    assert records.relay_times(settings).first_content_base == 9
    assert records.queue_bounds(settings).chunks == 3
    assert records.attempt_limits(settings).attempts == 2


def test_every_field_of_the_listener_that_operators_need_has_a_setting() -> None:
    fixed = {"linger_seconds", "held_bytes"}
    names = {field.name for field in dataclasses.fields(ListenerLimits)} - fixed
    changed = records.listener_limits(
        CoordinatorSettings(head_timeout=1, keep_alive=2, write_deadline=3, max_connections=4, max_connections_per_ip=5)
    )
    assert {name for name in names if getattr(changed, name) != getattr(ListenerLimits(), name)} == names
