"""How much the daemon takes in: sealed readings from 100 houses through a real broker, into the database.

Measures the whole way of a reading (link, queue, open and decode, state, telemetry.db) in this process; the houses
publish from another. Prints JSON: at a steady rate the share of one core and what was lost between publisher and
database, and how fast a burst is worked off.

    python tests/bench/ingest.py [--rate 1000] [--seconds 20] [--burst 20000] [--plain] [--broker mosquitto|iotcore]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import multiprocessing
import platform
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt

from balancer.feeder import Feeder, House, Limits, Transformer
from firmware.core import jwe
from firmware.hal.sim import SimHal
from pi_service.broker import run_broker
from pi_service.clock import SystemClock
from pi_service.config import BrokerSettings
from pi_service.contract import MessageRefused, Reading, encode, feeder_topic, house_topic
from pi_service.feeder_state import FeederState
from pi_service.ingest import HouseSample, Ingest, IngestSettings
from pi_service.link import MqttLink
from pi_service.outbox import Publish
from pi_service.seal import NodeKeys, Sealer
from pi_service.store.telemetry import TelemetryStore

HOUSES = 100
FEEDER = Feeder(
    "KL-BENCH", "Bench", "", "", 0.0, 0.0, Transformer("T", 100, 4.5, 1.8, 240.0, 3000), Limits(140, 6, 2, 40),
    tuple(House(f"H{i:03d}", "T", i % 3, 3.0, 200, True, False, 0.95) for i in range(HOUSES)), (),
)
KEYS = {house: NodeKeys(house, 1, hashlib.sha256(f"{house}d".encode()).digest(),
                        hashlib.sha256(f"{house}u".encode()).digest()) for house in FEEDER.house_ids}


def payloads(count: int, rate: float, sealed: bool, first_seq: int) -> list[tuple[str, bytes]]:
    """`count` readings as the houses would send them at `rate` a second, sealed before the clock starts."""
    hal, now, made = SimHal(), time.time(), []
    for number in range(count):
        house = FEEDER.house_ids[number % HOUSES]
        at = now + (number / rate if rate else 0.0)
        payload = encode(Reading(house, "R", 230.4, 4.2, 1.25, power=0.31, reactive_power=0.12, frequency=50.01,
                                 seq=first_seq + number, boot=1, ts=at, relay="R", fw="1.0"))
        if sealed:
            payload = jwe.seal(hal, KEYS[house].telemetry, jwe.header(f"{house}.1.u", "tel"), payload)
        made.append((house_topic(FEEDER.feeder_id, house, "telemetry"), payload))
    return made


def publish(port: int, orders: Connection) -> None:
    """The houses, in a process of their own: sends what is ordered, answers with the seconds that it took."""
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="houses")
    client.max_queued_messages_set(0)
    client.connect("127.0.0.1", port)
    client.loop_start()
    while (order := orders.recv()) is not None:
        count, rate, sealed, first_seq = order
        messages = payloads(count, rate, sealed, first_seq)
        started = time.monotonic()
        for number, (topic, payload) in enumerate(messages):
            if rate:
                time.sleep(max(0.0, started + number / rate - time.monotonic()))
            client.publish(topic, payload).wait_for_publish(10)
        orders.send(time.monotonic() - started)
    client.disconnect()
    client.loop_stop()


class Daemon:
    """The daemon's way in, and nothing else of it."""

    def __init__(self, folder: Path, port: int) -> None:
        clock, self.path = SystemClock(), folder / "telemetry.db"
        self.clock = clock
        self.ingest = Ingest(FEEDER, Sealer(KEYS.values()), clock,
                             IngestSettings(queue=10_000, telemetry_per_s=1e9, telemetry_burst=1e9))
        self.state = FeederState(FEEDER, clock)
        self.store = TelemetryStore(self.path, FEEDER, clock.now())
        nothing = Publish(feeder_topic(FEEDER.feeder_id, "status"), b"{}")
        self.heard = asyncio.Event()
        self.link = MqttLink(
            BrokerSettings(port=port), client_id="pi", will=nothing, birth=nothing,
            subscriptions=[(house_topic(FEEDER.feeder_id, "+", "telemetry"), 0)],
            on_message=self.on_message, on_up=lambda: None, on_down=lambda: None)
        self.houses = dict(zip(FEEDER.house_ids, FEEDER.houses, strict=True))
        self.longest_queue = 0

    def on_message(self, topic: str, payload: bytes, retained: bool) -> None:
        self.ingest.put(topic, payload, retained)
        self.heard.set()

    async def work(self) -> None:
        """Empty the queue twenty times a second, as the service does when messages come."""
        while True:
            self.longest_queue = max(self.longest_queue, len(self.ingest))
            for arrival in self.ingest.take(2000):
                assert isinstance(arrival, HouseSample)
                try:
                    self.state.take(arrival)
                except MessageRefused as refusal:
                    self.ingest.refuse(arrival.house, refusal)
                    continue
                held = self.state.latest(arrival.house)
                assert held is not None
                self.store.add_reading(self.houses[arrival.house], held, self.state.phase(arrival.house))
            self.store.tick(self.clock.now())
            await asyncio.sleep(0.05 if len(self.ingest) == 0 else 0.0)

    def rows(self) -> int:
        self.store.commit(self.clock.now())
        with contextlib.closing(sqlite3.connect(self.path)) as db:
            return int(db.execute("SELECT count(*) FROM reading").fetchone()[0])


