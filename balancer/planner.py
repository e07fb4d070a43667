"""The moves worth making now, with the reasons. Layers: start-up and day plan, look-ahead, emergency, hold.

It minimises the joint imbalance (`objective`) over the next hours plus a price per switch plus a price for the
solar energy that the switch loses; the limits of `constraints` are hard. "Nothing is worth a switch" is an
answer. Deterministic, and it never sees the future: it knows what `Forecast` has learnt.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from balancer import constraints
from balancer.constraints import HardLimits
from balancer.decision import Candidate, Decision, Effect, FloatArray, Interlock, Kind, Move, Observation
from balancer.feeder import PHASES, Feeder
from balancer.forecast import Forecast
from balancer.network import Network
from balancer.objective import imbalance
from balancer.phasor import ComplexArray, house_current
from balancer.static_plan import best_step, plan_day


@dataclass(frozen=True, slots=True)
class PlannerSettings:
    """What a site may set. Prices are in the objective's unit, A^2 h: 100 A^2 h is 10 A of neutral for an hour.

    Attributes:
        horizon_s, step_s: how far and how finely it looks ahead.
        switch_price: what a switch must at least bring over the horizon; the second of a house and day twice as
            much, so that the budget is not spent on the first small gains.
        pv_price: the same for each kWh of solar that the switch loses.
        day_price: what a move of a day plan must bring over its day.
        day_plan_hour: local hour of the plan for the day, while no PV produces yet.
        plan_life_s: what is not done of a plan after so long is forgotten.
        most_moves: of one decision. pv_reconnect_s: how long an inverter stays off after a switch.
        least_good: share of houses with good data below which it holds.
    """

    limits: HardLimits = field(default_factory=HardLimits)
    horizon_s: float = 10_800.0
    step_s: float = 900.0
    switch_price: float = 100.0
    pv_price: float = 7000.0
    day_price: float = 400.0
    day_plan_hour: float = 5.0
    plan_life_s: float = 7200.0
    most_moves: int = 4
    pv_reconnect_s: float = 300.0
    least_good: float = 0.5


class Planner:
    """The planner of one feeder."""

    def __init__(self, feeder: Feeder, settings: PlannerSettings | None = None, network: Network | None = None) -> None:
        self.feeder = feeder
        self.settings = settings or PlannerSettings()
        self.network = network or Network(feeder)
        self.forecast = Forecast(feeder)
        self._plan: tuple[Move, ...] = ()
        self._plan_until = 0.0
        self._planned_day: int | None = None

    # ------------------------------------------------------------ asked by the daemon

    def observe(self, observation: Observation) -> None:
        """Learn from one instant; about once a minute."""
        self.forecast.observe(observation)

    def check(self, observation: Observation, move: Move) -> tuple[Interlock, ...]:
        """Every rule for this move now."""
        return constraints.check(self.network, observation, move, self.settings.limits)

    def effect(self, observation: Observation, move: Move) -> Effect:
        """What the move is predicted to do now, and its net gain over the horizon. Raises FlowError."""
        current, hours = self._ahead(observation)
        gain = -float(imbalance(current, observation.phase, hours).change[move.house, move.to_phase])
        return self._effect(observation, move, gain - float(self._prices(observation)[move.house]))

    def decide(self, observation: Observation) -> Decision:
        """The ordered moves worth making now. Each is safe on its own, in this order."""
        usable = observation.good & (observation.phase >= 0)
        if usable.mean() < self.settings.least_good:
            share = 100 * usable.mean()
            return _hold(observation, f"only {share:.0f} % of the houses have good data: nothing is decided on that")
        vetoes = constraints.standing_vetoes(self.feeder, observation, self.settings.limits)
        current, hours = self._ahead(observation)
        prices = self._prices(observation)
        overloaded = self._overloaded_phase(observation)
        if overloaded is not None:
            return self._emergency(observation, overloaded, vetoes, current, hours, prices)
        self._plan_the_day_when_due(observation, vetoes)
        planned = self._next_of_plan(observation, vetoes)
        if planned:
            reason = f"day plan from bills and ratings, {len(self._plan)} moves to go"
            decision = self._decision(observation, Kind.START_UP, reason, planned, vetoes, current, hours, prices)
            if decision.moves:
                return decision
        movable = np.array([not veto for veto in vetoes])
        moves = best_step(current, observation.phase, hours, prices, movable, pairs=self.settings.most_moves >= 2)
        return self._decision(observation, Kind.LOOK_AHEAD, "worth more than its price over the next hours", moves,
                              vetoes, current, hours, prices)

    # ------------------------------------------------------------ the layers

    def _plan_the_day_when_due(self, observation: Observation, vetoes: tuple[str, ...]) -> None:
        day, hour = divmod((observation.at + 19_800) / 3600, 24)
        if self._planned_day == int(day) or (self._planned_day is not None and hour < self.settings.day_plan_hour):
            return
        if self._planned_day is not None and hour > self.settings.day_plan_hour + 1:
            self._planned_day = int(day)        # the hour was missed (a pause): look-ahead carries the day
            return
        self._planned_day = int(day)
        at = np.asarray(observation.at + 900.0 * np.arange(1, 97), dtype=np.float64)
        load = self.forecast.usual_kw(at)
        pv = self.forecast.pv_usual(at)
        tan = np.tan(np.arccos([house.power_factor for house in self.feeder.houses]))[:, None]
        current = house_current(load - pv, load * tan, self.feeder.transformer.nominal_voltage)
        hours = np.full(len(at), 0.25)
        price = np.full(len(self.feeder.houses), self.settings.day_price) + self._pv_price(observation)
        movable = np.array([not veto for veto in vetoes])
        self._plan = plan_day(current, observation.phase, hours, price, movable, len(vetoes))
        self._plan_until = observation.at + self.settings.plan_life_s

    def _next_of_plan(self, observation: Observation, vetoes: tuple[str, ...]) -> tuple[Move, ...]:
        """The next moves of the day plan; one leaves the plan when its house is seen elsewhere, all when it is old."""
        if observation.at > self._plan_until:
            self._plan = ()
        self._plan = tuple(m for m in self._plan if observation.phase[m.house] in (m.from_phase, -1))
        return tuple(m for m in self._plan if not vetoes[m.house])[: self.settings.most_moves]

    def _emergency(
        self, observation: Observation, overloaded: int, vetoes: tuple[str, ...], current: ComplexArray,
        hours: FloatArray, prices: FloatArray,
    ) -> Decision:
        """The one move that lowers the fullest phase most; of those that do so alike, the one that balances best."""
        now = self._now(observation)
        amps = np.abs(np.stack([now[observation.phase == p].sum() for p in range(3)]))
        best, best_peak, best_imbalance = None, float(amps.max()) - 0.5, float("inf")
        for house in np.flatnonzero(observation.phase == overloaded):
            for target in range(3):
                if target == overloaded or vetoes[house]:
                    continue
                moved = observation.phase.copy()
                moved[house] = target
                peak = round(float(max(abs(now[moved == p].sum()) for p in range(3))), 1)
                left = imbalance(now[:, None], moved, np.ones(1)).value
                if (peak, left) < (best_peak, best_imbalance):
                    best, best_peak, best_imbalance = Move(int(house), overloaded, target), peak, left
        limit = self.feeder.limits.phase_current_a
        reason = (f"{PHASES[overloaded]} is above {limit:g} A; this brings the fullest phase to {best_peak:.1f} A"
                  if best else f"{PHASES[overloaded]} is above {limit:g} A and no allowed move relieves it")
        return self._decision(observation, Kind.EMERGENCY, reason, (best,) if best else (), vetoes, current, hours,
                              prices)

    def _overloaded_phase(self, observation: Observation) -> int | None:
        measured = observation.phase_current_a
        if np.isnan(measured).any() or measured.max() <= self.feeder.limits.phase_current_a:
            return None
        return int(measured.argmax())

    # ------------------------------------------------------------ putting a decision together

    def _decision(
        self, observation: Observation, kind: Kind, reason: str, moves: tuple[Move, ...], vetoes: tuple[str, ...],
        current: ComplexArray, hours: FloatArray, prices: FloatArray,
    ) -> Decision:
        state = imbalance(current, observation.phase, hours)
        allowed: list[Move] = []
        effects: list[Effect] = []
        refused: dict[Move, str] = {}
        seen = observation
        for move in moves:
            failed = [lock for lock in self.check(seen, move) if not lock.ok]
            if failed:
                refused[move] = f"{failed[0].name}: {failed[0].detail}"
                continue
            gain = -float(state.change[move.house, move.to_phase]) - float(prices[move.house])
            effects.append(self._effect(seen, move, gain))
            allowed.append(move)
            seen = _after(seen, move)
        candidates = self._candidates(observation, state.change, prices, vetoes, refused)
        if not allowed:
            return Decision(observation.at, Kind.HOLD, _why_nothing(reason, candidates, refused), (), (), candidates)
        return Decision(observation.at, kind, reason, tuple(allowed), tuple(effects), candidates)

    def _candidates(
        self, observation: Observation, change: FloatArray, prices: FloatArray, vetoes: tuple[str, ...],
        refused: dict[Move, str],
    ) -> tuple[Candidate, ...]:
        """Each house's better target, the best first, with its gain, its price and its veto."""
        listed: list[Candidate] = []
        for house, veto in enumerate(vetoes):
            here = int(observation.phase[house])
            targets = [p for p in range(3) if p != here]
            target = min(targets, key=lambda p: float(change[house, p]))
            move = Move(house, here, target)
            listed.append(Candidate(move, -float(change[house, target]), float(prices[house]), None,
                                    veto or refused.get(move, "")))
        return tuple(sorted(listed, key=lambda c: (c.price - c.gain, c.move.house)))

    def _effect(self, observation: Observation, move: Move, value: float) -> Effect:
        before, after = constraints.flows(self.network, observation, move)
        volts = np.abs(after.house_voltage)
        volts = volts[volts > 0]
        losses = [float(f.line_loss_kw + f.transformer_loss_kw) for f in (before, after)]
        amps = [tuple(float(x) for x in np.abs(f.phase_current)) for f in (before, after)]
        return Effect(
            neutral_before_a=float(before.neutral_current_a), neutral_after_a=float(after.neutral_current_a),
            vuf_before_percent=float(before.vuf_transformer_percent),
            vuf_after_percent=float(after.vuf_transformer_percent),
            phase_current_before_a=(amps[0][0], amps[0][1], amps[0][2]),
            phase_current_after_a=(amps[1][0], amps[1][1], amps[1][2]),
            voltage_min_v=float(volts.min()), voltage_max_v=float(volts.max()),
            loss_change_kw=losses[1] - losses[0], pv_lost_kwh=float(self._pv_lost_kwh(observation)[move.house]),
            value=value,
        )

    # ------------------------------------------------------------ quantities

    def _ahead(self, observation: Observation) -> tuple[ComplexArray, FloatArray]:
        """(n, K) expected currents, A, referred to own phase, and the (K,) hours that each stands for."""
        steps = int(self.settings.horizon_s // self.settings.step_s)
        at = np.asarray(observation.at + self.settings.step_s * (np.arange(steps) + 0.5), dtype=np.float64)
        load, reactive, pv = self.forecast.ahead(observation, at)
        off = observation.pv_tripped[:, None] & (at - observation.at < self.settings.pv_reconnect_s)[None, :]
        pv = np.where(off, 0.0, pv)
        current = house_current(load - pv, reactive, self.feeder.transformer.nominal_voltage)
        return current, np.full(steps, self.settings.step_s / 3600)

    def _now(self, observation: Observation) -> ComplexArray:
        """(n,) measured currents, A, referred to own phase; 0 where unknown."""
        net = np.nan_to_num(observation.load_kw) - np.nan_to_num(observation.pv_kw)
        return house_current(net, np.nan_to_num(observation.load_kvar), self.feeder.transformer.nominal_voltage)

    def _pv_lost_kwh(self, observation: Observation) -> FloatArray:
        pv = np.nan_to_num(observation.pv_kw)
        return np.asarray(pv * self.settings.pv_reconnect_s / 3600)

    def _pv_price(self, observation: Observation) -> FloatArray:
        return np.asarray(self.settings.pv_price * self._pv_lost_kwh(observation))

    def _prices(self, observation: Observation) -> FloatArray:
        return np.asarray(self.settings.switch_price * (1 + observation.switches_today) + self._pv_price(observation))


def _after(observation: Observation, move: Move) -> Observation:
    """The observation as it will be when the move is made; the next move of the list is checked on it."""
    phase, switches, pv = observation.phase.copy(), observation.switches_today.copy(), observation.pv_kw.copy()
    phase[move.house] = move.to_phase
    switches[move.house] += 1
    pv[move.house] = 0.0
    return replace(observation, phase=phase, switches_today=switches, pv_kw=pv)


def _hold(observation: Observation, reason: str) -> Decision:
    return Decision(observation.at, Kind.HOLD, reason, (), (), ())


def _why_nothing(reason: str, candidates: tuple[Candidate, ...], refused: dict[Move, str]) -> str:
    """Why there is no move, from the best that was looked at."""
    if refused:
        return f"the best move is vetoed: {next(iter(refused.values()))}"
    free = [c for c in candidates if not c.veto]
    if not free:
        return "every house is vetoed: see its own reason"
    best = free[0]
    if best.price >= best.gain:
        return f"nothing is worth a switch: the best brings {max(best.gain, 0):.0f} A2h and costs {best.price:.0f}"
    return reason
