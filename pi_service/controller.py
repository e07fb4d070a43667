"""The control cycle: look, decide, and in AUTO begin the next move; keep the reasons.

What may not move is put together here for every asker (tags, dwell, quarantine, offline, under way), so that AUTO,
a person's preview and the check before sending see the same. A person need not heed a caution tag or that the house
failed today. An undo, which only gives a house back, need not wait out the dwell and may be one switch beyond the
house's daily budget; an interlock line says so.
"""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass

from balancer.decision import Candidate, Decision, Effect, Interlock, Kind, Move, Observation
from balancer.errors import SmartPhaseError
from balancer.feeder import PHASES, Feeder
from balancer.planner import Planner
from pi_service.clock import Clock, local, local_day_start
from pi_service.config import ControlSettings
from pi_service.contract import EffectView, InterlockView, Phase, ProposalView, SwitchView
from pi_service.feeder_state import FeederState
from pi_service.figures import LIVE_V, Figures
from pi_service.modes import Modes
from pi_service.store.audit import AuditLog
from pi_service.switching import Switching

_OBSERVE_S = 60.0
_APART = 0.10
"""Phases further apart than this share of nominal, seen by the houses or by the meter, ..."""
_NO_RETURN_A = 1.0
"""... while less than this returns in the neutral: it is broken, and the star point floats."""
_KEPT_DECISIONS = 300
_KEPT_CANDIDATES = 100_000


@dataclass(frozen=True, slots=True)
class _Proposal:
    id: str
    move: Move
    effect: Effect
    decision: Decision


