"""Commands on the broker that this Pi did not send: planted retained ones, and a second Pi on the same feeder.

The nodes refuse both by counter, expiry and key. A retained one would still be offered to a node at every connect
for ever, so it is taken off the broker.
"""

from __future__ import annotations

from collections import deque

from pi_service.contract import MessageRefused
from pi_service.outbox import Publish

_REMEMBERED = 500


class CommandWatch:
    """Compares what passes on the command topics with what was sent."""

    def __init__(self) -> None:
        self._sent: deque[bytes] = deque(maxlen=_REMEMBERED)

    def sent(self, message: Publish) -> None:
        """This one is ours."""
        self._sent.append(message.payload)

    def check(self, topic: str, payload: bytes, retained: bool) -> None:
        """Raises MessageRefused: "planted-command" (see `clearing`), "foreign-command" for one that is not ours."""
        if not payload:
            return      # somebody clears a retained one
        if retained:
            raise MessageRefused("planted-command", f"a retained command lay on {topic}; it was taken off the broker")
        if payload not in self._sent:
            raise MessageRefused("foreign-command", f"a command on {topic} is not from this Pi: is there a second one?")


def clearing(topic: str) -> Publish:
    """What takes a retained message off the broker: an empty one, retained."""
    return Publish(topic, b"", qos=1, retain=True)
