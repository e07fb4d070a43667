"""Time, injected. No logic asks the operating system what time it is, so a day replays in seconds.

`now()` is the plant's calendar (Unix seconds, UTC): time stamps, dwell, budgets, physical delays.
`monotonic()` is how long a person or a socket has waited: time-outs, age of data. In a scaled demo the
calendar runs fast and the patience of sockets does not. `wall()` is what people's watches and certificates
show: the issue and expiry of commands and requests, which travel between machines.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Protocol

IST = timezone(timedelta(hours=5, minutes=30), "IST")
DAY_S = 86_400.0


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> float: ...

    def monotonic(self) -> float: ...

    def wall(self) -> float: ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()


@dataclass(frozen=True, slots=True)
class ScaledClock:
    """A calendar that stood at `plant_start` when the wall clock stood at `wall_start` and runs `speed` times.

    Shared by processes through those three numbers.
    """

    wall_start: float
    plant_start: float
    speed: float

    def now(self) -> float:
        return self.plant_start + (time.time() - self.wall_start) * self.speed

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()


class ManualClock:
    """Stands still until told: all readings move together. For lockstep days and for tests."""

    def __init__(self, now: float) -> None:
        self._now = now
        self._monotonic = 0.0

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def wall(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """Move on by `seconds` >= 0."""
        if seconds < 0:
            raise ValueError(f"a clock does not run backwards (asked for {seconds} s)")
        self._now += seconds
        self._monotonic += seconds

    def advance_to(self, now: float) -> None:
        """Move on until `now()` is `now`; nothing happens where it is past already."""
        self.advance(max(0.0, now - self._now))


def local(at: float) -> datetime:
    """The instant `at` (Unix s) in India's time."""
    return datetime.fromtimestamp(at, UTC).astimezone(IST)


def local_day_start(at: float) -> float:
    """The local midnight at or before `at`, Unix s."""
    return local(at).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
