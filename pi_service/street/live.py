"""The street in real time: boards run on the wall's milliseconds, loads and sun on the plant's calendar.

Every connection looks after itself; the street goes on while the broker is away. Not here: the lockstep day.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from balancer.feeder import Feeder
from balancer.feeder_folder import Profiles
from pi_service.clock import Clock, local_day_start
from pi_service.seal import NodeKeys
from pi_service.street.faults import PI_FAULTS, Fault, FaultError, check_faults
from pi_service.street.street import Street, StreetSettings
from pi_service.street.trouble import Trouble
from pi_service.street.wire import Wire

TICK_S = 0.05
REPORT_EVERY_TICKS = 20
BEAT_EVERY_TICKS = 100
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Place:
    """The broker's host and port."""

    host: str
    port: int


class LiveStreet:
    """A street that runs until it is cancelled. Raises FaultError for a fault that a street cannot cause itself."""

    def __init__(self, feeder: Feeder, profiles: Profiles, keys: Sequence[NodeKeys], clock: Clock, place: Place,
                 settings: StreetSettings, faults: tuple[Fault, ...] = ()) -> None:
        start = clock.now()
        others = [fault for fault in faults if fault.name in PI_FAULTS]
        if others:
            raise FaultError(f"fault {others[0]}: a live street has no hold of broker and daemon; "
                             "use it with `smartphase demo --headless`")
        check_faults(faults, feeder, start, start + _DAY_S)
        self.street = Street(feeder, profiles, keys, clock, settings)
        self._clock, self._place = clock, place
        self._trouble = Trouble(faults, self.street, start)
        self._midnight = local_day_start(start)
        self._plant_at = start
        self._board_at = clock.monotonic()
        self._second = 0

    async def run(self) -> None:
        """Connect everything and live; leaves with a clean word for every house when cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for wire in self.street.wires:
                tasks.create_task(wire.keep(self._place.host, self._place.port))
            tasks.create_task(self._live())

    async def _live(self) -> None:
        tick = 0
        try:
            while True:
                self._pass_time(solve=tick % REPORT_EVERY_TICKS == 0)
                self._report(tick % REPORT_EVERY_TICKS)
                if tick % BEAT_EVERY_TICKS == 0:
                    for wire in self.street.wires:
                        wire.beat()
                tick += 1
                await asyncio.sleep(TICK_S)
        finally:
            with contextlib.suppress(OSError):
                await _farewell(self.street.wires)

    def _pass_time(self, solve: bool) -> None:
        """Boards follow the wall's milliseconds; the plant is solved once a second and while contacts move."""
        now, board = self._clock.now(), self._clock.monotonic()
        street = self.street
        self._trouble.strike(now)
        for house in street.houses:
            if house.alive:
                house.wire.wanted.set()
            elif house.wire.up:
                house.wire.wanted.clear()
                house.wire.cut()
        if solve or street.busy:
            street.begin_minute(int((now - self._midnight) // 60))
            street.let_pass(now - self._plant_at, round((board - self._board_at) * 1000))
            self._plant_at, self._board_at = now, board
        for house in street.houses:
            house.answer()

    def _report(self, part: int) -> None:
        """A twentieth of the houses reports each tick, so that a street does not speak in one breath."""
        self.street.report(self.street.houses[part::REPORT_EVERY_TICKS])
        if part == 0:
            self.street.report_meter()


async def _farewell(wires: Sequence[Wire]) -> None:
    for wire in wires:
        await wire.close()
