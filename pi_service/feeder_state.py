"""What is known of the feeder now: the last word of every house and of the meter, its quality and its age.

Quality G: sealed and fresh. U: plain, or measured long before it came, or sealed without a mark that a replay
could not bear. B: nothing fresh. Sealed and plain readings are kept apart: a plain one (any client may send it)
is shown, but never outdates, unseats or contradicts what a node sealed. Not here: decoding (`ingest`), sums over
the feeder (`figures`), history (`store`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from balancer.decision import BoolArray, Observation
from balancer.feeder import PHASES, Feeder, House
from pi_service.clock import Clock
from pi_service.contract import Contact, MessageRefused, MeterReading, Quality, Reading
from pi_service.ingest import AckReport, Arrival, HouseSample, MeterSample, StatusReport
from pi_service.seal import METER


@dataclass(frozen=True, slots=True)
class StateSettings:
    """When a value is too old. `stale_after_s` is monotonic; the others are plant seconds.

    late_after_s: a reading measured longer ago than this when it came is U (an outbox emptied after an outage).
    future_s: how far a node's clock may run ahead of the Pi's.
    accept_plain_telemetry: a fresh plain reading may decide a switch.
    pv_trip_max_s: after this an inverter that still makes nothing is the sky's affair, or broken.
    """

    stale_after_s: float = 15.0
    late_after_s: float = 120.0
    future_s: float = 10.0
    accept_plain_telemetry: bool = False
    pv_trip_max_s: float = 600.0


R = TypeVar("R", Reading, MeterReading)


@dataclass(frozen=True, slots=True)
class Held(Generic[R]):
    """A reading as it is kept: measured `at` (Unix s), arrived `monotonic` (s), sealed or not.

    `doubtful`: measured long before it came or, though sealed, without a mark that a replay could not bear.
    """

    reading: R
    at: float
    monotonic: float
    doubtful: bool
    sealed: bool


@dataclass(frozen=True, slots=True)
class _Switched:
    """A change of contact: when (Unix s), and whether the house's PV was making power just before."""

    at: float
    producing: bool


class _Source(Generic[R]):
    """The last sealed and the last plain reading of one house or of the meter."""

    def __init__(self) -> None:
        self.sealed: Held[R] | None = None
        self.plain: Held[R] | None = None
        self.latest: Held[R] | None = None
        self.online: bool | None = None

    def take(self, new: Held[R]) -> None:
        if new.sealed:
            _refuse_older(self.sealed, new)
            self.sealed, self.online = new, True
        else:
            _refuse_older(self.plain, new)
            self.plain = new
        self.latest = new


