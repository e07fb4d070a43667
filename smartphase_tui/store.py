"""What the control room knows of its feeder: written by the one MQTT worker, read by what is drawn.

Nothing here draws or asks. The worker puts in what came; a timer takes what changed. Ages go on counting between
snapshots, and when the link is lost or the snapshots stop, every value is stale (quality "S") until they return.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pi_service.clock import Clock
from pi_service.contract import (
    AlarmView,
    Event,
    HouseView,
    Measured,
    NodeStatus,
    PhaseView,
    Snapshot,
    SwitchView,
)

STALE_AFTER_S = 2.5
"""A snapshot comes every second; with the screen's pulse of 0.25 s, what is drawn turns stale within 3 s."""

LinkState = Literal["WAIT", "LIVE", "STALE", "PI OFF", "NO LINK"]
Shown = Literal["G", "U", "B", "S"]


@dataclass(frozen=True, slots=True)
class Freshness:
    """Whether what is drawn is now: `state`, since how long (s), and in words what is wrong."""

    state: LinkState
    age_s: float | None
    why: str

    @property
    def live(self) -> bool:
        return self.state == "LIVE"


class Store:
    """The state of one feeder as this screen has it.

    `on_urgent` is called at once for what must not wait for the timer: alarms, feedback of a command, the link.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.snapshot: Snapshot | None = None
        self.houses: dict[str, HouseView] = {}
        self.alarms: dict[str, AlarmView] = {}
        self.switches: dict[str, SwitchView] = {}
        self.on_urgent: Callable[[Event | None], None] = lambda event: None
        self.dirty = True
        self.refused = 0
        self.last_refused = ""
        self._linked = False
        self._link_words = "connecting"
        self._pi_online: bool | None = None
        self._received_at: float | None = None
        self._live_at: float | None = None

    # ------------------------------------------------------------ written by the worker

    def take_snapshot(self, snapshot: Snapshot, retained: bool) -> None:
        """A snapshot came. A retained one is of unknown age: it is drawn, stale, until the next proves it live."""
        now = self.clock.monotonic()
        self.snapshot, self._received_at = snapshot, now
        if not retained:
            self._live_at = now
            self._pi_online = True
        self.houses = {house.id: house for house in snapshot.houses}
        self.alarms = {alarm.id: alarm for alarm in snapshot.alarms}
        self.switches = {switch.id: switch for switch in snapshot.switches}
        if snapshot.in_flight is not None:
            self.switches[snapshot.in_flight.id] = snapshot.in_flight
        self.dirty = True

    def take_event(self, event: Event) -> None:
        """A transition came between snapshots: what it says of an alarm or a switch counts at once."""
        if event.alarm is not None:
            self.alarms[event.alarm.id] = event.alarm
        if event.switch is not None:
            self.switches[event.switch.id] = event.switch
        self.dirty = True
        self.on_urgent(event)

    def take_status(self, status: NodeStatus) -> None:
        """The Pi's birth or death."""
        self._pi_online = status.online
        self.dirty = True
        self.on_urgent(None)

    def take_link(self, up: bool, words: str) -> None:
        """The connection to the broker came or went; `words` say which or why."""
        self._linked, self._link_words = up, words
        if not up:
            self._live_at = None
            self._pi_online = None
        self.dirty = True
        self.on_urgent(None)

    def take_refused(self, words: str) -> None:
        """A message that could not be read: counted, and the last one kept to be shown."""
        self.refused += 1
        self.last_refused = words
        self.dirty = True

    # ------------------------------------------------------------ read by what is drawn

    def freshness(self) -> Freshness:
        """Is this now? The first of the reasons that it is not."""
        now = self.clock.monotonic()
        age = None if self._received_at is None else now - self._received_at
        if not self._linked:
            return Freshness("NO LINK", age, f"no link to the broker: {self._link_words}")
        if self._pi_online is False:
            return Freshness("PI OFF", age, "the Pi says that it is off line")
        if self._live_at is None:
            return Freshness("WAIT", age, "waiting for the Pi's first snapshot")
        if now - self._live_at > STALE_AFTER_S:
            return Freshness("STALE", age, f"no snapshot from the Pi for {now - self._live_at:.0f} s")
        return Freshness("LIVE", age, "")

    def age(self, age_s: float) -> float:
        """An age as it was in the snapshot, grown since."""
        return age_s + (self.clock.monotonic() - self._received_at if self._received_at is not None else 0.0)

    def quality(self, quality: Shown) -> Shown:
        """The quality to show: as reported while live; bad stays bad and all else is stale when not."""
        return quality if quality == "B" or self.freshness().live else "S"

    def measured(self, value: Measured) -> tuple[float | None, Shown, float]:
        """Value (None where bad), quality to show, age in s."""
        shown = self.quality(value.quality)
        return (None if shown == "B" else value.value), shown, self.age(value.age_s)

    def phases(self) -> tuple[PhaseView, ...]:
        return () if self.snapshot is None else self.snapshot.phases

    def standing(self) -> list[AlarmView]:
        """The alarms that stand or wait for acknowledgement: worst first, then newest."""
        alarms = [alarm for alarm in self.alarms.values() if alarm.state != "CLEARED"]
        return sorted(alarms, key=lambda alarm: (alarm.priority, alarm.state != "UNACK", -alarm.raised_at))

    def log(self) -> list[SwitchView]:
        """The switches, newest first."""
        return sorted(self.switches.values(), key=lambda switch: (-switch.at, switch.id))

    def plant_now(self) -> float | None:
        """Plant time, Unix s: the snapshot's, moved on by what passed since at the plant's speed."""
        if self.snapshot is None or self._received_at is None:
            return None
        passed = self.clock.monotonic() - self._received_at
        return self.snapshot.at + (passed * self.snapshot.speed if self.freshness().live else 0.0)
