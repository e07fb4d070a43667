"""Where a control room's data comes from and its requests go: the interface, so that screens know no MQTT."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pi_service.contract import Reply
from smartphase_tui.store import Store


class SourceDown(Exception):
    """Nothing can be sent now; the message says why."""


class Source(Protocol):
    """One feeder's stream of snapshots, events and replies, and the way back."""

    async def run(self, store: Store, on_reply: Callable[[Reply], None]) -> None:
        """Fill `store` until cancelled. Comes back by itself after a loss."""

    async def send(self, request: bytes, feeder: str, operator: str) -> None:
        """Send a signed request. Raises SourceDown where there is no link."""
