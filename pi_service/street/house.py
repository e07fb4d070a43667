"""A virtual house: the firmware's own node on a simulated board, with its own MQTT connection.

The street sets the supply and lets time pass; the node does the rest. A fault makes it die, lose its acks or lie
in them: that is done here, around the node, never in its code.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass

from balancer.feeder import PHASES, House
from firmware.core.jwe import NotAuthentic, header, open_sealed, seal
from firmware.core.node import Node
from firmware.hal.sim import MemoryStore, SimHal
from pi_service.clock import Clock
from pi_service.contract import house_topic
from pi_service.outbox import Publish
from pi_service.seal import NodeKeys
from pi_service.street.plant import OPEN
from pi_service.street.wire import Wire, WireSettings

FIRMWARE = "sim-1"
STEP_MS = 5
SOLAR_BACK_FEED_MS = 400
MOTOR_BACK_FEED_MS = 60
_PRODUCING_KW = 0.05


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What the nodes are set to. A calendar that runs `speed` times wears out dwell and rate `speed` times faster."""

    speed: float = 1.0

    def config(self, house_id: str) -> dict[str, object]:
        """The firmware's own configuration."""
        return {"house_id": house_id, "fw": FIRMWARE, "dwell_s": 60 / self.speed, "rate_per_hour": 6 * self.speed}


class _Board(SimHal):  # type: ignore[misc]  # firmware has no annotations
    """The simulated board with a seeded noise source, so that a day can be repeated."""

    def __init__(self, clock: Clock, seed: int) -> None:
        super().__init__(unix_time=clock.wall)
        self._noise = random.Random(seed)

    def random_bytes(self, n: int) -> bytes:
        return self._noise.randbytes(n)


