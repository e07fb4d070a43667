"""The policies that a study sets side by side. Each sees an observation a minute and answers with moves.

`SeedRule` is the rule that this project's first sketch named; `Planned` is the planner. Policies with perfect
foresight (`static_phases`, `oracle_phases`) give the phases of the whole day at once.
"""

from __future__ import annotations

import time
from typing import Protocol

import numpy as np

from balancer.decision import BoolArray, FloatArray, IntArray, Move, Observation
from balancer.feeder import Feeder
from balancer.network import Network
from balancer.objective import NEGATIVE
from balancer.phasor import ROT, ComplexArray
from balancer.planner import Planner, PlannerSettings
from balancer.static_plan import best_step

DWELL_S = 1800.0


class Policy(Protocol):
    """Answers one observation a minute with the moves to make at once."""

    decision_ms: list[float]

    def moves(self, observation: Observation) -> tuple[Move, ...]: ...


class SeedRule:
    """Every five minutes: the house with most solar on the fullest phase goes to the emptiest. No other thought."""

    def __init__(self) -> None:
        self.decision_ms: list[float] = []

    def moves(self, observation: Observation) -> tuple[Move, ...]:
        if int(observation.at // 60) % 5:
            return ()
        net = observation.load_kw - observation.pv_kw
        power = np.array([net[observation.phase == p].sum() for p in range(3)])
        fullest, emptiest = int(np.abs(power).argmax()), int(np.abs(power).argmin())
        solar = np.where((observation.phase == fullest) & (observation.pv_kw > 0), observation.pv_kw, 0.0)
        if fullest == emptiest or not solar.any():
            return ()
        return (Move(int(solar.argmax()), fullest, emptiest),)


class Planned:
    """The planner, decided every `every_s` and at once on an overload."""

    def __init__(self, feeder: Feeder, network: Network, settings: PlannerSettings, every_s: float = 60.0) -> None:
        self._planner = Planner(feeder, settings, network)
        self._every_s = every_s
        self.decision_ms: list[float] = []

    def moves(self, observation: Observation) -> tuple[Move, ...]:
        self._planner.observe(observation)
        overload = observation.phase_current_a.max() > self._planner.feeder.limits.phase_current_a
        if observation.at % self._every_s and not overload:
            return ()
        started = time.perf_counter()
        decision = self._planner.decide(observation)
        self.decision_ms.append(1000 * (time.perf_counter() - started))
        return decision.moves


def static_phases(current: ComplexArray, phase: IntArray, movable: BoolArray) -> IntArray:
    """(n,) one-off re-phasing with perfect foresight of the day's (n, T) currents; free of charge."""
    placed = phase.copy()
    hours = np.full(current.shape[1], 1 / 60)
    price = np.full(len(phase), 1e-6)
    while step := best_step(current, placed, hours, price, movable, pairs=True):
        for move in step:
            placed[move.house] = move.to_phase
    return placed


def oracle_phases(
    current: ComplexArray, phase: IntArray, movable: BoolArray, most: int = 2, sweeps: int = 6
) -> IntArray:
    """(n, T) phases with perfect foresight and at most `most` switches a house: achievable, not a proven bound.

    Coordinate descent: house by house, with the others fixed, the best sequence of phases over the day is found
    exactly by dynamic programming over (phase, switches used). It descends from where the houses are and from the
    static plan, and keeps the better. Not charged for lost PV.
    """
    begun = (phase, static_phases(current, phase, movable))
    descended = [_descend(current, phase, start, movable, most, sweeps) for start in begun]
    return min(descended, key=lambda found: found[0])[1]


def _descend(
    current: ComplexArray, phase: IntArray, begun: IntArray, movable: BoolArray, most: int, sweeps: int
) -> tuple[float, IntArray]:
    """(objective, (n, T) phases) reached by coordinate descent from `begun` (n,)."""
    placed = np.repeat(begun[:, None], current.shape[1], axis=1)
    neutral = (current * ROT[placed]).sum(axis=0)
    negative = (current * NEGATIVE[placed]).sum(axis=0)
    for _ in range(sweeps):
        changed = False
        for house in np.flatnonzero(movable):
            own = current[house]
            neutral -= own * ROT[placed[house]]
            negative -= own * NEGATIVE[placed[house]]
            cost = (np.abs(neutral + own * ROT[:, None]) ** 2 + np.abs(negative + own * NEGATIVE[:, None]) ** 2)
            best = _best_sequence(cost, int(phase[house]), most)
            changed = changed or bool((best != placed[house]).any())
            placed[house] = best
            neutral += own * ROT[best]
            negative += own * NEGATIVE[best]
        if not changed:
            break
    return float((np.abs(neutral) ** 2 + np.abs(negative) ** 2).sum()), placed


def _best_sequence(cost: FloatArray, start: int, most: int) -> IntArray:
    """(T,) the phases of least total `cost` (3, T), from `start`, with at most `most` changes. Exact."""
    minutes = cost.shape[1]
    total = np.full((3, most + 1), np.inf)
    total[start, 0] = 0.0
    came = np.empty((minutes, 3, most + 1), dtype=np.int8)      # the phase a minute earlier
    keep = np.arange(3)[:, None].repeat(most + 1, axis=1)
    for minute in range(minutes):
        came[minute] = keep
        best = total.copy()
        for used in range(1, most + 1):
            source = int(total[:, used - 1].argmin())
            switched = total[source, used - 1] < best[:, used]
            best[switched, used] = total[source, used - 1]
            came[minute, switched, used] = source
        total = best + cost[:, minute][:, None]
    phase, used = (int(x) for x in np.unravel_index(int(total.argmin()), total.shape))
    sequence = np.empty(minutes, dtype=np.int64)
    for minute in range(minutes - 1, -1, -1):
        sequence[minute] = phase
        before = int(came[minute, phase, used])
        if before != phase:
            used -= 1
        phase = before
    return sequence
