"""Replays days of a feeder under a policy, minute by minute, and scores it: what would it do here?

The plant is honest about PV: a house that produces when it is switched loses its PV for the reconnect time. The
policy sees what meters would show. Not here: how a command travels (the daemon's simulated street does that).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from balancer.decision import BoolArray, FloatArray, IntArray, Observation
from balancer.errors import SmartPhaseError
from balancer.feeder import Feeder
from balancer.feeder_folder import Profiles
from balancer.network import Network
from balancer.phasor import house_current
from balancer.planner import PlannerSettings
from balancer.policies import DWELL_S, Planned, Policy, SeedRule, oracle_phases, static_phases
from balancer.score import score_day

POLICIES = ("none", "seed_rule", "static", "smartphase", "oracle")
DEFAULT_START = 1_776_191_400.0
"""Local midnight of 15 April 2026, a clear pre-monsoon day in Kerala, where a folder has no date of its own."""
_PRODUCING_KW = 0.05

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class DayRun:
    """What one policy did: `phase` (n, T) 0/1/2, `pv_kw` (n, T) as made, switches (n,), and its score."""

    policy: str
    phase: IntArray
    pv_kw: FloatArray
    switches_per_house: IntArray
    score: dict[str, float]


def study(
    feeder: Feeder, profiles: Profiles, policies: Sequence[str] = POLICIES, start_at: float = DEFAULT_START,
    settings: PlannerSettings | None = None, progress: Progress | None = None,
) -> dict[str, DayRun]:
    """Run each named policy on the same days. Raises SmartPhaseError on a name that is none."""
    network = Network(feeder)
    return {name: run_policy(feeder, profiles, name, start_at, settings, network, progress) for name in policies}


def run_policy(
    feeder: Feeder, profiles: Profiles, policy: str, start_at: float = DEFAULT_START,
    settings: PlannerSettings | None = None, network: Network | None = None, progress: Progress | None = None,
) -> DayRun:
    """Run one policy over the profiles, minute 0 at `start_at` (Unix s)."""
    if policy not in POLICIES:
        raise SmartPhaseError(f"policy {policy!r}: no such policy; choose from {', '.join(POLICIES)}")
    settings = settings or PlannerSettings()
    network = network or Network(feeder)
    reactive = profiles.load_kw * _tan(feeder)[:, None]
    start = np.array([house.phase for house in feeder.houses])
    movable = np.array([house.switchable and not house.critical for house in feeder.houses])
    decision_ms: Sequence[float] = ()
    if policy in ("none", "static", "oracle"):
        phase = _foresight_phases(policy, feeder, profiles, reactive, start, movable)
        pv = profiles.pv_kw
        switches = (np.diff(np.concatenate([start[:, None], phase], axis=1), axis=1) != 0).sum(axis=1)
    else:
        rule: Policy = SeedRule() if policy == "seed_rule" else Planned(feeder, network, settings)
        phase, pv, switches = _replay(feeder, profiles, reactive, rule, start_at, settings, network, policy, progress)
        decision_ms = rule.decision_ms
    score = score_day(network, phase, profiles.load_kw, reactive, pv, profiles.pv_kw, switches, decision_ms)
    return DayRun(policy, phase, pv, switches, score)


def _foresight_phases(
    policy: str, feeder: Feeder, profiles: Profiles, reactive: FloatArray, start: IntArray, movable: BoolArray
) -> IntArray:
    current = house_current(profiles.load_kw - profiles.pv_kw, reactive, feeder.transformer.nominal_voltage)
    if policy == "oracle":
        return oracle_phases(current, start, movable)
    placed = static_phases(current, start, movable) if policy == "static" else start
    return np.repeat(placed[:, None], profiles.minutes, axis=1)


def _replay(
    feeder: Feeder, profiles: Profiles, reactive: FloatArray, rule: Policy, start_at: float,
    settings: PlannerSettings, network: Network, policy: str, progress: Progress | None,
) -> tuple[IntArray, FloatArray, IntArray]:
    """Minute by minute: measure, decide, move, lose the PV of what moved."""
    n, minutes = profiles.load_kw.shape
    phase = np.array([house.phase for house in feeder.houses])
    phases, made = np.empty((n, minutes), dtype=np.int64), profiles.pv_kw.copy()
    today, total = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    moved_at, off_until = np.full(n, -np.inf), np.full(n, -np.inf)
    good = np.ones(n, dtype=bool)
    for minute in range(minutes):
        at = start_at + 60.0 * minute
        if minute and minute % 1440 == 0:
            today[:] = 0
        made[:, minute] = np.where(at < off_until, 0.0, profiles.pv_kw[:, minute])
        flow = network.solve(phase, profiles.load_kw[:, minute] - made[:, minute], reactive[:, minute])
        observation = Observation(
            at=at, phase=phase.copy(), load_kw=profiles.load_kw[:, minute], load_kvar=reactive[:, minute],
            pv_kw=made[:, minute], good=good, pv_tripped=at < off_until, switches_today=today.copy(),
            blocked=tuple("dwell" if at - t < DWELL_S else "" for t in moved_at),
            transformer_voltage_v=np.abs(flow.transformer_voltage), phase_current_a=np.abs(flow.phase_current),
        )
        for move in rule.moves(observation):
            phase[move.house] = move.to_phase
            today[move.house] += 1
            total[move.house] += 1
            moved_at[move.house] = at
            if made[move.house, minute] > _PRODUCING_KW:
                off_until[move.house] = at + settings.pv_reconnect_s
                made[move.house, minute] = 0.0
        phases[:, minute] = phase
        if progress and minute % 60 == 59:
            progress(policy, minute + 1, minutes)
    return phases, made, total


def _tan(feeder: Feeder) -> FloatArray:
    return np.asarray(np.tan(np.arccos([house.power_factor for house in feeder.houses])))
