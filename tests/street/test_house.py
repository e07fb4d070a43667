"""A virtual house on a real broker: the firmware's node with a connection, a will, and faults around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiomqtt
import msgspec
import pytest

from balancer.feeder_folder import read_feeder
from pi_service.broker import Broker, run_broker
from pi_service.clock import ManualClock
from pi_service.contract import Ack, Command, NodeStatus, Phase, Reading, encode, house_topic
from pi_service.seal import NodeKeys, Sealer
from pi_service.street.house import NodeSettings, VirtualHouse

FEEDER, HOUSE = "KL-TST-0001", "H001"
KEYS = NodeKeys(HOUSE, 1, bytes(range(32)), bytes(range(32, 64)))
START = 1_776_191_400.0
R, Y, B = range(3)


class Pi:
    """The other end: hears what the house says, sends it sealed commands."""

    def __init__(self, client: aiomqtt.Client, clock: ManualClock) -> None:
        self._client, self._clock = client, clock
        self._sealer = Sealer([KEYS])
        self._counter = 0

    def sealed(self, cmd: str, target: Phase | None, expires_in_s: float = 30.0) -> bytes:
        self._counter += 1
        now = self._clock.wall()
        command = Command(cmd=cmd, id=f"C{self._counter:06d}", house=HOUSE, counter=self._counter, issued=now,
                          expires=now + expires_in_s, target=target)
        return self._sealer.seal_command(HOUSE, encode(command))

    async def send(self, payload: bytes, retain: bool = False) -> None:
        await self._client.publish(house_topic(FEEDER, HOUSE, "command"), payload, 1, retain)

    async def hear(self, leaf: str) -> aiomqtt.Message:
        async with asyncio.timeout(10):
            async for message in self._client.messages:
                if message.topic.value.endswith(f"/{leaf}"):
                    return message
        raise AssertionError("the broker went away")

    async def ack(self) -> Ack:
        payload = self._sealer.open_uplink(HOUSE, bytes((await self.hear("ack")).payload), "ack")
        return msgspec.json.decode(payload, type=Ack)

    async def status(self) -> NodeStatus:
        return msgspec.json.decode(bytes((await self.hear("status")).payload), type=NodeStatus)

    async def reading(self) -> Reading:
        payload = self._sealer.open_uplink(HOUSE, bytes((await self.hear("telemetry")).payload), "tel")
        return msgspec.json.decode(payload, type=Reading)


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    async with run_broker(tmp_path / "broker") as running:
        yield running


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
async def pi(broker: Broker, clock: ManualClock) -> AsyncIterator[Pi]:
    async with aiomqtt.Client(broker.host, broker.port) as client:
        await client.subscribe(house_topic(FEEDER, "+", "+"), 1)
        yield Pi(client, clock)


@pytest.fixture
async def house(broker: Broker, clock: ManualClock, pi: Pi, nine_houses: Path) -> AsyncIterator[VirtualHouse]:
    place = read_feeder(nine_houses).houses[0]
    virtual = VirtualHouse(place, FEEDER, KEYS, clock, NodeSettings(), seed=1)
    await virtual.wire.connect(broker.host, broker.port)
    assert await pi.status() == NodeStatus(True, 1, "sim-1")
    yield virtual
    await virtual.wire.close()


def next_arrival(house: VirtualHouse) -> asyncio.Event:
    """Set when the house has dealt with its next message."""
    arrived = asyncio.Event()
    house.on_arrival = lambda topic: arrived.set()
    return arrived


async def obey(house: VirtualHouse, pi: Pi, payload: bytes) -> None:
    """Send a command, wait until the node has it, and let its contacts move to the end."""
    arrived = next_arrival(house)
    await pi.send(payload)
    async with asyncio.timeout(10):
        await arrived.wait()
    house.let_pass(5000)
    house.answer()


async def test_it_goes_where_a_sealed_command_sends_it(house: VirtualHouse, pi: Pi) -> None:
    await obey(house, pi, pi.sealed("switch", "Y"))
    ack = await pi.ack()
    assert (ack.id, ack.result, ack.phase) == ("C000001", "done", "Y")
    assert ack.dead_ms is not None
    assert ack.dead_ms >= 50
    assert house.contact == Y
    assert house.interrupted
    assert house.hal.overlap_ms == 0


async def test_a_retained_command_moves_nothing(house: VirtualHouse, pi: Pi, broker: Broker) -> None:
    house.wire.cut()
    assert not (await pi.status()).online
    await pi.send(pi.sealed("switch", "Y"), retain=True)
    arrived = next_arrival(house)
    await house.wire.connect(broker.host, broker.port)      # now it comes as the broker's leftover
    async with asyncio.timeout(10):
        await arrived.wait()
    house.let_pass(5000)
    assert house.contact == R
    assert house.answer() == []
    assert house.node.gate.counter == 0


async def test_a_command_for_another_house_an_expired_and_a_repeated_one_move_nothing(
    house: VirtualHouse, pi: Pi, clock: ManualClock,
) -> None:
    await obey(house, pi, b"eyJhbGciOiJkaXIifQ.nonsense")
    late = pi.sealed("switch", "Y", expires_in_s=5)
    clock.advance(6)
    await obey(house, pi, late)
    assert (await pi.ack()).reason == "expired"
    taken = pi.sealed("switch", "B")
    await obey(house, pi, taken)
    assert (await pi.ack()).phase == "B"
    back = pi.sealed("switch", "R")
    await obey(house, pi, back)
    assert (await pi.ack()).phase == "R"
    await obey(house, pi, taken)                             # replayed
    assert (await pi.ack()).reason == "old-counter"
    assert house.contact == R


async def test_it_reports_sealed_readings_with_the_plants_time(house: VirtualHouse, pi: Pi, clock: ManualClock) -> None:
    topic = house.report({"voltage": 238.2, "current": 1.5, "solar_injection": 0.0})
    assert topic == house_topic(FEEDER, HOUSE, "telemetry")
    reading = await pi.reading()
    assert (reading.voltage, reading.phase, reading.relay, reading.ts) == (238.2, "R", "R", clock.now())


async def test_a_dead_node_leaves_its_will_and_hears_nothing(house: VirtualHouse, pi: Pi) -> None:
    house.die()
    house.wire.cut()
    assert (await pi.status()).online is False
    await pi.send(pi.sealed("switch", "Y"))
    house.let_pass(5000)
    assert house.contact == R
    assert house.report({"voltage": 240.0, "current": 0.0, "solar_injection": 0.0}) == ""


async def test_a_node_that_boots_again_stays_where_it_was_and_counts_its_boot(
    house: VirtualHouse, pi: Pi, broker: Broker,
) -> None:
    await obey(house, pi, pi.sealed("switch", "B"))
    await pi.ack()
    house.die()
    house.wire.cut()
    assert not (await pi.status()).online
    house.revive()
    await house.wire.connect(broker.host, broker.port)
    assert await pi.status() == NodeStatus(True, 2, "sim-1")
    assert house.contact == B


async def test_lost_acks_are_not_sent_though_the_house_moved(house: VirtualHouse, pi: Pi) -> None:
    house.drops_acks = True
    await obey(house, pi, pi.sealed("switch", "Y"))
    assert house.contact == Y
    house.drops_acks = False
    await obey(house, pi, pi.sealed("query", None))
    ack = await pi.ack()
    assert (ack.result, ack.phase, ack.last_id, ack.last_result) == ("state", "Y", "C000001", "done")


async def test_a_lying_node_says_done_and_stays(house: VirtualHouse, pi: Pi) -> None:
    house.lies = True
    await obey(house, pi, pi.sealed("switch", "Y"))
    ack = await pi.ack()
    assert (ack.result, ack.phase) == ("done", "Y")
    assert house.contact == R


async def test_a_welded_contact_is_found_and_no_second_one_closes(house: VirtualHouse, pi: Pi) -> None:
    house.weld()
    await obey(house, pi, pi.sealed("switch", "Y"))
    ack = await pi.ack()
    assert (ack.result, ack.reason) == ("failed", "welded")
    assert house.contact == R
    assert house.hal.overlap_ms == 0
    house.mend()
    house.let_pass(5000)
    assert house.contact == R


async def test_the_connection_comes_back_by_itself_and_waiting_acks_with_it(
    house: VirtualHouse, pi: Pi, broker: Broker,
) -> None:
    keeping = asyncio.create_task(house.wire.keep(broker.host, broker.port))
    await obey(house, pi, pi.sealed("switch", "Y"))
    assert (await pi.ack()).phase == "Y"
    await broker.kill()
    await house.wire.lost.wait()
    house.node.outgoing.append(("ack", b"waits for the broker", 1, False))
    assert house.answer() == []
    await broker.start()
    async with aiomqtt.Client(broker.host, broker.port) as client:
        await client.subscribe(house_topic(FEEDER, "+", "+"), 1)
        assert bytes((await Pi(client, ManualClock(START)).hear("ack")).payload) == b"waits for the broker"
    assert house.wire.up
    keeping.cancel()