class FeederState:
    """The feeder as it is believed to be. Feed it with `take`; ask it for readings, phases, an observation."""

    def __init__(self, feeder: Feeder, clock: Clock, settings: StateSettings = StateSettings()) -> None:
        self.feeder, self.settings = feeder, settings
        self._clock, self._born = clock, clock.monotonic()
        self._index = {house.house_id: i for i, house in enumerate(feeder.houses)}
        self._houses: tuple[_Source[Reading], ...] = tuple(_Source() for _ in feeder.houses)
        self._meter: _Source[MeterReading] = _Source()
        self._contact: list[tuple[Contact, float] | None] = [None] * len(feeder.houses)
        self._switched: dict[int, _Switched] = {}

    # ---------------------------------------------------------------- feeding

    def take(self, arrival: Arrival) -> None:
        """Believe what arrived. Raises MessageRefused, and changes nothing, where it is not news.

        "stale-seq": same boot and a `seq` that does not rise, an older boot, or an older `ts`; "future-ts": a
        `ts` ahead of the Pi's clock. An ack sets the confirmed contact; a request is none of this module's.
        """
        match arrival:
            case HouseSample():
                self._take_reading(arrival)
            case MeterSample():
                self._meter.take(self._held(arrival.reading, arrival))
            case StatusReport():
                self._take_status(arrival)
            case AckReport():
                self._confirm(self._index[arrival.house], arrival.ack.phase, min(arrival.ack.ts, self._clock.now()))

    def _take_reading(self, sample: HouseSample) -> None:
        held, index = self._held(sample.reading, sample), self._index[sample.house]
        before = self._usable(index)
        self._houses[index].take(held)
        if not (held.sealed or self.settings.accept_plain_telemetry):
            return
        self._confirm(index, held.reading.relay or held.reading.phase, held.at, before)
        switched = self._switched.get(index)
        if switched and held.at > switched.at and _makes_power(self.feeder.houses[index], held.reading):
            del self._switched[index]       # reconnected

    def _held(self, reading: R, sample: HouseSample | MeterSample) -> Held[R]:
        at = sample.at if reading.ts is None else reading.ts
        if at > sample.at + self.settings.future_s:
            raise MessageRefused("future-ts", f"measured {at - sample.at:.0f} s ahead of the Pi's clock")
        marked = reading.ts is not None or (reading.seq is not None and reading.boot is not None)
        late = sample.at - at > self.settings.late_after_s
        return Held(reading, at, sample.monotonic, late or not marked, sample.sealed)

    def _take_status(self, report: StatusReport) -> None:
        source = self._meter if report.house == METER else self._houses[self._index[report.house]]
        boot = source.sealed.reading.boot if source.sealed else None
        if boot is not None and report.status.boot < boot:
            raise MessageRefused("stale-seq", f"status of boot {report.status.boot} after boot {boot}")
        source.online = report.status.online

    def _confirm(self, index: int, contact: Contact, at: float, before: Held[Reading] | None = None) -> None:
        known = self._contact[index]
        if known is not None and at < known[1]:
            return      # measured before what is known already, only delivered later
        self._contact[index] = contact, at
        if known is not None and known[0] != contact:
            self._note_switch(index, at, before or self._usable(index))

    def _note_switch(self, index: int, at: float, before: Held[Reading] | None) -> None:
        """Remember whether PV made power when the contacts moved (one move may show as two: open, closed)."""
        earlier = self._switched.get(index)
        going_on = earlier is not None and earlier.producing and at - earlier.at <= self.settings.pv_trip_max_s
        producing = before is not None and _makes_power(self.feeder.houses[index], before.reading)
        self._switched[index] = _Switched(at, going_on or producing)

    # ---------------------------------------------------------------- asking: one source

    def latest(self, house: str) -> Held[Reading] | None:
        """The last reading of `house`, sealed or plain, however old; None before the first."""
        return self._houses[self._index[house]].latest

    def quality(self, house: str) -> Quality:
        """Quality of the latest reading now."""
        return self._quality(self.latest(house))

    def age_s(self, house: str) -> float:
        """Since the latest reading came, s monotonic; since the start where none did."""
        return self._age(self.latest(house))

    def trusted_age_s(self, house: str) -> float:
        """As `age_s`, of what a decision may come from: plain readings count only where the site accepts them."""
        return self._trusted_age(self._houses[self._index[house]])

    def online(self, house: str) -> bool:
        """The last of status and sealed reading says that the node is there."""
        return self._houses[self._index[house]].online is True

    def contact(self, house: str) -> Contact | None:
        """Where the node last confirmed the house to be (contact feedback where it sent one); None: never."""
        known = self._contact[self._index[house]]
        return known[0] if known else None

    def contact_at(self, house: str) -> float:
        """When the contact was last confirmed, Unix s; -inf where it never was."""
        known = self._contact[self._index[house]]
        return known[1] if known else -math.inf

    def phase(self, house: str) -> int:
        """0, 1, 2 for R, Y, B as confirmed by the node; -1 where unknown, open or at fault."""
        return _phase_index(self.contact(house))

    def fresh_meter(self) -> Held[MeterReading] | None:
        """The meter's word while it may be used: fresh and sealed (or plain where the site accepts it)."""
        return self._choose(self._meter)

    def latest_meter(self) -> Held[MeterReading] | None:
        return self._meter.latest

    def meter_quality(self) -> Quality:
        return self._quality(self._meter.latest)

    def meter_age_s(self) -> float:
        return self._age(self._meter.latest)

    def trusted_meter_age_s(self) -> float:
        return self._trusted_age(self._meter)

    def usable(self, house: str) -> Held[Reading] | None:
        """The reading of `house` that a decision may rest on now, or None."""
        return self._usable(self._index[house])

    def shown(self, house: str) -> Held[Reading] | None:
        """The latest reading of `house` while it is fresh, G or U: for screens and sums, not for decisions."""
        return self._shown(self._index[house])

    # ---------------------------------------------------------------- asking: the whole feeder

    def observation(self, blocked: Mapping[str, str] | None = None, switches_today: Mapping[str, int] | None = None,
                    pv_tripped: BoolArray | None = None) -> Observation:
        """What the planner is given. `blocked` and `switches_today` go by house id; absent: none.

        Values are filled in from any fresh reading, but `good` holds only for those of quality G (or plain ones
        where the site accepts them). Without `power` the load is voltage * current; without `reactive_power` it
        follows from the house's power factor.
        """
        houses = self.feeder.houses
        load = np.full(len(houses), np.nan)
        kvar, pv = load.copy(), load.copy()
        good = np.zeros(len(houses), dtype=bool)
        for index, house in enumerate(houses):
            usable = self._usable(index)
            held = usable or self._shown(index)
            if held is not None:
                load[index], kvar[index] = load_of(house, held.reading)
                pv[index], good[index] = held.reading.solar_injection, usable is not None
        meter = self.fresh_meter()
        nothing = (math.nan,) * 3
        return Observation(
            at=self._clock.now(),
            phase=np.array([self.phase(house.house_id) for house in houses], dtype=np.int64),
            load_kw=load, load_kvar=kvar, pv_kw=pv, good=good,
            pv_tripped=self.pv_tripped() if pv_tripped is None else pv_tripped,
            switches_today=np.array([(switches_today or {}).get(h.house_id, 0) for h in houses], dtype=np.int64),
            blocked=tuple((blocked or {}).get(house.house_id, "") for house in houses),
            transformer_voltage_v=np.array(meter.reading.voltage if meter else nothing),
            phase_current_a=np.array(meter.reading.current if meter else nothing),
        )

    def pv_tripped(self) -> BoolArray:
        """(n,) the inverter is off because the house was switched: it made power before, makes none since, less
        than `pv_trip_max_s` ago, and not because the sun went: a peer produces (where there is one to ask)."""
        now, tripped = self._clock.now(), np.zeros(len(self._houses), dtype=bool)
        peers = [_makes_power(house, held.reading) for index, house in enumerate(self.feeder.houses)
                 if house.pv_kwp > 0 and index not in self._switched and (held := self._usable(index)) is not None]
        if any(peers) or not peers:
            for index, switched in self._switched.items():
                tripped[index] = switched.producing and now - switched.at <= self.settings.pv_trip_max_s
        return tripped

    # ---------------------------------------------------------------- inside

    def _usable(self, index: int) -> Held[Reading] | None:
        return self._choose(self._houses[index])

    def _shown(self, index: int) -> Held[Reading] | None:
        latest = self._houses[index].latest
        return latest if self._quality(latest) != "B" else None

    def _choose(self, source: _Source[R]) -> Held[R] | None:
        if self._quality(source.sealed) == "G":
            return source.sealed
        plain_counts = self.settings.accept_plain_telemetry and self._quality(source.plain) != "B"
        return source.plain if plain_counts else None

    def _age(self, held: Held[R] | None) -> float:
        return self._clock.monotonic() - (held.monotonic if held else self._born)

    def _trusted_age(self, source: _Source[R]) -> float:
        ages = [self._age(source.sealed)]
        if self.settings.accept_plain_telemetry:
            ages.append(self._age(source.plain))
        return min(ages)

    def _quality(self, held: Held[R] | None) -> Quality:
        if held is None or self._age(held) > self.settings.stale_after_s:
            return "B"
        return "G" if held.sealed and not held.doubtful else "U"


