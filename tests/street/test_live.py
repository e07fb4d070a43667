"""The live street, as the process that the demo starts: every house speaks, the broker may go, SIGTERM is clean."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiomqtt
import msgspec
import pytest

from balancer.feeder_folder import read_feeder
from pi_service.broker import Broker, run_broker
from pi_service.contract import MeterReading, NodeStatus, Reading, decode_reading, parse_topic
from pi_service.seal import METER, Sealer
from pi_service.site import create_site, read_nodes
from pi_service.street.__main__ import main

PLANT_START = 1_776_191_400.0 + 12 * 3600.0
HOUSES = [f"H{number:03d}" for number in range(1, 10)]


@pytest.fixture
def site(nine_houses: Path, tmp_path: Path) -> Path:
    create_site(tmp_path / "site", nine_houses, {})
    return tmp_path / "site"


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    async with run_broker(tmp_path / "broker") as running:
        yield running


async def start(site: Path, feeder: Path, broker: Broker, *more: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pi_service.street", "--site", str(site), "--feeder", str(feeder),
        "--port", str(broker.port), "--plant-start", str(PLANT_START), "--wall-start", str(time.time()), *more,
        stderr=asyncio.subprocess.PIPE)


async def hear_everybody(client: aiomqtt.Client, leaf: str, wanted: set[str]) -> dict[str, bytes]:
    """The next message of each of `wanted` (the meter as "meter")."""
    heard: dict[str, bytes] = {}
    async with asyncio.timeout(15):
        async for message in client.messages:
            topic = parse_topic(message.topic.value)
            who = METER if topic.kind == "meter" else topic.name
            if topic.leaf == leaf and who in wanted:
                heard[who] = bytes(message.payload)
            if set(heard) == wanted:
                return heard
    raise AssertionError("the broker went away")


async def test_every_house_and_the_meter_report_until_they_are_told_to_stop(
    site: Path, nine_houses: Path, broker: Broker,
) -> None:
    sealer = Sealer(read_nodes(site))
    everybody = {*HOUSES, METER}
    async with aiomqtt.Client(broker.host, broker.port) as client:
        await client.subscribe("smartphase/#", 1)
        street = await start(site, nine_houses, broker)
        heard = await hear_everybody(client, "telemetry", everybody)
        for house in HOUSES:
            reading = decode_reading(sealer.open_uplink(house, heard[house], "tel"), house)
            assert 225 < reading.voltage < 245
            assert reading.ts == pytest.approx(PLANT_START, abs=60)
        meter = msgspec.json.decode(sealer.open_uplink(METER, heard[METER], "tel"), type=MeterReading)
        assert meter.neutral_current == pytest.approx(49.5, rel=0.05)
        street.send_signal(signal.SIGTERM)
        statuses = {}
        while not statuses or any(status.online for status in statuses.values()):
            said = await hear_everybody(client, "status", everybody)
            statuses = {who: msgspec.json.decode(payload, type=NodeStatus) for who, payload in said.items()}
        assert await street.wait() == 0


async def test_a_broker_that_restarts_finds_everybody_again(site: Path, nine_houses: Path, broker: Broker) -> None:
    street = await start(site, nine_houses, broker, "--fault", "ack-lost:H002@12:01")
    try:
        for _ in range(2):
            async with aiomqtt.Client(broker.host, broker.port) as client:
                await client.subscribe("smartphase/#", 1)
                await hear_everybody(client, "telemetry", {*HOUSES, METER})
            await broker.kill()
            await broker.start()
    finally:
        street.terminate()
        await street.wait()


async def test_a_dead_node_goes_offline_and_the_rest_go_on(site: Path, nine_houses: Path, broker: Broker) -> None:
    street = await start(site, nine_houses, broker, "--speed", "60", "--fault", "node-dead:H005@12:01")
    sealer = Sealer(read_nodes(site))
    try:
        async with aiomqtt.Client(broker.host, broker.port) as client:
            await client.subscribe("smartphase/#", 1)
            while True:
                said = await hear_everybody(client, "status", {"H005"})
                if not msgspec.json.decode(said["H005"], type=NodeStatus).online:
                    break
            heard = await hear_everybody(client, "telemetry", {*HOUSES, METER} - {"H005"})
            reading: Reading = decode_reading(sealer.open_uplink("H001", heard["H001"], "tel"), "H001")
            assert reading.ts is not None
            assert reading.ts >= PLANT_START + 60
    finally:
        street.terminate()
        await street.wait()


@pytest.mark.parametrize(("wrong", "says"), [
    (["--fault", "daemon-kill@12:30"], "a live street has no hold of broker and daemon"),
    (["--fault", "node-dead:H099@12:30"], "H099 is not in houses.csv"),
    (["--fault", "rubbish"], "write NAME[:SUBJECT]@HH:MM"),
])
def test_a_wrong_fault_is_refused_in_one_line(
    wrong: list[str], says: str, site: Path, nine_houses: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--site", str(site), "--feeder", str(nine_houses), *wrong]) == 1
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


def test_keys_that_are_missing_are_said_in_one_line(
    nine_houses: Path, kerala_street: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    create_site(tmp_path, nine_houses, {})
    assert main(["--site", str(tmp_path), "--feeder", str(kerala_street)]) == 1
    assert "the site has no key for H010" in capsys.readouterr().err
    assert len(read_feeder(kerala_street).houses) == 60


def test_the_command_explains_itself(repo: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "pi_service.street", "--help"], cwd=repo, capture_output=True,
                          text=True, check=True)
    assert "--fault" in done.stdout
