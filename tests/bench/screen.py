"""What the control room costs in a real terminal: its first paint, its share of a core, bytes, and latency.

An 80x24 pty, a real broker, snapshots of 200 houses once a second in which every value changes. Prints JSON.

    python tests/bench/screen.py [--seconds 20] [--houses 200] [--size 80x24]
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import importlib.util
import json
import os
import pty
import re
import statistics
import struct
import sys
import tempfile
import termios
import threading
import time
import zlib
from pathlib import Path

import msgspec
import paho.mqtt.client as paho
import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from pi_service.broker import run_broker  # noqa: E402
from pi_service.contract import Measured, Snapshot, encode, feeder_topic  # noqa: E402

ESCAPES = re.compile(r"\x1b\[[0-9;?<>=]*[A-Za-z]")
NEUTRAL = re.compile(r"NEUTRAL\s+(\d+\.\d)")
FIRST_PAINT = b"Enter"          # the footer is the last line of the first frame


def scripted_snapshot(houses: int) -> Snapshot:
    """The tests' snapshot."""
    spec = importlib.util.spec_from_file_location("tui_conftest", ROOT / "tests/tui/conftest.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make_snapshot(houses=houses)


def changed(snapshot: Snapshot, count: int) -> tuple[Snapshot, str]:
    """The same with every value moved; and the neutral current as the screen writes it, to be found again."""
    neutral = 10 + count / 10
    houses = tuple(
        msgspec.structs.replace(
            house, current_a=(house.current_a or 1) + (count * 7 + i) % 13 / 10,
            voltage_v=(house.voltage_v or 230) + (count * 3 + i) % 11 / 10,
            power_kw=(house.power_kw or 0.5) + (count * 5 + i) % 17 / 100)
        for i, house in enumerate(snapshot.houses))
    fresh = msgspec.structs.replace(
        snapshot, at=snapshot.at + count, sent=count, houses=houses, neutral_a=Measured(neutral, "G", 0.4))
    return fresh, f"{neutral:.1f}"


class Terminal:
    """A child on a pty of its own; what it writes, with the time of each piece."""

    def __init__(self, command: list[str], columns: int, rows: int) -> None:
        self.started = time.monotonic()
        self.pieces: list[tuple[float, bytes]] = []
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm-256color", COLORTERM="truecolor", LANG="C.UTF-8", LC_ALL="C.UTF-8")
            os.execv(command[0], command)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._fd, 65536)
            except OSError:
                return
            self.pieces.append((time.monotonic(), data))

    def write(self, data: bytes) -> None:
        os.write(self._fd, data)

    def first(self, words: bytes, within_s: float = 15.0) -> float:
        """Seconds from the start until `words` were written."""
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            seen = b""
            for at, data in list(self.pieces):
                seen += data
                if words in seen:
                    return at - self.started
            time.sleep(0.005)
        raise SystemExit(f"{words!r} was not drawn within {within_s:.0f} s:\n{seen[-2000:]!r}")

    def since(self, at: float) -> bytes:
        return b"".join(data for when, data in self.pieces if when >= at)


def latencies(terminal: Terminal, sent: dict[str, float]) -> list[float]:
    """Seconds from the publishing of each snapshot until its neutral current stood in what was written."""
    found: dict[str, float] = {}
    for at, data in terminal.pieces:
        text = ESCAPES.sub("", data.decode("utf-8", "replace"))
        for value in NEUTRAL.findall(text):
            if value in sent and value not in found and at >= sent[value]:
                found[value] = at - sent[value]
    return sorted(found.values())


async def measure(seconds: float, houses: int, columns: int, rows: int) -> dict[str, object]:
    snapshot = scripted_snapshot(houses)
    with tempfile.TemporaryDirectory() as folder:
        async with run_broker(Path(folder)) as broker:
            return await asyncio.to_thread(
                _measured, broker.host, broker.port, broker.name, snapshot, seconds, columns, rows)


def _measured(
    host: str, port: int, name: str, snapshot: Snapshot, seconds: float, columns: int, rows: int
) -> dict[str, object]:
    publisher = paho.Client(paho.CallbackAPIVersion.VERSION2)
    publisher.connect(host, port)
    publisher.loop_start()
    command = [sys.executable, "-m", "smartphase_tui.cli", "--broker", f"{host}:{port}"]
    paints = []
    for _ in range(5):
        trial = Terminal(command, columns, rows)
        paints.append(trial.first(FIRST_PAINT))
        trial.write(b"q")
        os.waitpid(trial.pid, 0)
    terminal = Terminal(command, columns, rows)
    terminal.first(FIRST_PAINT)
    process = psutil.Process(terminal.pid)
    sent: dict[str, float] = {}
    begin, used = 0.0, 0.0
    warm_up = 5
    start = time.monotonic()
    for count in range(1, warm_up + int(seconds) + 1):
        fresh, value = changed(snapshot, count)
        payload = encode(fresh)
        time.sleep(max(0.0, start + count * 1.0 + (count % 7) / 50 - time.monotonic()))
        if count == warm_up:
            begin, used, sent = time.monotonic(), _cpu(process), {}
        sent[value] = time.monotonic()
        publisher.publish(feeder_topic(snapshot.feeder, "state"), payload, qos=0, retain=True)
    time.sleep(1.0)
    span = time.monotonic() - begin
    cpu, written = _cpu(process) - used, terminal.since(begin)
    delays = latencies(terminal, sent)
    quiet = time.monotonic()
    quiet_used = _cpu(process)
    time.sleep(5)
    idle = (_cpu(process) - quiet_used) / (time.monotonic() - quiet)
    memory = process.memory_info().rss
    terminal.write(b"q")
    os.waitpid(terminal.pid, 0)
    publisher.loop_stop()
    return {
        "size": f"{columns}x{rows}", "load_1min": round(os.getloadavg()[0], 1),
        "houses": len(snapshot.houses), "broker": name,
        "first_paint_s": {"best": round(min(paints), 3), "median": round(statistics.median(paints), 3)},
        "cpu_percent": round(100 * cpu / span, 2), "cpu_percent_stale": round(100 * idle, 2),
        "bytes_per_s": round(len(written) / span), "deflated_per_s": round(len(zlib.compress(written)) / span),
        "latency_ms": {
            "seen": len(delays), "of": len(sent), "median": round(1000 * statistics.median(delays)),
            "worst": round(1000 * delays[-1])},
        "memory_mib": round(memory / 2**20, 1), "snapshot_bytes": len(payload),
    }


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--houses", type=int, default=200)
    parser.add_argument("--size", default="80x24")
    options = parser.parse_args()
    columns, rows = map(int, options.size.split("x"))
    print(json.dumps(asyncio.run(measure(options.seconds, options.houses, columns, rows)), indent=2))


if __name__ == "__main__":
    main()
