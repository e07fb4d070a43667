"""Waits until every message under way has arrived: what makes a day through a real broker repeatable.

Who publishes says what to `expect`, who receives says what has `arrived`, by topic; `clear` waits for the rest.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable

from balancer.errors import SmartPhaseError

TIMEOUT_S = 20.0


class BarrierError(SmartPhaseError):
    """A message did not arrive in time; names it."""


class Barrier:
    """Messages under way, by topic."""

    def __init__(self) -> None:
        self._under_way: Counter[str] = Counter()
        self._count = 0
        self._empty = asyncio.Event()
        self._empty.set()

    def expect(self, topics: Iterable[str]) -> None:
        """These messages were sent."""
        for topic in topics:
            self._under_way[topic] += 1
            self._count += 1
        if self._count:
            self._empty.clear()

    def arrived(self, topic: str) -> None:
        """One of `topic` is here; one that nobody expected does not count."""
        if self._under_way[topic] > 0:
            self._under_way[topic] -= 1
            self._count -= 1
            if self._count == 0:
                self._empty.set()

    def forget(self) -> None:
        """What was under way is lost (the broker died)."""
        self._under_way.clear()
        self._count = 0
        self._empty.set()

    async def clear(self, timeout_s: float = TIMEOUT_S) -> None:
        """Wait until nothing is under way. Raises BarrierError when that takes too long."""
        if self._empty.is_set():
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError as error:
            missing = [topic for topic, count in self._under_way.items() if count > 0]
            raise BarrierError(f"lockstep: {self._count} messages did not come through the broker in "
                               f"{timeout_s:.0f} s, first {missing[0]}; look at the broker's log") from error
