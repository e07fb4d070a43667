"""The Pi of a lockstep day: a real Station with a connection of its own, that can be killed and started again.

A kill drops the station where it stands: what it had not committed or sent is lost, nothing is closed. Not here:
the daemon as a process (`pi_service.service`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pi_service.clock import Clock
from pi_service.config import StationConfig
from pi_service.contract import SwitchView
from pi_service.outbox import Publish
from pi_service.site import Site
from pi_service.station import Station
from pi_service.street.faults import AFTER
from pi_service.street.wire import Wire, WireSettings


class Killed(Exception):
    """The daemon died here. Not a SmartPhaseError: nothing in the daemon may catch it."""


class _MortalStation(Station):
    """A station that can die at the instant a switch's state was committed, before its side effect."""

    doom = ""
    """The state to die in, "" for none."""

    def _switch_changed(self, view: SwitchView) -> None:
        super()._switch_changed(view)
        if view.state == self.doom:
            raise Killed


class LockstepPi:
    """One Pi. `station` is None while it is dead. Messages wait in an inbox until `work`, sorted by topic.

    Sixty connections deliver in any order; sorted, the same day is the same every time.
    """

    def __init__(self, config: StationConfig, site: Site, clock: Clock, data: Path,
                 arrived: Callable[[str], None]) -> None:
        self.station: Station | None = None
        self.decision_ms: list[float] = []
        self.counters: dict[str, int] = {}
        self._config, self._site, self._clock, self._data = config, site, clock, data
        self._arrived = arrived
        self._inbox: list[tuple[str, bytes, bool]] = []
        self._wire: Wire | None = None
        self._doom = ""

    @property
    def listening(self) -> bool:
        """Whether what is published now reaches it."""
        return self._wire is not None and self._wire.up

    @property
    def in_flight(self) -> bool:
        return self.station is not None and self.station.in_flight

    def flight_is_in(self, state: str) -> bool:
        """Whether a switch under way is in `state`."""
        return self.station is not None and any(view.state == state for view in self.station.switching.in_flight)

    def doom(self, state: str) -> None:
        """Die at the first switch that comes to `state`; `STATE-after`: once the side effect is out."""
        self._doom = state
        if isinstance(self.station, _MortalStation):
            self.station.doom = state

    async def start(self, host: str, port: int) -> None:
        """Start the daemon on its data and connect it. Raises WireError."""
        station = _MortalStation(self._config, self._site, self._clock, self._data)
        station.doom = self._doom
        self.station = station
        await self.connect(host, port)

    async def connect(self, host: str, port: int) -> None:
        """Connect a station that lives (again). Raises WireError."""
        station = self.station
        if station is None:
            return
        birth = station.birth
        self._wire = Wire(
            WireSettings(f"{self._site.feeder.feeder_id}-pi", station.will, lambda: birth, station.subscriptions),
            self._message)
        await self._wire.connect(host, port)
        station.link_up()

    async def lost(self) -> None:
        """The broker is gone: wait until the connection knows."""
        if self._wire is not None:
            await self._wire.lost.wait()
        self._inbox.clear()
        if self.station is not None:
            self.station.link_down()

    def work(self) -> list[Publish]:
        """Take what arrived, let the time that passed do its work; returns what was sent. May kill the station."""
        station = self.station
        if station is None:
            return []
        inbox, self._inbox = sorted(self._inbox, key=lambda message: message[0]), []
        for topic, payload, retained in inbox:
            station.handle(topic, payload, retained)
        try:
            station.process()
            station.tick()
        except Killed:
            self.kill()
            return []
        sent = [message for message in station.outgoing if self._wire is not None and self._wire.publish(message)]
        station.outgoing.clear()
        return sent

    def meet_doom(self) -> None:
        """Die where a switch is in the state that was asked for, now that its side effect has arrived."""
        if self._doom.endswith(AFTER) and self.flight_is_in(self._doom.removesuffix(AFTER)):
            self.kill()

    def kill(self) -> None:
        """The daemon dies: no last word, no close."""
        self._note()
        if self._wire is not None:
            self._wire.cut()
        self.station, self._wire, self._doom = None, None, ""
        self._inbox.clear()

    async def close(self) -> None:
        """End of the day: a clean shutdown."""
        self._note()
        if self._wire is not None:
            await self._wire.close()
        if self.station is not None:
            self.station.close()

    def _note(self) -> None:
        """Keep what only the running station knows."""
        if self.station is not None:
            self.decision_ms += self.station.controller.decision_ms
            for name, count in self.station.ingest.counters.items():
                self.counters[name] = self.counters.get(name, 0) + count

    def _message(self, topic: str, payload: bytes, retained: bool) -> None:
        self._inbox.append((topic, payload, retained))
        self._arrived(topic)
