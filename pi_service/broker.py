"""A broker for the demo and the tests: the system's mosquitto where it is found, else the embedded iotcore.

Listens on 127.0.0.1 only and keeps nothing on disk: a restart forgets sessions and retained messages, as a real
one may. A field site's broker is set up from `data/broker` instead; this one has no client authentication.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

from balancer.errors import SmartPhaseError

HOST = "127.0.0.1"
START_TIMEOUT_S = 10.0
_POLL_S = 0.02
_MOSQUITTO_PLACES = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")
_MAX_PAYLOAD = 4 * 1024 * 1024

_MOSQUITTO_CONF = """\
listener {port} {host}
allow_anonymous true
persistence false
max_queued_messages 100000
max_inflight_messages 1000
max_packet_size {max_payload}
set_tcp_nodelay true
sys_interval 0
log_dest stderr
log_type error
log_type warning
connection_messages false
"""

_KEEPER = """
exec 3<&0
"$@" </dev/null & broker=$!
trap 'kill -9 $broker' USR1
(read -r _ <&3; kill $broker) 2>/dev/null & watch=$!
while kill -0 $broker 2>/dev/null; do wait $broker; code=$?; done
kill $watch 2>/dev/null; wait $watch
exit $code
"""
"""A shell around the broker that holds its parent's pipe: the broker goes when the parent does, however it went."""

_IOTCORE = (
    "import sys, logging; sys.path[:] = [p for p in sys.path if p]; logging.disable(logging.CRITICAL); "
    "from iotcore import IotCoreBroker; "
    "IotCoreBroker(listen=sys.argv[1], port=int(sys.argv[2]), max_payload_size=int(sys.argv[3]), "
    "max_inflight_count=1000).run_forever()"
)

Kind = Literal["mosquitto", "iotcore"]


class BrokerError(SmartPhaseError):
    """The broker did not start; says why and what to do."""


class Broker:
    """One broker process on `host`:`port`. `start`, `stop`, `restart` and `kill` are also the faults of a street."""

    def __init__(self, kind: Kind, command: list[str], port: int, log: Path) -> None:
        self.kind = kind
        self.host = HOST
        self.port = port
        self._command = command
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def name(self) -> str:
        """What a screen says of it."""
        if self.kind == "mosquitto":
            return f"mosquitto {self.host}:{self.port}"
        return "DEMO BROKER (embedded), no client authentication"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start and wait until it takes connections. Raises BrokerError."""
        if self.running:
            return
        if await _takes_connections(self.host, self.port):
            raise BrokerError(f"broker: {self.host}:{self.port} is taken by another program; choose another port")
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                "/bin/sh", "-c", _KEEPER, "sh", *self._command,
                stdin=asyncio.subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not await _takes_connections(self.host, self.port):
            if not self.running:
                raise BrokerError(f"broker: {self.kind} ended at start: {self._last_words()}")
            if time.monotonic() > deadline:
                await self.kill()
                raise BrokerError(f"broker: {self.kind} does not answer on {self.host}:{self.port} after "
                                  f"{START_TIMEOUT_S:.0f} s; see {self._log}")
            await asyncio.sleep(_POLL_S)

    async def stop(self) -> None:
        """End it (SIGTERM). Connections break; the port is free afterwards."""
        await self._end()

    async def kill(self) -> None:
        """End it as a power cut does (SIGKILL): nobody is told, nothing is saved."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGUSR1)
        await self._end()

    async def restart(self) -> None:
        """Stop and start on the same port: sessions and retained messages are gone."""
        await self.stop()
        await self.start()

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else f"without a word; see {self._log}"


@contextlib.asynccontextmanager
async def run_broker(folder: Path, port: int = 0, kind: Kind | None = None) -> AsyncIterator[Broker]:
    """A running broker, ended on leaving. `folder` takes its configuration and log; `port` 0 picks a free one.

    `kind` forces one of the two. Raises BrokerError where none can be started.
    """
    broker = make_broker(folder, port, kind)
    try:
        await broker.start()
        yield broker
    finally:
        await broker.stop()


def make_broker(folder: Path, port: int = 0, kind: Kind | None = None) -> Broker:
    """A broker that is not started yet. Raises BrokerError where neither kind is installed."""
    folder.mkdir(parents=True, exist_ok=True)
    port = port or _free_port()
    log = folder / "broker.log"
    log.touch()
    mosquitto = find_mosquitto()
    if kind == "mosquitto" or (kind is None and mosquitto):
        if mosquitto is None:
            raise BrokerError("broker: mosquitto is not installed; install it, or use the embedded broker")
        conf = folder / "mosquitto.conf"
        conf.write_text(_MOSQUITTO_CONF.format(host=HOST, port=port, max_payload=_MAX_PAYLOAD), encoding="utf-8")
        return Broker("mosquitto", [mosquitto, "-c", str(conf)], port, log)
    if importlib.util.find_spec("iotcore") is None:
        raise BrokerError("broker: neither mosquitto nor iotcore is installed; "
                          "install mosquitto, or `pip install smartphase[demo]`")
    return Broker("iotcore", [sys.executable, "-c", _IOTCORE, HOST, str(port), str(_MAX_PAYLOAD)], port, log)


def find_mosquitto() -> str | None:
    """Where the system's mosquitto is; Debian keeps it in sbin, outside a user's PATH."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path=os.pathsep.join(_MOSQUITTO_PLACES))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


async def _takes_connections(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
