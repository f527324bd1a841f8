import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.memory import policy
from provider.memory.policy import GIB, MIB, PolicySettings, Reserves, reserves_for

USUAL = Reserves(os_floor=2 * GIB, operator=4 * GIB, activation=3 * GIB, minimum_kv=GIB)
SIZES = st.integers(0, 1 << 50)


@pytest.mark.parametrize(
    ("physical", "hard", "effective", "largest"),
    [
        (8, 6.0, 4.0, 0.0),
        (16, 14.0, 12.0, 8.0),
        (24, 21.6, 20.0, 16.0),
        (32, 28.8, 28.0, 24.0),
        (64, 57.6, 57.6, 53.6),
        (128, 115.2, 115.2, 111.2),
    ],
)
def test_caps_of_usual_machines(physical, hard, effective, largest):
    total = physical * GIB
    free = policy.free_for_load(total, 0, total, promises=0, fraction=0.9, reserves=USUAL)
    assert policy.hard_cap(total, 0.9, USUAL) / GIB == pytest.approx(hard)
    assert policy.effective_cap(total, 0.9, USUAL) / GIB == pytest.approx(effective)
    assert max(0, free - USUAL.load_headroom) / GIB == pytest.approx(largest)


@pytest.mark.parametrize(("physical", "cap"), [(24, 23_192_823_398), (64, 61_847_529_062)])
def test_hard_cap_to_the_byte(physical, cap):
    assert policy.hard_cap(physical * GIB, 0.9, USUAL) == cap


def test_activation_reserve_may_only_be_raised():
    assert reserves_for(64 * GIB, 0, PolicySettings(activation_reserve=GIB)).activation == 3 * GIB
    assert reserves_for(64 * GIB, 0, PolicySettings(activation_reserve=5 * GIB)).activation == 5 * GIB


def test_usual_reserves():
    assert reserves_for(64 * GIB, 20 * GIB, PolicySettings()) == USUAL


def test_small_machine_has_smaller_reserves_unless_told():
    reserves = reserves_for(8 * GIB, 0, PolicySettings())
    assert (reserves.activation, reserves.operator) == (GIB, GIB)
    assert reserves_for(8 * GIB, 0, PolicySettings(operator_reserve=3 * GIB)).operator == 3 * GIB


def test_small_model_runs_in_two_gibibytes():
    weights = 4_000_000
    reserves = reserves_for(2 * GIB, weights, PolicySettings())
    assert reserves.activation == 64 * MIB
    assert reserves_for(2 * GIB, 50_000_000, PolicySettings()).activation == 200_000_000
    cap = policy.effective_cap(2 * GIB, 0.9, reserves)
    available = 1200 * MIB
    free = policy.free_for_load(2 * GIB, 0, available, promises=0, fraction=0.9, reserves=reserves)
    assert policy.may_load(policy.padded_weights(weights), free, reserves)
    assert policy.live_kv_headroom(cap, weights, available, reserves) > 1000 * MIB


def test_padding_is_a_fifth_rounded_up():
    assert policy.padded_weights(10) == 12
    assert policy.padded_weights(1) == 2


def test_may_load_at_the_exact_byte():
    assert policy.may_load(10, 10 + USUAL.load_headroom, USUAL)
    assert not policy.may_load(11, 10 + USUAL.load_headroom, USUAL)


def test_serveable_needs_the_minimum_and_the_promises():
    assert policy.is_serveable(GIB + 5, 5, USUAL)
    assert not policy.is_serveable(GIB + 4, 5, USUAL)


def test_allocator_limits():
    assert policy.allocator_limits(4 * GIB) == (2 * GIB, 3 * GIB // 2)
    assert policy.allocator_limits(64 * GIB) == (58 * GIB, 8 * GIB)


@given(SIZES, SIZES, SIZES, SIZES, SIZES, st.floats(0.01, 1.0), SIZES)
def test_nothing_is_ever_negative_or_above_the_machine(physical, used, available, promises, largest, fraction, reclaim):
    reserves = reserves_for(physical, largest, PolicySettings())
    cap = policy.effective_cap(physical, fraction, reserves)
    free = policy.free_for_load(
        physical, used, available, promises=promises, fraction=fraction, reserves=reserves, reclaimable=reclaim
    )
    assert 0 <= policy.live_kv_headroom(cap, used, available, reserves) <= cap <= physical
    assert 0 <= free <= physical
    assert policy.load_reserve(physical, fraction, reserves) >= physical - policy.hard_cap(physical, fraction, reserves)
