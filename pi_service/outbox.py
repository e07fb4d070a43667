"""A message on its way out: what the functional core hands to the link."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Publish:
    """One MQTT publication. A command is never retained, and is dropped where it cannot be sent at once."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False

    @property
    def is_command(self) -> bool:
        return self.topic.endswith("/command")
