"""The house node: selector, command gate and envelopes put together. Pure; the caller owns time and network.

    node.receive(payload)        a sealed command as it came
    node.step()                  every few milliseconds while node.busy
    node.outgoing                (leaf, payload, qos, retain) to publish; the caller empties it
    node.telemetry(measured)     a sealed reading to publish
"""

import json

from firmware.core.commands import PHASES, Gate
from firmware.core.jwe import header, seal
from firmware.core.selector import CLOSED, Selector

_NAMES = tuple(PHASES)
_NEVER_TAKEN = ("old-counter", "expired", "wrong-house", "clock-unset")


class Node:
    """One house's node.

    config: "house_id", "fw", and any of the selector's settings. keys: "epoch", "command" and "telemetry"
    (32 bytes each). `store` keeps across power loss; `hal` is described in firmware/hal/__init__.py.
    """

    def __init__(self, config, hal, store, keys):
        self.house_id = config["house_id"]
        self._fw = config["fw"]
        self._hal = hal
        self._store = store
        self.boot = store.get("boot", 0) + 1
        store.put("boot", self.boot)
        self._up_key = keys["telemetry"]
        up = "%s.%d.u" % (self.house_id, keys["epoch"])
        self._ack_header = header(up, "ack")
        self._telemetry_header = header(up, "tel")
        self.gate = Gate(hal, store, self.house_id, "%s.%d.d" % (self.house_id, keys["epoch"]), keys["command"])
        self.selector = Selector(hal, store, config)
        self.outgoing = []
        self._pending = self._cut_short()
        self._seq = 0

    @property
    def busy(self):
        """Whether `step()` is needed: the selector moves, or a command waits for its end."""
        return self._pending is not None or not self.selector.resting

    @property
    def phase(self):
        """0/1/2 where the house is verified closed, else None."""
        return self.selector.phase

    @property
    def pending_id(self):
        """The id of the command that is being carried out, or ""."""
        return self._pending["id"] if self._pending else ""

    def receive(self, payload):
        """Take a sealed command. Answers through `outgoing`, at once or when the move has ended."""
        command = self.gate.read(payload)
        if command is None:
            return
        cached = self._store.get("last_ack", None)
        if cached is not None and cached["id"] == command["id"]:
            self._publish(cached)
            return
        if self._pending is not None and self._pending["id"] == command["id"]:
            return
        reason = self.gate.refusal(command)
        if reason:
            self._acknowledge(command, "refused", reason)
        elif command["cmd"] == "query":
            self._acknowledge(command, "state", self.selector.failure)
        else:
            self._start(command)

    def step(self):
        """Advance the selector; acknowledge the command when its move has ended."""
        self.selector.step()
        if self._pending is not None and self.selector.resting:
            command, self._pending = self._pending, None
            done = self.selector.state == CLOSED and PHASES[self.selector.phase] == command["target"]
            reason = self.selector.failure or ("" if done else "rebooted")
            self._acknowledge(command, "done" if done else "failed", reason)

    def telemetry(self, measured):
        """A sealed reading: `measured` (V, A, kW, kvar, Hz by the contract's names) with identity and contact."""
        self._seq += 1
        reading = {"house_id": self.house_id, "phase": self._named_phase(), "seq": self._seq, "boot": self.boot,
                   "ts": self._hal.unix_time(), "relay": self.selector.contact, "fw": self._fw}
        reading.update(measured)
        return seal(self._hal, self._up_key, self._telemetry_header, json.dumps(reading).encode())

    def status(self, online):
        """The retained birth, or the will."""
        return json.dumps({"online": online, "boot": self.boot, "fw": self._fw}).encode()

    def _named_phase(self):
        phase = self.selector.phase if self.selector.phase is not None else self.selector.verified
        return PHASES[phase or 0]

    def _start(self, command):
        named = command.get("target")
        target = PHASES.index(named) if named in _NAMES else None
        now = self._hal.unix_time()
        reason = "busy" if self._pending is not None else self.selector.refusal(target, now)
        if reason == "same-phase":
            self._acknowledge(command, "done", "")
        elif reason:
            self._acknowledge(command, "refused", reason)
        else:
            self._pending = command
            self._store.put("last_switch", [command["id"], "moving", named])
            self.selector.move(target, now)

    def _cut_short(self):
        """The switch command during which the power went: it is answered when the house has come to rest."""
        last = self._store.get("last_switch", ["", ""])
        return {"cmd": "switch", "id": last[0], "target": last[2]} if last[1] == "moving" else None

    def _acknowledge(self, command, result, reason):
        if command["cmd"] == "switch" and self._pending is None and reason not in _NEVER_TAKEN:
            self._store.put("last_switch", [command["id"], result])
        last_id, last_result = self._store.get("last_switch", ["", ""])[:2]
        ack = {"id": command["id"], "house": self.house_id, "result": result, "phase": self.selector.contact,
               "counter": self.gate.counter, "boot": self.boot, "ts": self._hal.unix_time() or 0, "reason": reason,
               "last_id": last_id, "last_result": last_result}
        if result == "done" and self.selector.dead_ms is not None:
            ack["dead_ms"] = self.selector.dead_ms
        if command["cmd"] == "switch" and result in ("done", "failed"):
            self._store.put("last_ack", ack)
        self._publish(ack)

    def _publish(self, ack):
        self.outgoing.append(("ack", seal(self._hal, self._up_key, self._ack_header, json.dumps(ack).encode()), 1, False))