class VirtualHouse:
    """One house. `wire` is its connection, `hal` its board, `node` the firmware that runs on it."""

    def __init__(self, house: House, feeder_id: str, keys: NodeKeys, clock: Clock, settings: NodeSettings,
                 seed: int) -> None:
        self.house_id = house.house_id
        self.alive = True
        self.drops_acks = False
        self.lies = False
        self.interrupted = False
        """The contacts were all open at some instant since the street last looked."""
        self.on_command: Callable[[VirtualHouse], None] | None = None
        """Told of each command before the node gets it: a fault may strike between command and ack."""
        self.on_arrival: Callable[[str], None] | None = None
        """Told the topic of every message that arrived, after it was dealt with."""
        self._clock, self._keys = clock, keys
        self._config = settings.config(house.house_id)
        self._key_material = {"epoch": keys.epoch, "command": keys.command, "telemetry": keys.telemetry}
        self.hal = _Board(clock, seed)
        self.hal.close_at_start(house.phase)
        self._store = MemoryStore()
        self._store.put("verified", house.phase)        # commissioned on the phase that the register says
        self.node = self._boot()
        self._telemetry_topic = house_topic(feeder_id, house.house_id, "telemetry")
        self._ack_topic = house_topic(feeder_id, house.house_id, "ack")
        self.command_topic = house_topic(feeder_id, house.house_id, "command")
        self.status_topic = house_topic(feeder_id, house.house_id, "status")
        self.wire = Wire(
            WireSettings(
                client_id=f"{feeder_id}-{house.house_id}",
                will=Publish(self.status_topic, self.node.status(False), 1, True),
                birth=lambda: Publish(self.status_topic, self.node.status(True), 1, True),
                subscriptions=((self.command_topic, 1),),
            ),
            self._message,
        )

    @property
    def contact(self) -> int:
        """The phase whose contact is closed, -1 where none is."""
        closed = self.hal.closed_contacts()
        return closed[0] if closed else OPEN

    @property
    def busy(self) -> bool:
        """The node needs milliseconds: its contacts move, or it waits to move them."""
        return self.alive and bool(self.node.busy)

    def set_supply(self, volts: list[float], producing_kw: float) -> None:
        """RMS V of R, Y, B at the house, and what its PV makes: it keeps the load side alive after opening."""
        self.hal.supply = volts
        self.hal.back_feed_ms = SOLAR_BACK_FEED_MS if producing_kw > _PRODUCING_KW else MOTOR_BACK_FEED_MS

    def let_pass(self, ms: int) -> None:
        """`ms` milliseconds go by on the board; the contacts' motion is followed finely while there is any."""
        while ms > 0 and self.busy:
            step = min(STEP_MS, ms)
            self.hal.advance(step)
            self.node.step()
            self.interrupted |= not self.hal.closed_contacts()
            ms -= step
        if ms > 0:
            self._rest(ms)

    def _rest(self, ms: int) -> None:
        if len(self.hal.closed_contacts()) > 1:
            self.hal.overlap_ms += ms - 1
        self.hal.now += ms - 1
        self.hal.advance(1)
        if self.alive:
            self.node.step()

    # ---------------------------------------------------------------- messages

    def report(self, measured: dict[str, float]) -> str:
        """Publish a sealed reading. Returns its topic, "" where it could not be sent."""
        measured["ts"] = self._clock.now()
        sent = self.alive and self.wire.publish(Publish(self._telemetry_topic, self.node.telemetry(measured)))
        return self._telemetry_topic if sent else ""

    def answer(self) -> list[str]:
        """Publish the acks that the node has ready. Returns the topics of those that were sent."""
        ready, self.node.outgoing = self.node.outgoing, []
        if self.drops_acks or not self.alive:
            return []
        return [
            self._ack_topic for _, payload, qos, retain in ready
            if self.wire.publish(Publish(self._ack_topic, payload, qos, retain))
        ]

    def _message(self, topic: str, payload: bytes, retained: bool) -> None:
        self._receive(topic, payload, retained)
        if self.on_arrival is not None:
            self.on_arrival(topic)

    def _receive(self, topic: str, payload: bytes, retained: bool) -> None:
        """A command. A retained one is somebody's leftover: the contract never retains commands."""
        if retained or not self.alive or topic != self.command_topic:
            return
        if self.on_command is not None:
            self.on_command(self)
        if self.alive and not (self.lies and self._lied(payload)):
            self.node.receive(payload)

    def _lied(self, payload: bytes) -> bool:
        """Claim that a switch was done, and do nothing. False where the command was none to lie about."""
        try:
            kid = f"{self.house_id}.{self._keys.epoch}.d"
            command = json.loads(open_sealed(self.hal, self._keys.command, kid, "cmd", payload))
        except (NotAuthentic, ValueError):
            return False
        if command["cmd"] != "switch":
            return False
        ack = {"id": command["id"], "house": self.house_id, "result": "done", "phase": command["target"],
               "counter": command["counter"], "boot": self.node.boot, "ts": self._clock.wall(), "reason": "",
               "last_id": command["id"], "last_result": "done", "dead_ms": 90}
        up = header(f"{self.house_id}.{self._keys.epoch}.u", "ack")
        sealed = seal(self.hal, self._keys.telemetry, up, json.dumps(ack).encode())
        self.node.outgoing.append(("ack", sealed, 1, False))
        return True

    # ---------------------------------------------------------------- faults

    def die(self) -> None:
        """The node stops where it is, without a word; its contacts stay as they are. The wire is the caller's."""
        self.alive = False

    def revive(self) -> None:
        """It boots again, with what its store kept."""
        self.alive = True
        self.node = self._boot()

    def weld(self) -> None:
        """The contact that is closed now sticks."""
        if self.contact != OPEN:
            self.hal.weld(self.contact)

    def mend(self) -> None:
        """A person at the house frees welded contacts and resets the node."""
        for i in range(3):
            self.hal.mend(i)
        self.node.selector.reset_fault()

    def _boot(self) -> Node:
        return Node(self._config, self.hal, self._store, self._key_material)

    def __repr__(self) -> str:
        where = PHASES[self.contact] if self.contact != OPEN else "open"
        return f"<VirtualHouse {self.house_id} {where}{'' if self.alive else ' dead'}>"
