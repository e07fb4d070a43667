"""A whole feeder without a broker: a real Station, real nodes on simulated boards, and a wire that tests can cut."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from balancer.feeder import PHASES
from balancer.network import Network
from firmware.core.jwe import seal
from firmware.core.node import Node
from firmware.hal.sim import MemoryStore, SimHal
from pi_service.clock import Clock, ManualClock
from pi_service.config import ControlSettings, StationConfig, TelemetrySettings
from pi_service.contract import (
    Action,
    Event,
    MeterReading,
    Reply,
    Request,
    SwitchView,
    decode,
    encode,
    house_topic,
    meter_topic,
    operator_topic,
)
from pi_service.outbox import Publish
from pi_service.seal import METER, NodeKeys, sign_request
from pi_service.site import Site, create_site, load_site, operator_key
from pi_service.station import Station

PEOPLE = {"anil": "operator", "devi": "engineer", "asha": "admin", "guest": "viewer", "crew": "field"}


class House:
    """One node on its board, with its load."""

    def __init__(self, keys: NodeKeys, phase: int, clock: Clock) -> None:
        self.hal = SimHal(clock.wall)
        self.store = MemoryStore()
        self.store.put("verified", phase)
        self.hal.close_at_start(phase)
        self.keys = {"epoch": keys.epoch, "command": keys.command, "telemetry": keys.telemetry}
        self.kw, self.solar = 1.0, 0.0
        self.dead = False
        self.boot(keys.house)

    def boot(self, house: str) -> None:
        self.node = Node({"house_id": house, "fw": "test", "hold_min_ms": 0, "hold_max_ms": 0}, self.hal, self.store,
                         self.keys)

    def run(self) -> None:
        """Let the board's milliseconds pass until the node rests."""
        while self.node.busy:
            self.hal.advance(5)
            self.node.step()

    @property
    def phase(self) -> int:
        closed = self.hal.closed_contacts()
        return closed[0] if closed else -1


