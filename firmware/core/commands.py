"""Decides whether a command that came from the air is obeyed. Pure.

What is not authentic is dropped and counted, never answered: an answer would help who forges. What is authentic
but may not be done is refused with one fixed word. The counter is on disk before anything moves, so a command
is never obeyed twice, not even across a power loss.
"""

import json

from firmware.core.jwe import NotAuthentic, open_sealed

PHASES = "RYB"
_KEYS = (("cmd", str), ("id", str), ("house", str), ("counter", int), ("issued", int), ("expires", int))
_SKEW_S = 30     # a command issued further in the future than this shows a clock that is wrong


def _whole_numbers(text):
    """JSON (bytes) without the fractions of its numbers: a board's floats are single precision, which is
    some 100 s for a date of today; whole numbers are exact."""
    kept = bytearray()
    quoted = escaped = cutting = False
    for c in text:
        if quoted:
            quoted = escaped or c != 34
            escaped = c == 92 and not escaped
        elif c == 34:
            quoted = True
        cutting = not quoted and (c == 46 or (cutting and 48 <= c <= 57))
        if not cutting:
            kept.append(c)
    return bytes(kept)


class Gate:
    """The gate of one house. `dropped` counts what was not authentic, by kind."""

    def __init__(self, hal, store, house_id, kid, key):
        self._hal = hal
        self._store = store
        self._house = house_id
        self._kid = kid
        self._key = key
        self.dropped = {}

    @property
    def counter(self):
        return self._store.get("counter", 0)

    def read(self, payload):
        """Open a command. Returns its dict, or None where it is not authentic."""
        try:
            plain = open_sealed(self._hal, self._key, self._kid, "cmd", payload)
            command = json.loads(_whole_numbers(plain))
            if not isinstance(command, dict):
                raise NotAuthentic("keys")
            for name, kinds in _KEYS:
                if not isinstance(command.get(name), kinds):
                    raise NotAuthentic("keys")
        except NotAuthentic as error:
            return self._drop(str(error))
        except (ValueError, TypeError):
            return self._drop("json")
        return command

    def refusal(self, command):
        """Why an authentic command is refused, a fixed word, or "". Takes the counter where it is not."""
        now = self._hal.unix_time()
        if command["house"] != self._house:
            return "wrong-house"
        if command["cmd"] not in ("switch", "query"):
            return "bad-command"
        if now is None:
            return "clock-unset"
        if command["counter"] <= self.counter:
            return "old-counter"
        if not command["issued"] - _SKEW_S <= now <= command["expires"]:
            return "expired"
        self._store.put("counter", command["counter"])
        return ""

    def _drop(self, kind):
        self.dropped[kind] = self.dropped.get(kind, 0) + 1
        return None
