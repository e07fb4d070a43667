"""Steps street, broker and Pi together: time moves only when every message under way has arrived.

A minute is one step; while a switch is under way or a contact moves, seconds are, with the houses concerned and
the meter reporting. What the steps amount to is `day`'s affair.
"""

from __future__ import annotations

from collections.abc import Iterable

from pi_service.broker import Broker
from pi_service.clock import ManualClock
from pi_service.street.barrier import Barrier
from pi_service.street.faults import AFTER, Fault
from pi_service.street.house import VirtualHouse
from pi_service.street.pi import LockstepPi
from pi_service.street.street import Street
from pi_service.street.trouble import Trouble
from pi_service.street.wire import Wire

_WATCH_S = 60.0
_MINUTE_S = 60
_NEVER = float("inf")


class Lockstep:
    """One run. Call `begin`, then `minute` for each minute, then `end`."""

    def __init__(self, street: Street, pi: LockstepPi, broker: Broker, clock: ManualClock, trouble: Trouble,
                 barrier: Barrier) -> None:
        self._street, self._pi, self._broker, self._clock = street, pi, broker, clock
        self._trouble, self._barrier = trouble, barrier
        self._by_command = {house.command_topic: house for house in street.houses}
        self._status_of: dict[Wire, str] = {house.wire: house.status_topic for house in street.houses}
        self._status_of[street.meter.wire] = street.meter.status_topic
        self._retained: set[str] = set()
        self._watched: dict[str, float] = {}
        self._broker_back_at = self._pi_back_at = _NEVER
        self._kill_minutes = 0.0
        for house in street.houses:
            house.on_arrival = barrier.arrived

    async def begin(self) -> None:
        """Connect everything."""
        await self._pi.start(self._broker.host, self._broker.port)
        await self._mend_wires()

    async def minute(self, minute: int) -> None:
        """Live one minute of the profiles; the clock stands at its beginning and then at its end."""
        street = self._street
        await self._strike()
        street.begin_minute(minute)
        await self._turn(street.houses)
        seconds = 0
        while seconds < _MINUTE_S - 1 and (self._pi.in_flight or street.busy):
            seconds += 1
            self._clock.advance(1.0)
            street.let_pass(1.0)
            await self._strike()
            await self._turn(self._concerned())
        self._clock.advance(_MINUTE_S - seconds)
        street.let_pass(_MINUTE_S - seconds)
        street.ledger.close()

    async def end(self) -> None:
        """Let a switch that is under way come to its end, then close everything."""
        seconds = 0
        while (self._pi.in_flight or self._street.busy) and seconds < 15 * _MINUTE_S:
            seconds += 1
            self._clock.advance(1.0)
            self._street.let_pass(1.0)
            await self._strike()
            await self._turn(self._street.houses if seconds % _MINUTE_S == 0 else self._concerned())
        await self._pi.close()
        for wire in self._street.wires:
            await wire.close()

    # ---------------------------------------------------------------- one step

    async def _turn(self, reporting: Iterable[VirtualHouse]) -> None:
        """The street speaks, the Pi listens and works, its commands arrive."""
        street = self._street
        topics = [topic for house in street.houses if house.node.outgoing for topic in house.answer()]
        topics += street.report(reporting)
        topics += street.report_meter()
        if self._pi.listening:
            self._barrier.expect(topics)
        await self._barrier.clear()
        for message in self._pi.work():
            house = self._by_command.get(message.topic)
            if house is not None:
                self._watched[house.house_id] = self._clock.now() + _WATCH_S
                if house.wire.up:
                    self._barrier.expect([message.topic])
        await self._barrier.clear()
        self._pi.meet_doom()

    def _concerned(self) -> list[VirtualHouse]:
        now = self._clock.now()
        return [house for house in self._street.houses if house.busy or self._watched.get(house.house_id, 0.0) > now]

    # ---------------------------------------------------------------- faults

    async def _strike(self) -> None:
        now = self._clock.now()
        self._trouble.strike(now)
        if now >= self._broker_back_at:
            await self._broker_returns()
        if now >= self._pi_back_at and self._broker.running:
            self._pi_back_at = _NEVER
            self._barrier.expect(sorted(self._retained))
            await self._pi.start(self._broker.host, self._broker.port)
        for fault in list(self._trouble.due):
            await self._strike_pi(fault)
        if self._pi.station is None and self._pi_back_at == _NEVER:
            self._pi_back_at = now + 60 * self._kill_minutes
        await self._mend_wires()

    async def _strike_pi(self, fault: Fault) -> None:
        """A fault of the broker or the daemon whose time has come, if the switch is where it waits for it."""
        minutes = fault.minutes or 0.0
        if fault.name == "broker-restart":
            state = fault.subject.removesuffix(AFTER)
            if self._broker.running and (not state or self._pi.flight_is_in(state)):
                self._trouble.due.remove(fault)
                await self._broker_dies(minutes)
        elif self._pi.station is not None:
            self._trouble.due.remove(fault)
            self._kill_minutes = minutes
            if fault.subject:
                self._pi.doom(fault.subject)
            else:
                self._pi.kill()

    async def _broker_dies(self, minutes: float) -> None:
        await self._broker.kill()
        for wire in self._street.wires:
            await wire.lost.wait()
        await self._pi.lost()
        self._barrier.forget()
        self._retained.clear()
        self._broker_back_at = self._clock.now() + 60 * minutes

    async def _broker_returns(self) -> None:
        self._broker_back_at = _NEVER
        await self._broker.start()
        await self._pi.connect(self._broker.host, self._broker.port)

    async def _mend_wires(self) -> None:
        """Cut what is dead, connect what lives; births and wills are messages like any other."""
        owners: list[tuple[Wire, bool]] = [(self._street.meter.wire, True)]
        owners += [(house.wire, house.alive) for house in self._street.houses]
        for wire, alive in owners:
            if alive == wire.up or not self._broker.running:
                continue
            status = self._status_of[wire]
            topics = [status, *wire.waiting] if alive else [status]
            if self._pi.listening:
                self._barrier.expect(topics)
            self._retained.add(status)
            if alive:
                await wire.connect(self._broker.host, self._broker.port)
            else:
                wire.cut()
