"""The snapshot that screens draw, put together once a second from what the other modules know.

Everything in it is copied, nothing is decided here. Not here: sending it (`service`), what it says of switches
and modes (the controller hands that over as `Control`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from balancer.feeder import Feeder, House
from pi_service.clock import Clock
from pi_service.contract import (
    AlarmView,
    Contact,
    HouseView,
    Mode,
    Phase,
    PhaseView,
    ProposalView,
    Snapshot,
    SwitchView,
    TagKind,
)
from pi_service.feeder_state import FeederState, net_power
from pi_service.figures import Figures

SHOWN = 50
_LETTERS: tuple[Phase, Phase, Phase] = ("R", "Y", "B")


@dataclass(frozen=True, slots=True)
class Control:
    """What the controller tells of itself. Maps go by house id; `tags` gives (kind, tag id), "" for the feeder.
    `switches` newest first (`SHOWN` of them are drawn)."""

    mode: Mode
    mode_by: str = ""
    mode_reason: str = ""
    decision: str = ""
    switches: tuple[SwitchView, ...] = ()
    in_flight: SwitchView | None = None
    proposal: ProposalView | None = None
    switches_today: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, tuple[TagKind, str]] = field(default_factory=dict)


class Publisher:
    """Numbers and builds the snapshots of one feeder."""

    def __init__(self, feeder: Feeder, clock: Clock, broker: str = "", speed: float = 1.0) -> None:
        self._feeder, self._clock, self._broker, self._speed = feeder, clock, broker, speed
        self._sent = 0

    def snapshot(self, state: FeederState, now: Figures, control: Control, alarms: tuple[AlarmView, ...],
                 neutral_history_a: tuple[float | None, ...], counters: Mapping[str, int]) -> Snapshot:
        """The next snapshot. `neutral_history_a`: the last 60 plant minutes, oldest first."""
        self._sent += 1
        feeder, limits = self._feeder, self._feeder.limits
        feeder_tag = control.tags.get("")
        houses = tuple(_house_view(house, state, control) for house in feeder.houses)
        return Snapshot(
            feeder=feeder.feeder_id, name=feeder.name, at=self._clock.now(), sent=self._sent,
            mode=control.mode, mode_by=control.mode_by, mode_reason=control.mode_reason,
            phases=_phase_views(now, houses), neutral_a=now.neutral_a, vuf_percent=now.vuf_percent,
            unbalance_percent=now.unbalance_percent, power_kw=now.power_kw,
            neutral_limit_a=limits.neutral_a, vuf_limit_percent=limits.vuf_percent,
            phase_limit_a=limits.phase_current_a, voltage_min_v=now.voltage_min_v, voltage_max_v=now.voltage_max_v,
            neutral_history_a=neutral_history_a, houses=houses, alarms=alarms,
            switches=control.switches[:SHOWN], in_flight=control.in_flight, proposal=control.proposal,
            decision=control.decision, counters=dict(sorted(counters.items())),
            feeder_tag=feeder_tag[0] if feeder_tag else None, feeder_tag_id=feeder_tag[1] if feeder_tag else "",
            broker=self._broker, speed=self._speed,
        )


def _phase_views(now: Figures, houses: tuple[HouseView, ...]) -> tuple[PhaseView, PhaseView, PhaseView]:
    r, y, b = (
        PhaseView(phase, current, voltage, power, sum(house.phase == phase for house in houses))
        for phase, current, voltage, power in zip(
            _LETTERS, now.current_a, now.voltage_v, now.phase_power_kw, strict=True)
    )
    return r, y, b


def _house_view(house: House, state: FeederState, control: Control) -> HouseView:
    name = house.house_id
    held = state.shown(name)
    reading = held.reading if held else None
    tag = control.tags.get(name)
    return HouseView(
        id=name, pole=house.pole, phase=_contact(house, state), quality=state.quality(name), age_s=state.age_s(name),
        online=state.online(name),
        voltage_v=reading.voltage if reading else None, current_a=reading.current if reading else None,
        power_kw=net_power(house, reading)[0] if reading else None,
        solar_kw=reading.solar_injection if reading else None,
        pv_kwp=house.pv_kwp, switchable=house.switchable, critical=house.critical,
        switches_today=control.switches_today.get(name, 0),
        tag=tag[0] if tag else None, tag_id=tag[1] if tag else "", note=control.notes.get(name, ""),
    )


def _contact(house: House, state: FeederState) -> Contact:
    """Where the house is: as confirmed, else as its latest reading says, else as the feeder folder has it."""
    confirmed, latest = state.contact(house.house_id), state.latest(house.house_id)
    if confirmed is not None:
        return confirmed
    return latest.reading.phase if latest else _LETTERS[house.phase]
