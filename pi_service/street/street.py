"""The street as a whole: plant, houses, meter and sensors put together. Time and messages are the caller's.

Used by the lockstep day (`day`) and by the live process (`__main__`). Not here: the Pi.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from balancer.decision import IntArray
from balancer.errors import SmartPhaseError
from balancer.feeder import Feeder
from balancer.feeder_folder import Profiles
from balancer.network import Network
from pi_service.clock import Clock
from pi_service.seal import METER, NodeKeys
from pi_service.street.house import NodeSettings, VirtualHouse
from pi_service.street.meter import VirtualMeter
from pi_service.street.plant import Ledger, Plant
from pi_service.street.sensors import SensorErrors, Sensors
from pi_service.street.wire import Wire


@dataclass(frozen=True, slots=True)
class StreetSettings:
    """`reconnect_s`: how long PV stays off after its supply is back (plant s); `seed`: sensors and boards."""

    seed: int = 0
    reconnect_s: float = 300.0
    errors: SensorErrors = field(default_factory=SensorErrors)
    nodes: NodeSettings = field(default_factory=NodeSettings)


class Street:
    """Houses on a feeder. `truth` is the last solved instant, `ledger` what happened so far."""

    def __init__(self, feeder: Feeder, profiles: Profiles, keys: Iterable[NodeKeys], clock: Clock,
                 settings: StreetSettings | None = None) -> None:
        settings = settings or StreetSettings()
        newest = {node.house: node for node in sorted(keys, key=lambda node: node.epoch)}
        missing = [name for name in (*feeder.house_ids, METER) if name not in newest]
        if missing:
            raise SmartPhaseError(f"street: the site has no key for {', '.join(missing[:5])}; make the site for "
                                  f"feeder {feeder.feeder_id} again")
        self.feeder = feeder
        self.network = Network(feeder)
        self.houses = tuple(
            VirtualHouse(house, feeder.feeder_id, newest[house.house_id], clock, settings.nodes,
                         seed=settings.seed * 1000 + index)
            for index, house in enumerate(feeder.houses))
        self.by_id = {house.house_id: house for house in self.houses}
        self._clock = clock
        self._sensors = Sensors(settings.seed, settings.errors)
        self.meter = VirtualMeter(feeder.feeder_id, newest[METER], clock, self._sensors)
        self._plant = Plant(feeder, profiles, self.network, settings.reconnect_s)
        self.minutes = self._plant.minutes
        self.truth = self._plant.solve(clock.now(), self.contacts())
        self.ledger = Ledger(self.contacts())

    @property
    def wires(self) -> tuple[Wire, ...]:
        """Every connection of the street."""
        return (self.meter.wire, *(house.wire for house in self.houses))

    @property
    def busy(self) -> tuple[VirtualHouse, ...]:
        """Houses whose contacts move or are about to."""
        return tuple(house for house in self.houses if house.busy)

    @property
    def overlap_ms(self) -> int:
        """For how long any house had two contacts closed, all houses together. It must be 0."""
        return sum(int(house.hal.overlap_ms) for house in self.houses)

    def contacts(self) -> IntArray:
        """(n,) the phase on which each house hangs, -1 for none."""
        return np.array([house.contact for house in self.houses], dtype=np.int64)

    def begin_minute(self, minute: int) -> None:
        """Loads and sun of `minute` of the profiles hold from now on."""
        self._plant.set_minute(minute)
        self._solve()

    def let_pass(self, seconds: float, board_ms: int | None = None) -> None:
        """Time has passed: `seconds` of plant time, `board_ms` (without: the same) on every node's board."""
        self.ledger.add(self.truth, seconds)
        for house in self.houses:
            house.let_pass(round(seconds * 1000) if board_ms is None else board_ms)
        self._solve()

    def report(self, houses: Iterable[VirtualHouse]) -> list[str]:
        """The given houses publish a reading each; returns the topics that went out."""
        measured = dict(zip(self.feeder.house_ids, self._sensors.houses(self.truth), strict=True))
        topics = [house.report(measured[house.house_id]) for house in houses]
        return [topic for topic in topics if topic]

    def report_meter(self) -> list[str]:
        """The meter publishes a reading; returns its topic, or nothing."""
        topic = self.meter.report(self.truth)
        return [topic] if topic else []

    def _solve(self) -> None:
        interrupted = np.array([house.interrupted for house in self.houses])
        self.truth = self._plant.solve(self._clock.now(), self.contacts(), interrupted)
        supplies, made = self.truth.supply_v.tolist(), self.truth.pv_kw.tolist()
        for house, volts, kw in zip(self.houses, supplies, made, strict=True):
            house.interrupted = False
            house.set_supply(volts, kw)
