"""The demo's broker starts, says which it is, ends with its parent, and can be made to fail."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import aiomqtt
import pytest

from pi_service.broker import Broker, BrokerError, Kind, find_mosquitto, make_broker, run_broker

KINDS: tuple[Kind, ...] = ("iotcore", "mosquitto") if find_mosquitto() else ("iotcore",)


async def echo(broker: Broker) -> bytes:
    async with aiomqtt.Client(broker.host, broker.port) as client:
        await client.subscribe("echo", 1)
        await client.publish("echo", b"x" * 100_000, 1)
        async for message in client.messages:
            return bytes(message.payload)
    raise AssertionError("no message")


@pytest.mark.parametrize("kind", KINDS)
async def test_it_carries_messages_through_a_restart_and_a_kill(kind: Kind, tmp_path: Path) -> None:
    async with run_broker(tmp_path, kind=kind) as broker:
        port = broker.port
        for again in (broker.restart, broker.kill):
            assert len(await echo(broker)) == 100_000
            await again()
            await broker.start()
        assert len(await echo(broker)) == 100_000
        assert broker.port == port
    assert not broker.running
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind((broker.host, port))


@pytest.mark.parametrize("kind", KINDS)
async def test_its_name_says_which_it_is(kind: Kind, tmp_path: Path) -> None:
    broker = make_broker(tmp_path, 18999, kind)
    assert broker.name == {"mosquitto": "mosquitto 127.0.0.1:18999",
                           "iotcore": "DEMO BROKER (embedded), no client authentication"}[kind]


async def test_a_port_that_is_taken_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        broker = make_broker(tmp_path, other.getsockname()[1])
        with pytest.raises(BrokerError, match="taken by another program; choose another port"):
            await broker.start()


@pytest.mark.parametrize("kind", KINDS)
def test_it_does_not_outlive_a_parent_that_was_killed(kind: Kind, repo: Path, tmp_path: Path) -> None:
    script = (
        "import asyncio, pathlib, sys\n"
        "from pi_service.broker import make_broker\n"
        "async def main():\n"
        "    broker = make_broker(pathlib.Path(sys.argv[1]), 0, sys.argv[2])\n"
        "    await broker.start()\n"
        "    print(broker.port, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n")
    command = [sys.executable, "-c", script, str(tmp_path), kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=repo) as parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline())
        os.kill(parent.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while takes_connections(port):
        assert time.monotonic() < deadline, "the broker is still there"


def takes_connections(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
