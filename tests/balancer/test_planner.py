"""The planner, its limits, its forecast and its policies, on small feeders and on adversarial ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.constraints import HardLimits, check, flows, standing_vetoes
from balancer.decision import Kind, Move, Observation
from balancer.feeder_folder import read_feeder, read_profiles
from balancer.forecast import Forecast
from balancer.network import Network
from balancer.objective import imbalance
from balancer.phasor import house_current, phase_sums
from balancer.planner import Planner, PlannerSettings
from balancer.policies import oracle_phases, static_phases
from balancer.static_plan import best_step, plan_day
from balancer.study import DEFAULT_START, POLICIES, run_policy, study
from balancer.unbalance import negative_sequence_a, neutral_current_a
from tests.conftest import write_feeder

EVENING = DEFAULT_START + 19 * 3600


@pytest.fixture
def feeder(small_feeder_dir):
    return read_feeder(small_feeder_dir)


def observe(feeder, load=None, pv=None, at=EVENING, **changes) -> Observation:
    n = len(feeder.houses)
    load = np.full(n, 1.0) if load is None else np.asarray(load, float)
    known = {
        "at": at, "phase": np.array([h.phase for h in feeder.houses]), "load_kw": load, "load_kvar": load * 0.3,
        "pv_kw": np.zeros(n) if pv is None else np.asarray(pv, float), "good": np.ones(n, bool),
        "pv_tripped": np.zeros(n, bool), "switches_today": np.zeros(n, int), "blocked": ("",) * n,
        "transformer_voltage_v": np.full(3, 240.0), "phase_current_a": np.full(3, 20.0)}
    return Observation(**{**known, **changes})


def settled(feeder, observation, **settings_) -> Planner:
    """A planner that has seen the same for an hour and has no day plan left to do."""
    planner = Planner(feeder, PlannerSettings(**{"day_price": 1e12, **settings_}))
    for minute in range(60, 0, -1):
        planner.observe(replace(observation, at=observation.at - 60 * minute))
    return planner


# ---------------------------------------------------------------- objective


def test_the_change_of_a_move_is_what_computing_it_anew_gives(feeder):
    rng = np.random.default_rng(3)
    current = rng.normal(size=(9, 4)) * 9 + 1j * rng.normal(size=(9, 4))
    phase, hours = rng.integers(0, 3, 9), np.ones(4)
    state = imbalance(current, phase, hours)

    def value(placed):
        three = phase_sums(current, placed[:, None])
        return float((neutral_current_a(three) ** 2 + negative_sequence_a(three) ** 2).sum())

    assert state.value == pytest.approx(value(phase))
    for first, second in (((0, 1), (5, 2)), ((3, 0), (8, 1))):
        moved = phase.copy()
        moved[first[0]] = first[1]
        assert state.change[first] == pytest.approx(value(moved) - value(phase), abs=1e-8)
        moved[second[0]] = second[1]
        assert state.pair_change(first, second) == pytest.approx(value(moved) - value(phase), abs=1e-8)


def test_a_pair_is_found_where_no_single_move_helps():
    current = np.array([10, 10, 10, 10, 10, 10], complex)[:, None]
    phase = np.array([0, 0, 1, 1, 2, 2])
    assert best_step(current, phase, np.ones(1), np.zeros(6), np.ones(6, bool), pairs=True) == ()
    swap = np.array([12, 8, 12, 8, 6, 14], complex)[:, None]
    step = best_step(swap, phase, np.ones(1), np.full(6, 0.01), np.ones(6, bool), pairs=True)
    assert len(step) in (0, 2)


def test_a_day_plan_stops_where_nothing_pays_and_moves_no_house_twice(feeder):
    current = np.full((9, 4), 5.0 + 0j)
    plan = plan_day(current, np.zeros(9, int), np.ones(4), np.zeros(9), np.ones(9, bool), 9)
    assert len({move.house for move in plan}) == len(plan) == 6
    assert plan_day(current, np.zeros(9, int), np.ones(4), np.full(9, 1e9), np.ones(9, bool), 9) == ()


# ---------------------------------------------------------------- decisions


def test_a_lopsided_street_is_moved_towards_balance(feeder):
    observation = observe(feeder, load=[3.0] * 9)
    decision = settled(feeder, observation).decide(observation)
    assert decision.kind is Kind.LOOK_AHEAD
    assert all(move.from_phase == 0 for move in decision.moves)
    assert decision.effects[0].neutral_after_a < decision.effects[0].neutral_before_a


def test_no_benefit_is_a_legal_result_and_says_the_figures(feeder):
    observation = observe(feeder, load=[0.05] * 9)
    decision = settled(feeder, observation, switch_price=1e6).decide(observation)
    assert decision.kind is Kind.HOLD
    assert decision.moves == ()
    assert "nothing is worth a switch" in decision.reason


def test_bad_data_is_not_decided_on(feeder):
    observation = observe(feeder, load=[3.0] * 9, good=np.zeros(9, bool))
    decision = Planner(feeder).decide(observation)
    assert decision.kind is Kind.HOLD
    assert "0 % of the houses" in decision.reason


def test_the_start_up_plan_stands_until_its_moves_are_seen(feeder):
    planner = Planner(feeder, PlannerSettings(day_price=1.0))
    observation = observe(feeder, at=DEFAULT_START + 60)
    first = planner.decide(observation)
    assert first.kind is Kind.START_UP
    assert planner.decide(replace(observation, at=observation.at + 60)).moves == first.moves
    phase = observation.phase.copy()
    phase[first.moves[0].house] = first.moves[0].to_phase
    later = planner.decide(replace(observation, at=observation.at + 120, phase=phase))
    assert first.moves[0] not in later.moves


def test_an_overload_is_relieved_at_once_whatever_the_price(feeder):
    observation = observe(feeder, load=[5.0] * 9, phase_current_a=np.array([140.0, 20.0, 20.0]))
    planner = settled(feeder, observation, switch_price=1e12)
    decision = planner.decide(observation)
    assert decision.kind is Kind.EMERGENCY
    assert len(decision.moves) == 1
    assert decision.moves[0].from_phase == 0


def test_a_producing_house_costs_its_lost_solar(feeder):
    dark, bright = observe(feeder), observe(feeder, pv=[2.0] * 9, at=DEFAULT_START + 12 * 3600)
    planner = Planner(feeder)
    assert planner.effect(bright, Move(0, 0, 1)).pv_lost_kwh == pytest.approx(2.0 * 300 / 3600)
    assert planner.effect(dark, Move(0, 0, 1)).pv_lost_kwh == 0


def test_the_same_is_decided_twice(feeder):
    observation = observe(feeder, load=np.linspace(0.5, 4, 9))
    assert settled(feeder, observation).decide(observation) == settled(feeder, observation).decide(observation)


VETOED = {
    "no switch": ({}, {"switchable": False}, "switch"),
    "critical": ({}, {"critical": True}, "critical"),
    "open": ({"phase": np.full(9, -1)}, {}, "phase"),
    "bad data": ({"good": np.zeros(9, bool)}, {}, "data"),
    "budget": ({"switches_today": np.full(9, 2)}, {}, "budget"),
    "tagged": ({"blocked": ("tag do-not-operate by devi",) * 9}, {}, "service"),
}


@pytest.mark.parametrize("what", VETOED)
def test_a_house_that_may_not_move_does_not_move(feeder, what):
    changes, house, rule = VETOED[what]
    houses = tuple(replace(h, **{"critical": False, **house}) for h in feeder.houses)
    feeder = replace(feeder, houses=houses)
    observation = observe(feeder, load=[4.0] * 9, **changes)
    assert all(veto.startswith(rule) for veto in standing_vetoes(feeder, observation, HardLimits()))
    failed = [lock.name for lock in check(Network(feeder), observation, Move(0, 0, 1), HardLimits()) if not lock.ok]
    assert failed[0] == rule
    good = settled(feeder, replace(observation, good=np.ones(9, bool)))
    assert good.decide(observation).moves == ()


def test_a_move_that_would_overload_is_vetoed_with_its_figures(feeder):
    feeder = replace(feeder, limits=replace(feeder.limits, phase_current_a=20.0, neutral_a=500.0))
    observation = observe(feeder, load=[4.0] * 9)
    locks = {lock.name: lock for lock in check(Network(feeder), observation, Move(0, 0, 1), HardLimits())}
    assert not locks["ampacity"].ok
    assert "limit 20 A" in locks["ampacity"].detail


def test_the_receiving_phase_must_carry_the_house_while_its_inverter_waits(feeder):
    feeder = replace(feeder, limits=replace(feeder.limits, phase_current_a=40.0, neutral_a=500.0, vuf_percent=50.0,
                                            voltage_band_percent=40.0))
    phase = np.array([0, 1, 1, 1, 1, 2, 2, 0, 0])
    load = np.array([4.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0])
    dark = observe(feeder, load=load, phase=phase)
    bright = replace(dark, pv_kw=np.array([6.0] + [0.0] * 8))
    open_to_all = replace(feeder, houses=tuple(replace(h, critical=False, switchable=True) for h in feeder.houses))
    for seen, while_off in ((dark, ""), (bright, "while its PV is off")):
        locks = {lock.name: lock for lock in check(Network(open_to_all), seen, Move(0, 0, 1), HardLimits())}
        assert not locks["ampacity"].ok
        assert while_off in locks["ampacity"].detail


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.1, 8), limit=st.floats(15, 200), band=st.floats(1, 10))
def test_no_allowed_move_breaks_a_limit_that_the_power_flow_shows(tmp_path_factory, seed, scale, limit, band):
    folder = tmp_path_factory.getbasetemp() / "adversarial"
    if not folder.exists():
        write_feeder(folder, minutes=2)
    feeder = read_feeder(folder)
    feeder = replace(feeder, limits=replace(feeder.limits, phase_current_a=limit, voltage_band_percent=band))
    rng = np.random.default_rng(seed)
    nan = rng.random(9) < 0.1
    load = np.where(nan, np.nan, rng.exponential(scale, 9))
    observation = observe(feeder, load=load, pv=rng.exponential(scale, 9) * (rng.random(9) < 0.3), good=~nan,
                          phase=rng.integers(-1, 3, 9), switches_today=rng.integers(0, 4, 9),
                          phase_current_a=rng.uniform(0, 2 * limit, 3))
    decision = settled(feeder, observation, day_price=10.0).decide(observation)
    seen = observation
    for move in decision.moves:
        assert not nan[move.house]
        assert seen.phase[move.house] == move.from_phase
        assert seen.switches_today[move.house] < 2
        before, after = flows(Network(feeder), seen, move)
        now, then = np.abs(before.phase_current[move.to_phase]), np.abs(after.phase_current[move.to_phase])
        assert then <= max(limit, now) + 1e-3
        low, high = 240 * (1 - band / 100), 240 * (1 + band / 100)
        inside = [(low <= v <= high) or v == 0 for v in np.abs(before.house_voltage)]
        still = [(low - 1e-3 <= v <= high + 1e-3) or v == 0 for v in np.abs(after.house_voltage)]
        assert all(b or not a for a, b in zip(inside, still, strict=True))
        phase, switches, pv = seen.phase.copy(), seen.switches_today.copy(), seen.pv_kw.copy()
        phase[move.house], pv[move.house] = move.to_phase, 0.0
        _, waiting = flows(Network(feeder), replace(seen, pv_kw=pv), move)
        assert np.abs(waiting.phase_current[move.to_phase]) <= max(limit, now) + 1e-3
        switches[move.house] += 1
        seen = replace(seen, phase=phase, switches_today=switches, pv_kw=pv)


# ---------------------------------------------------------------- forecast


def test_the_bill_is_the_prior_and_own_history_outweighs_it_as_days_go_by(feeder):
    forecast = Forecast(feeder)
    at = np.array([EVENING])
    bill = forecast.usual_kw(at)[0, 0]
    assert bill == pytest.approx(feeder.houses[0].monthly_kwh / 720 * 1.9, rel=0.15)
    for day in range(20):
        for minute in range(0, 60):
            forecast.observe(observe(feeder, load=[5.0] * 9, at=EVENING + day * 86_400 + minute * 60))
    assert forecast.usual_kw(at)[0, 0] == pytest.approx((20 * 5 + 4 * bill) / 24, rel=0.1)


def test_what_is_learnt_survives_a_restart(feeder):
    one, other = Forecast(feeder), Forecast(feeder)
    for minute in range(90):
        one.observe(observe(feeder, load=np.linspace(0, 3, 9), pv=[1.0] * 9, at=EVENING - 6 * 3600 + minute * 60))
    other.restore(one.state())
    now = observe(feeder, at=EVENING - 4 * 3600)
    at = now.at + np.array([600.0, 3600.0])
    for mine, kept in zip(one.ahead(now, at), other.ahead(now, at), strict=True):
        assert np.array_equal(mine, kept)


def test_a_tripped_inverter_is_not_taken_for_a_cloud(feeder):
    noon = DEFAULT_START + 12 * 3600
    forecast = Forecast(feeder)
    with_pv = np.array([h.pv_kwp > 0 for h in feeder.houses])
    for minute in range(60):
        forecast.observe(observe(feeder, pv=2.0 * with_pv, at=noon + minute * 60))
    before = forecast.pv_ahead(np.array([noon + 4000.0]))[0, 0]
    tripped = np.zeros(9, bool)
    tripped[0] = True
    for minute in range(60, 66):
        pv = 2.0 * with_pv
        pv[0] = 0.0
        forecast.observe(observe(feeder, pv=pv, at=noon + minute * 60, pv_tripped=tripped))
    assert forecast.pv_ahead(np.array([noon + 4000.0]))[0, 0] == pytest.approx(before, rel=0.05)


def test_the_sun_is_up_by_day_and_down_by_night(feeder):
    sky = Forecast(feeder).clear_sky
    assert sky(DEFAULT_START) == 0
    assert sky(DEFAULT_START + 12.4 * 3600) > 0.95
    assert 0 < sky(DEFAULT_START + 7.5 * 3600) < 0.5


# ---------------------------------------------------------------- study


def test_a_study_sets_every_policy_side_by_side(make_feeder_dir):
    folder = make_feeder_dir(houses=9, minutes=240)
    feeder = read_feeder(folder)
    runs = study(feeder, read_profiles(folder, feeder), start_at=DEFAULT_START + 17 * 3600)
    assert tuple(runs) == POLICIES
    score = {name: run.score["neutral_a_mean"] for name, run in runs.items()}
    assert max(score["oracle"], score["static"], score["smartphase"]) < score["none"]
    assert runs["smartphase"].score["max_switches_per_house"] <= 2
    assert runs["smartphase"].phase.shape == runs["smartphase"].pv_kw.shape == (9, 240)


def test_a_switched_house_that_produced_loses_its_solar_for_the_reconnect_time(make_feeder_dir):
    folder = make_feeder_dir(houses=9, minutes=840)
    feeder = read_feeder(folder)
    run = run_policy(feeder, read_profiles(folder, feeder), "seed_rule")
    profiles = read_profiles(folder, feeder)
    lost = ((run.pv_kw == 0) & (profiles.pv_kw > 0.06)).sum()
    assert run.score["switches"] > 0
    assert lost >= 4 * (run.score["switches"] - 2)
    assert run.score["pv_lost_kwh"] > 0


def test_the_oracle_keeps_to_its_budget_and_beats_the_static_plan(feeder, small_feeder_dir):
    profiles = read_profiles(small_feeder_dir, feeder)
    current = house_current(profiles.load_kw - profiles.pv_kw, 0.3 * profiles.load_kw, 240.0)[:, ::10]
    start, movable = np.zeros(9, int), np.ones(9, bool)
    oracle, static = oracle_phases(current, start, movable), static_phases(current, start, movable)
    changes = (np.diff(np.concatenate([start[:, None], oracle], axis=1), axis=1) != 0).sum(axis=1)
    assert changes.max() <= 2

    def cost(phase):
        three = phase_sums(current, phase)
        return float((neutral_current_a(three) ** 2 + negative_sequence_a(three) ** 2).sum())

    assert cost(oracle) <= cost(np.repeat(static[:, None], current.shape[1], axis=1)) + 1e-6


def test_an_unknown_policy_is_refused_in_one_line(feeder, small_feeder_dir):
    with pytest.raises(Exception, match="no such policy; choose from none, seed_rule"):
        run_policy(feeder, read_profiles(small_feeder_dir, feeder), "magic")
