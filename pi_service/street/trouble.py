"""Lets faults strike the houses and the meter when their time comes, and takes them away again.

Faults of the Pi and the broker are only announced (`due`): who runs those lets them happen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pi_service.street.faults import HOUSE_FAULTS, NEXT, PI_FAULTS, Fault
from pi_service.street.house import VirtualHouse
from pi_service.street.street import Street


@dataclass(frozen=True, slots=True)
class _Standing:
    """A fault that has struck: when it ends (Unix s) and what ends it."""

    until: float
    end: Callable[[], None]


class Trouble:
    """All faults of one run from `start` (Unix s). Call `strike` whenever time moved."""

    def __init__(self, faults: Iterable[Fault], street: Street, start: float) -> None:
        self._street = street
        self._coming = sorted(((fault.begins(start), index, fault) for index, fault in enumerate(faults)))
        self._standing: list[_Standing] = []
        self._armed: list[Fault] = []
        self._now = start
        self.due: list[Fault] = []
        """Faults of the Pi or the broker whose time has come; the caller removes those it has dealt with."""

    def strike(self, now: float) -> None:
        """End what is over and begin what is due."""
        self._now = now
        over = [standing for standing in self._standing if standing.until <= now]
        self._standing = [standing for standing in self._standing if standing.until > now]
        for standing in over:
            standing.end()
        while self._coming and self._coming[0][0] <= now:
            _, _, fault = self._coming.pop(0)
            if fault.name in PI_FAULTS:
                self.due.append(fault)
            elif fault.subject == NEXT:
                self._arm(fault)
            elif fault.name in HOUSE_FAULTS:
                self._begin(fault, self._street.by_id[fault.subject])
            else:
                self._silence_meter(fault)

    def _arm(self, fault: Fault) -> None:
        self._armed.append(fault)
        for house in self._street.houses:
            house.on_command = self._commanded

    def _commanded(self, house: VirtualHouse) -> None:
        armed, self._armed = self._armed, []
        for fault in armed:
            self._begin(fault, house)
        for other in self._street.houses:
            other.on_command = None

    def _begin(self, fault: Fault, house: VirtualHouse) -> None:
        match fault.name:
            case "node-dead":
                house.die()
                self._until(fault, house.revive)
            case "ack-lost":
                house.drops_acks = True
                self._until(fault, lambda: setattr(house, "drops_acks", False))
            case "ack-lies":
                house.lies = True
                self._until(fault, lambda: setattr(house, "lies", False))
            case "relay-welded":
                house.weld()
                self._until(fault, house.mend)

    def _silence_meter(self, fault: Fault) -> None:
        meter = self._street.meter
        meter.silent = True
        self._until(fault, lambda: setattr(meter, "silent", False))

    def _until(self, fault: Fault, end: Callable[[], None]) -> None:
        if fault.minutes is not None:
            self._standing.append(_Standing(self._now + 60 * fault.minutes, end))