class Controller:
    """The control cycle of one feeder. Call `cycle` on every tick; it knows when something is due."""

    def __init__(
        self, feeder: Feeder, planner: Planner, state: FeederState, audit: AuditLog, switching: Switching,
        modes: Modes, clock: Clock, settings: ControlSettings,
    ) -> None:
        self._feeder, self._planner, self._state, self._audit = feeder, planner, state, audit
        self._switching, self._modes, self._clock, self._settings = switching, modes, clock, settings
        kept = min(_KEPT_DECISIONS, max(10, _KEPT_CANDIDATES // (2 * len(feeder.houses))))
        self._decisions: deque[Decision] = deque(maxlen=kept)
        self._queue: deque[tuple[Move, Effect]] = deque()
        self._proposal: _Proposal | None = None
        self._observed_at = self._decided_at = float("-inf")
        self._proposed = 0
        self._logged: tuple[Move, ...] = ()
        self.decision_ms: deque[float] = deque(maxlen=100_000)

    # ------------------------------------------------------------ the cycle

    def cycle(self, figures: Figures) -> None:
        """Learn, decide when due, and in AUTO go on with the decided moves while none is under way."""
        now = self._clock.now()
        if now < self._observed_at:                 # the calendar was set back
            self._observed_at = self._decided_at = float("-inf")
        if now - self._observed_at >= _OBSERVE_S:
            self._observed_at = now
            self._planner.observe(self.observation())
        overload = any(one.value is not None and one.quality == "G"
                       and one.value > self._feeder.limits.phase_current_a for one in figures.current_a)
        every = self._settings.overload_interval_s if overload else self._settings.interval_s
        if now - self._decided_at >= every and not self._switching.full:
            self._decided_at = now
            self._decide(now)
        if self._modes.mode == "AUTO" and self._queue and not self._switching.full:
            self._begin_next()

    def danger(self, figures: Figures, broker_up: bool, feeder_tag: str, with_meter: bool) -> str:
        """Why nothing may be decided now, "" where nothing stands against it."""
        if feeder_tag:
            return f"the feeder is tagged: {feeder_tag}"
        if not broker_up:
            return "no connection to the broker"
        if with_meter and self._state.fresh_meter() is None:
            return "the transformer's meter is silent"
        houses = self._feeder.house_ids
        stale = 100 * sum(self._state.usable(house) is None for house in houses) / len(houses)
        if stale > self._settings.hold_stale_houses_percent:
            return f"{stale:.0f} % of the houses have no good data"
        return _open_neutral(figures, self._state)

    def _decide(self, now: float) -> None:
        observation = self.observation()
        started = time.perf_counter()
        try:
            decision = self._planner.decide(observation)
        except SmartPhaseError as error:
            decision = Decision(now, Kind.HOLD, str(error), (), (), ())
        self.decision_ms.append(1000 * (time.perf_counter() - started))
        self._decisions.append(decision)
        self._queue = deque(zip(decision.moves, decision.effects, strict=True))
        self._proposal = None
        if not decision.moves:
            self._logged = ()
            return
        self._proposed += 1
        self._proposal = _Proposal(f"P{self._proposed:06d}", decision.moves[0], decision.effects[0], decision)
        if decision.moves != self._logged:      # a proposal that stands for hours is one row, not hundreds
            self._logged = decision.moves
            self._audit.record_decision(now, {
                "kind": decision.kind.value, "reason": decision.reason,
                "moves": [self._words(move) for move in decision.moves],
                "best": [self._summary(c) for c in decision.candidates[:5]],
            })

    def _begin_next(self) -> None:
        """The next decided move, checked once more on what is known now; what no longer holds is let go."""
        move, effect = self._queue.popleft()
        decision = self._decisions[-1]
        interlocks = self._planner.check(self.observation(), move)
        if all(lock.ok for lock in interlocks):
            self._switching.start(move, "AUTO", f"{decision.kind.value}: {decision.reason}", interlocks, effect)
        self._proposal = None

    # ------------------------------------------------------------ what is known, what may not move

    def observation(self, person: bool = False, undo: bool = False) -> Observation:
        """The feeder now, with what the service vetoes for AUTO, for a person, or for a person's undo."""
        today = self._audit.switches_since(local_day_start(self._clock.now()))
        if undo:
            today = {house: max(0, count - 1) for house, count in today.items()}
        return self._state.observation(self._blocked(person, undo), today)

    def _blocked(self, person: bool, undo: bool = False) -> dict[str, str]:
        """By house: what forbids its move; the gravest where there are several."""
        now = self._clock.now()
        blocked: dict[str, str] = {}
        for house, (at, failed) in self._last_moves().items():
            wait = at + self._settings.dwell_s - now
            if failed and not person and local_day_start(at) == local_day_start(now):
                blocked[house] = "its last switch failed today"
            elif wait > 0 and not undo:
                blocked[house] = f"dwell {math.ceil(wait / 60)} min more"
        for house in self._feeder.house_ids:
            if not self._state.online(house):
                blocked[house] = "node offline"
        for house, switch_id in self._switching.quarantined.items():
            blocked[house] = f"quarantined since {switch_id}"
        for tag in self._audit.tags():
            if tag.house and not (person and tag.kind == "caution"):
                blocked[tag.house] = f"tag {tag.kind} by {tag.by}"
        for view in self._switching.in_flight:
            blocked[view.house] = f"{view.id} under way"
        return blocked

    def _last_moves(self) -> dict[str, tuple[float, bool]]:
        """By house: when its last switch that reached the node began, and whether it ended badly."""
        last: dict[str, tuple[float, bool]] = {}
        for view in reversed(self._audit.switches(limit=400)):
            if view.state != "REFUSED":
                last[view.house] = (view.at, view.state in ("ROLLED_BACK", "QUARANTINED"))
        return last

    # ------------------------------------------------------------ a person's moves

    def examine(self, house: str, target: Phase, undo: bool = False
                ) -> tuple[Move, Effect | None, tuple[Interlock, ...]]:
        """Effect and interlocks of a person's move now. `house` is one of the feeder's."""
        observation = self.observation(person=True, undo=undo)
        index = self._feeder.house_ids.index(house)
        move = Move(index, int(observation.phase[index]), PHASES.index(target))
        hold = self._modes.mode == "HOLD"
        under_way = ", ".join(f"{view.id} moves {view.house}" for view in self._switching.in_flight)
        interlocks = (
            *self._planner.check(observation, move),
            Interlock("mode", not hold, f"{self._modes.mode}: {self._modes.reason}" if hold else self._modes.mode),
            Interlock("in flight", not self._switching.full, under_way or "no switch under way"),
        )
        if undo:
            interlocks += (Interlock("undo", True, "dwell waived, one switch beyond the daily budget allowed"),)
        effect = None
        if move.from_phase >= 0 and move.from_phase != move.to_phase:
            try:
                effect = self._planner.effect(observation, move)
            except SmartPhaseError:
                effect = None           # the interlock "power flow" says why
        return move, effect, interlocks

    def proposed(self, proposal_id: str) -> Move | None:
        """The move of the standing proposal, None where another one stands by now, or none."""
        proposal = self._standing()
        return proposal.move if proposal and proposal.id == proposal_id else None

    def _standing(self) -> _Proposal | None:
        """The proposal, as long as its house is still where it was proposed from and nothing is under way."""
        proposal = self._proposal
        if proposal is None or self._switching.in_flight:
            return None
        house = self._feeder.house_ids[proposal.move.house]
        return proposal if self._state.phase(house) == proposal.move.from_phase else None

    # ------------------------------------------------------------ what is told

    @property
    def decision(self) -> str:
        """What the planner last said, in words."""
        if not self._decisions:
            return "no decision yet"
        last = self._decisions[-1]
        return f"{last.kind.value}: {last.reason}"

    def proposal_view(self) -> ProposalView | None:
        proposal = self._standing()
        if proposal is None:
            return None
        move = proposal.move
        return ProposalView(
            id=proposal.id, house=self._feeder.houses[move.house].house_id, from_phase=_letter(move.from_phase),
            to_phase=_letter(move.to_phase), kind=proposal.decision.kind.value, reason=proposal.decision.reason,
            effect=effect_view(proposal.effect), interlocks=interlock_views(
                self._planner.check(self.observation(), move)),
        )

    def notes(self) -> dict[str, str]:
        """The one thing that matters now about each house, for screens."""
        notes = self._blocked(person=False)
        tripped = self._state.pv_tripped()
        for index, house in enumerate(self._feeder.house_ids):
            if tripped[index]:
                notes[house] = "PV off after switch"
        return notes

    def why(self, house: str) -> tuple[str, ...]:
        """Why a house was moved or not, newest first: sentences with the figures of each decision."""
        lines = [_switch_words(view) for view in self._audit.switches(limit=400) if view.house == house][:10]
        last = ""
        for decision in reversed(self._decisions):
            for candidate in decision.candidates:
                if self._feeder.houses[candidate.move.house].house_id != house:
                    continue
                words = self._verdict(candidate, decision)
                if words != last:
                    lines.append(f"{local(decision.at):%H:%M} {words}")
                last = words
            if len(lines) >= 40:
                break
        return tuple(lines) or ("nothing has been decided about it yet",)

    def _verdict(self, candidate: Candidate, decision: Decision) -> str:
        words = self._words(candidate.move)
        if candidate.move in decision.moves:
            return f"{words} taken: {decision.reason}"
        if candidate.veto:
            return f"{words} vetoed: {candidate.veto}"
        if candidate.gain <= candidate.price:
            return (f"{words} not worth it: brings {max(candidate.gain, 0):.0f} A2h, costs {candidate.price:.0f}")
        return f"{words} would pay ({candidate.gain:.0f} A2h), another move paid more"

    def _words(self, move: Move) -> str:
        source = PHASES[move.from_phase] if move.from_phase >= 0 else "?"
        return f"{self._feeder.houses[move.house].house_id} {source}>{PHASES[move.to_phase]}"

    def _summary(self, candidate: Candidate) -> dict[str, object]:
        return {"move": self._words(candidate.move), "gain": round(candidate.gain, 1),
                "price": round(candidate.price, 1), "veto": candidate.veto}


def effect_view(effect: Effect) -> EffectView:
    """The planner's effect as it goes over the wire."""
    return EffectView(**{name: getattr(effect, name) for name in EffectView.__struct_fields__})


def interlock_views(interlocks: tuple[Interlock, ...]) -> tuple[InterlockView, ...]:
    return tuple(InterlockView(lock.name, lock.ok, lock.detail) for lock in interlocks)


def _open_neutral(figures: Figures, state: FeederState) -> str:
    """The signature of a broken neutral: phase voltages far apart while hardly any neutral current returns.

    A break on the line shows at the houses behind it, one before the meter at the meter too.
    """
    neutral = figures.neutral_a
    if neutral.value is None or neutral.quality != "G" or neutral.value >= _NO_RETURN_A:
        return ""
    metered = [one.value for one in figures.voltage_v if one.value is not None and one.quality == "G"]
    nominal = state.feeder.transformer.nominal_voltage
    apart = max(_spread(metered), _spread(_house_means(state))) / nominal
    if apart <= _APART:
        return ""
    return f"suspected open neutral: phases {apart:.0%} apart at {neutral.value:.1f} A in the neutral"


def _house_means(state: FeederState) -> list[float]:
    """Mean volts of each phase over its houses with good data."""
    volts: list[list[float]] = [[] for _ in PHASES]
    for house in state.feeder.house_ids:
        held, phase = state.usable(house), state.phase(house)
        if held is not None and phase >= 0 and held.reading.voltage >= LIVE_V:
            volts[phase].append(held.reading.voltage)
    return [sum(each) / len(each) for each in volts if each]


def _spread(volts: list[float]) -> float:
    return max(volts) - min(volts) if volts else 0.0


def _switch_words(view: SwitchView) -> str:
    predicted = f", predicted neutral {view.predicted_neutral_a:.1f} A" if view.predicted_neutral_a is not None else ""
    return (f"{local(view.at):%H:%M} {view.id} {view.house} {view.from_phase}>{view.to_phase} by {view.origin}: "
            f"{view.state}{predicted}. {view.reason}")


def _letter(phase: int) -> Phase:
    names: tuple[Phase, Phase, Phase] = ("R", "Y", "B")
    return names[phase]