async def run(daemon: Daemon, orders: Connection, count: int, rate: float, sealed: bool, seq: int) -> dict[str, Any]:
    """Have the houses send `count` readings and wait until they are in the database, or no more come."""
    rows, counters = daemon.rows(), daemon.ingest.counters.copy()
    daemon.longest_queue = 0
    daemon.heard.clear()
    orders.send((count, rate, sealed, seq))
    await daemon.heard.wait()
    started, cpu = time.monotonic(), time.process_time()
    quiet_since, seen = time.monotonic(), -1
    while daemon.ingest.taken < seq - 1 + count and time.monotonic() - quiet_since < 3.0:
        await asyncio.sleep(0.02)
        if daemon.ingest.counters["received"] != seen:
            seen, quiet_since = daemon.ingest.counters["received"], time.monotonic()
    took, cpu = time.monotonic() - started, time.process_time() - cpu
    sent_in = await asyncio.to_thread(orders.recv)
    received = daemon.ingest.counters["received"] - counters["received"]
    kept = daemon.rows() - rows
    return {
        "sent": count, "sent_per_s": round(count / sent_in, 1), "received": received, "in_database": kept,
        "lost_before_the_daemon": count - received, "shed": daemon.ingest.counters["shed"] - counters["shed"],
        "refused": sum(daemon.ingest.counters[name] - counters[name] for name in daemon.ingest.counters
                       if name.startswith("refused-")),
        "longest_queue": daemon.longest_queue, "worked_per_s": round(kept / took, 1),
        "core_share_percent": round(100 * cpu / took, 1), "cpu_us_a_message": round(1e6 * cpu / max(kept, 1), 1),
    }


def open_and_decode_us(sealed: bool) -> float:
    """Microseconds of CPU from payload to believed reading, without a broker."""
    clock = SystemClock()
    ingest = Ingest(FEEDER, Sealer(KEYS.values()), clock, IngestSettings(telemetry_per_s=1e9, telemetry_burst=1e9))
    state = FeederState(FEEDER, clock)
    messages = payloads(5000, 0.0, sealed, 1)
    started = time.process_time()
    for topic, payload in messages:
        ingest.put(topic, payload)
    for arrival in ingest.take():
        state.take(arrival)
    return round((time.process_time() - started) / len(messages) * 1e6, 1)


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with run_broker(folder / "broker", kind=options.broker) as broker:
            daemon = Daemon(folder, broker.port)
            tasks = [asyncio.create_task(daemon.link.run()), asyncio.create_task(daemon.work())]
            await daemon.link.up.wait()
            with houses(broker.port) as orders:
                sealed, steady = not options.plain, int(options.rate * options.seconds)
                result = {
                    "benchmark": "ingest", "machine": platform.processor() or platform.machine(), "broker": broker.name,
                    "houses": HOUSES, "sealed": sealed, "open_decode_believe_us": open_and_decode_us(sealed),
                    "steady": await run(daemon, orders, steady, options.rate, sealed, 1),
                    "burst": await run(daemon, orders, options.burst, 0.0, sealed, steady + 1),
                }
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            daemon.store.close()
            return result


@contextlib.contextmanager
def houses(port: int) -> Iterator[Connection]:
    """The publishing process and the pipe that gives it orders."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=publish, args=(port, theirs), daemon=True)
    process.start()
    yield ours
    ours.send(None)
    process.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=1000.0, help="readings a second of the steady part")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the steady part")
    parser.add_argument("--burst", type=int, default=20_000, help="readings sent as fast as they go")
    parser.add_argument("--plain", action="store_true", help="plain readings instead of sealed ones")
    parser.add_argument("--broker", choices=("mosquitto", "iotcore"), help="which one; else what is found")
    print(json.dumps(asyncio.run(measure(parser.parse_args())), indent=2))


if __name__ == "__main__":
    main()