def net_power(house: House, reading: Reading) -> tuple[float, float]:
    """(kW, kvar) that `house` draws from the feeder, export negative. PV runs at unity."""
    load, kvar = load_of(house, reading)
    return (load - reading.solar_injection if reading.power is None else reading.power), kvar


def load_of(house: House, reading: Reading) -> tuple[float, float]:
    """(kW, kvar) of the load behind the meter: net power plus solar, else voltage * current."""
    if reading.power is None:
        load = reading.voltage * reading.current / 1000.0
    else:
        load = reading.power + reading.solar_injection
    if reading.reactive_power is not None:
        return load, reading.reactive_power
    return load, max(load, 0.0) * math.tan(math.acos(min(1.0, house.power_factor)))


def _makes_power(house: House, reading: Reading) -> bool:
    """More than an inverter's own noise: 2 % of its rating, at least 30 W."""
    return reading.solar_injection > max(0.03, 0.02 * house.pv_kwp)


def _phase_index(contact: Contact | None) -> int:
    return PHASES.index(contact) if contact in PHASES else -1


def _refuse_older(last: Held[R] | None, new: Held[R]) -> None:
    """Raise MessageRefused where `new` is not later than `last` by every mark that both carry.

    A newer `ts` excuses a lower boot number: a node that was re-flashed counts from one again.
    """
    if last is None:
        return
    old_boot, boot, old_seq, seq = last.reading.boot, new.reading.boot, last.reading.seq, new.reading.seq
    dated = new.reading.ts is not None and last.reading.ts is not None
    if dated and new.at < last.at:
        raise MessageRefused("stale-seq", f"measured {last.at - new.at:.0f} s before the reading that is known")
    if old_boot is not None and boot is not None and boot < old_boot and not (dated and new.at > last.at):
        raise MessageRefused("stale-seq", f"boot {boot} after boot {old_boot}")
    if boot == old_boot and seq is not None and old_seq is not None and seq <= old_seq:
        raise MessageRefused("stale-seq", f"seq {seq} after seq {old_seq} of the same boot")
