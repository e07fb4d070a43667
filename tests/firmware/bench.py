"""A bench for the node: a simulated board that counts coils, a store that survives reboots, and a Pi that seals."""

from __future__ import annotations

import json
from typing import Any

from firmware.core.jwe import header, open_sealed, seal
from firmware.core.node import Node
from firmware.hal.sim import MemoryStore, SimHal

HOUSE = "H007"
KEYS: dict[str, Any] = {"epoch": 1, "command": bytes(range(32)), "telemetry": bytes(range(32, 64))}
START = 1_776_191_400.0
R, Y, B = range(3)


class Board(SimHal):
    """A simulated board that notes every instant with two coils driven, and can be fed from the house's side."""

    def __init__(self, bistable: bool = True) -> None:
        super().__init__(unix_time=lambda: START + self.now / 1000, bistable=bistable)
        self.coils_together = 0
        self.genset_v = 0.0
        self.closings: list[tuple[int, int]] = []
        """(ms, contact) of every coil that was switched on."""
        self.noise = b"\x00"

    def coil(self, i: int, on: bool) -> None:
        if on and not self.contacts[i].coil:
            self.closings.append((self.now, i))
        super().coil(i, on)
        self.coils_together += sum(contact.coil for contact in self.contacts) > 1

    def load_voltage(self) -> float:
        return max(super().load_voltage(), self.genset_v)

    def random_bytes(self, n: int) -> bytes:
        return (self.noise * n)[:n]


class RecordingStore(MemoryStore):
    """Notes what the contacts' coils were when each value was written."""

    def __init__(self) -> None:
        super().__init__()
        self.board: Board | None = None
        self.log: list[tuple[str, object, tuple[bool, ...]]] = []

    def put(self, key: str, value: object) -> None:
        super().put(key, value)
        if self.board is not None:
            self.log.append((key, value, tuple(contact.coil for contact in self.board.contacts)))


class Bench:
    """One house: board, store, node. `on`: the phase it stands on at the start, None for never commissioned."""

    def __init__(self, on: int | None = R, bistable: bool = True, **config: float) -> None:
        self.hal = Board(bistable)
        self.store = RecordingStore()
        self.config = {"house_id": HOUSE, "fw": "test-1", **config}
        if on is not None:
            self.hal.close_at_start(on)
            self.store.put("verified", on)
        self.store.board = self.hal
        self.counter = 0
        self.node = Node(self.config, self.hal, self.store, KEYS)

    @property
    def selector(self) -> Any:
        return self.node.selector

    @property
    def closed(self) -> list[int]:
        return self.hal.closed_contacts()

    def reboot(self) -> None:
        """A watchdog reset: the coils keep what they had, the node starts anew on the same store."""
        self.node = Node(self.config, self.hal, self.store, KEYS)

    def run(self, ms: int, step_ms: int = 5) -> None:
        """Let time pass with the node stepping, as its main loop does."""
        for _ in range(0, ms, step_ms):
            self.hal.advance(step_ms)
            self.node.step()

    def until(self, state: str, within_ms: int) -> None:
        """Run until the selector is in `state`; fails where it is not within `within_ms`."""
        for _ in range(0, within_ms, 5):
            if self.selector.state == state:
                return
            self.run(5)
        assert self.selector.state == state, f"{self.selector.state} ({self.selector.failure}) after {within_ms} ms"

    def rest(self, within_ms: int = 45_000) -> None:
        """Run until nothing moves."""
        for _ in range(0, within_ms, 5):
            if not self.node.busy:
                return
            self.run(5)
        raise AssertionError(f"still {self.selector.state} after {within_ms} ms")

    def command(self, target: int | str | None, cmd: str = "switch", **changes: object) -> dict[str, object]:
        """The next command of the Pi, as it is before sealing; `changes` replace parts of it."""
        self.counter += 1
        now = self.hal.unix_time() or START
        name = "RYB"[target] if isinstance(target, int) else target
        return {"cmd": cmd, "id": f"C{self.counter:06d}", "house": HOUSE, "counter": self.counter, "issued": now,
                "expires": now + 30, "target": name, **changes}

    def sealed(self, command: object, kid: str = f"{HOUSE}.1.d", typ: str = "cmd",
               key: bytes = KEYS["command"]) -> bytes:
        return seal(self.hal, key, header(kid, typ), json.dumps(command).encode())

    def send(self, target: int | str | None, cmd: str = "switch", **changes: object) -> bytes:
        """Seal the next command and give it to the node. Returns what was sent, to be replayed."""
        payload = self.sealed(self.command(target, cmd, **changes))
        self.node.receive(payload)
        return payload

    def acks(self) -> list[dict[str, Any]]:
        """What the node answered since the last look, opened."""
        sent, self.node.outgoing = self.node.outgoing, []
        return [json.loads(open_sealed(self.hal, KEYS["telemetry"], f"{HOUSE}.1.u", "ack", payload))
                for _, payload, _, _ in sent]

    def ack(self) -> dict[str, Any]:
        """The one answer since the last look."""
        (only,) = self.acks()
        return only

    def switch(self, target: int) -> dict[str, Any]:
        """Send a switch, let it end, return its answer."""
        self.send(target)
        self.rest()
        return self.ack()

    def check_truthful(self) -> None:
        """Every claim of a resting node, checked against the contacts themselves."""
        closed, state = self.closed, self.selector.state
        assert self.hal.overlap_ms == 0
        assert self.hal.coils_together == 0
        if state == "CLOSED":
            assert closed == [self.selector.phase]
        elif state == "SAFE_OPEN":
            assert closed == []
            assert self.selector.failure
        elif state == "FAULT":
            assert self.selector.failure
        assert (self.node.phase is not None) == (state == "CLOSED")