class Rig:
    """The feeder. `deliver` decides what becomes of each message; tests replace it to lose or change some."""

    def __init__(self, folder: Path, feeder_dir: Path, control: ControlSettings | None = None,
                 clock: Clock | None = None) -> None:
        self.config = create_site(folder / "site", feeder_dir, PEOPLE)
        self.site: Site = load_site(self.config)
        self.site_dir = folder / "site"
        self.feeder = self.site.feeder
        self.clock = clock or ManualClock(1_776_220_200.0)       # 15 April 2026, 08:00 in India
        self.settings = StationConfig(control=control or ControlSettings(mode="MANUAL"),
                                      telemetry=TelemetrySettings(stale_after_s=15.0))
        self.data = folder / "data"
        keys = {node.house: node for node in self.site.nodes}
        self.houses = {h.house_id: House(keys[h.house_id], h.phase, self.clock) for h in self.feeder.houses}
        self.network = Network(self.feeder)
        self._meter_keys = keys[METER]
        self._meter = Node({"house_id": METER, "fw": "test"}, SimHal(self.clock.wall), MemoryStore(), {
            "epoch": 1, "command": keys[METER].command, "telemetry": keys[METER].telemetry})
        self.sent: list[Publish] = []
        self.commands_seen = 0
        self.lose_ack: Callable[[str], bool] = lambda house: False
        self.lose_command: Callable[[str], bool] = lambda house: False
        self.requests = 0
        self.start()

    # ------------------------------------------------------------ the Pi

    def start(self) -> None:
        """Start the daemon (again, on what it left on the disk)."""
        self.station = Station(self.settings, self.site, self.clock, self.data)
        self.station.link_up()

    def kill(self) -> None:
        """The daemon is gone without a word; its databases stay as they are."""
        self.station.audit._connection.close()
        self.station.telemetry._connection.close()

    # ------------------------------------------------------------ time

    def second(self, count: int = 1) -> None:
        """A second: everyone reports, the Pi works, commands and acks travel."""
        for _ in range(count):
            self.clock.advance(1.0)
            self.report()
            self.work()

    def report(self) -> None:
        feeder = self.feeder
        phase = np.array([self.houses[h].phase for h in feeder.house_ids])
        net = np.array([self.houses[h].kw - self.houses[h].solar for h in feeder.house_ids])
        flow = self.network.solve(phase, np.where(phase >= 0, net, 0), 0 * net)
        for index, (name, house) in enumerate(self.houses.items()):
            if not house.dead:
                volts = abs(flow.house_voltage[index])
                self.station.handle(house_topic(feeder.feeder_id, name, "telemetry"), house.node.telemetry({
                    "voltage": float(volts), "current": float(abs(net[index]) * 1000 / max(volts, 1.0)),
                    "power": float(net[index]),
                    "solar_injection": house.solar, "reactive_power": 0.0, "ts": self.clock.now()}), False)
        power = (flow.transformer_voltage * np.conj(flow.phase_current)).real / 1000
        volts3 = np.abs(flow.transformer_voltage)
        lines = np.abs(flow.transformer_voltage - np.roll(flow.transformer_voltage, -1))
        meter = MeterReading(tuple(volts3.tolist()), tuple(lines.tolist()), tuple(np.abs(flow.phase_current).tolist()),
                             tuple(power.tolist()), (0.0,) * 3, float(flow.neutral_current_a), ts=self.clock.now())
        body = {k: v for k, v in msgspec.to_builtins(meter).items() if v is not None}
        sealed = _seal_meter(self._meter, body)
        self.station.handle(meter_topic(feeder.feeder_id, "telemetry"), sealed, False)

    def work(self) -> None:
        """The Pi takes what came, ticks, and what it sends is delivered, until nothing is left."""
        self.station.process()
        self.station.tick()
        while self.station.outgoing:
            self.deliver(self.station.outgoing.popleft())
            self.station.process()

    def deliver(self, message: Publish) -> None:
        self.sent.append(message)
        if not message.is_command:
            return
        name = message.topic.split("/")[-2]
        house = self.houses[name]
        self.commands_seen += 1
        if house.dead or self.lose_command(name):
            return
        house.node.receive(message.payload)
        house.run()
        answers, house.node.outgoing = list(house.node.outgoing), []
        for leaf, payload, _, _ in answers:
            if not self.lose_ack(name):
                self.station.handle(house_topic(self.feeder.feeder_id, name, leaf), payload, False)

    # ------------------------------------------------------------ people

    def ask(self, action: Action, who: str = "anil", **changes: object) -> Reply:
        """Ask the Pi, signed; the reply."""
        payload = self.signed(action, who, **changes)
        before = len(self.sent)
        self.station.handle(operator_topic(self.feeder.feeder_id, "request", who), payload, False)
        self.work()
        replies = [m for m in self.sent[before:] if "/reply/" in m.topic]
        assert len(replies) == 1, f"{len(replies)} replies"
        return decode(replies[0].payload, Reply)

    def signed(self, action: Action, who: str = "anil", **changes: object) -> bytes:
        self.requests += 1
        now = self.clock.wall()
        request = Request(f"{who}-{self.requests}", who, self.feeder.feeder_id, now, now + 30, action)
        return sign_request(encode(msgspec.structs.replace(request, **changes)), who,
                            operator_key(self.site_dir, who))

    # ------------------------------------------------------------ what is seen

    def switch(self, switch_id: str) -> SwitchView:
        view = self.station.audit.switch(switch_id)
        assert view is not None
        return view

    def events(self) -> list[Event]:
        return [decode(m.payload, Event) for m in self.sent if m.topic.endswith("/event")]

    def phase_of(self, house: str) -> str:
        index = self.houses[house].phase
        return PHASES[index] if index >= 0 else "open"

    @property
    def overlap_ms(self) -> int:
        return sum(house.hal.overlap_ms for house in self.houses.values())


def _seal_meter(node: Node, body: dict[str, object]) -> bytes:
    """A meter's reading, sealed by the node's own code."""
    node._seq += 1
    return seal(node._hal, node._up_key, node._telemetry_header, json.dumps(
        {**body, "seq": node._seq, "boot": node.boot}).encode())
