"""The demo in real time: a site made afresh, a broker, the daemon and the street, each a process of its own.

`start_demo` runs this module as a supervisor process that holds the three; it ends them when its own standard
input closes, so that nothing is left behind however the control room ends. Not here: the lockstep day without a
screen (`street.day`).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import json
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from balancer.errors import SmartPhaseError
from pi_service.broker import run_broker
from pi_service.seal import Role
from pi_service.site import create_site

READY_WITHIN_S = 30.0
OPERATORS: dict[str, Role] = {"anil": "operator", "devi": "engineer", "admin": "admin", "guest": "viewer"}
"""The demo's people; `anil` sits at the screen unless another is named."""
_MARK = ".smartphase-demo"
_PR_SET_PDEATHSIG = 1


class DemoError(SmartPhaseError):
    """The demo did not start, or a part of it ended; says which and where its log is."""


class DemoPlan(msgspec.Struct, frozen=True):
    """What to run: folders, the plant's first instant (Unix s), its speed, the seed, faults, the first mode."""

    folder: str
    feeder: str
    plant_start: float
    speed: float = 60.0
    seed: int = 0
    faults: tuple[str, ...] = ()
    mode: str = "AUTO"


@dataclass(frozen=True, slots=True)
class RunningDemo:
    """Where the demo is reached."""

    host: str
    port: int
    broker: str
    site: Path
    data: Path


@contextlib.contextmanager
def start_demo(plan: DemoPlan) -> Iterator[RunningDemo]:
    """A running demo, ended on leaving. Raises DemoError: it did not start, or a part of it ended meanwhile."""
    supervisor = subprocess.Popen(
        [sys.executable, "-m", "pi_service.demo", msgspec.json.encode(plan).decode()], start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert supervisor.stdin is not None
    assert supervisor.stdout is not None
    try:
        ready, _, _ = select.select([supervisor.stdout], [], [], READY_WITHIN_S)
        line = supervisor.stdout.readline() if ready else ""
        if not line:
            raise DemoError(_last_words(supervisor) or f"the demo was not ready within {READY_WITHIN_S:.0f} s")
        where = json.loads(line)
        yield RunningDemo(where["host"], where["port"], where["broker"], Path(where["site"]), Path(where["data"]))
        if supervisor.poll() is not None:
            raise DemoError(_last_words(supervisor) or "the demo ended by itself")
    finally:
        with contextlib.suppress(OSError):
            supervisor.stdin.close()
        try:
            supervisor.wait(timeout=10)
        except subprocess.TimeoutExpired:
            supervisor.kill()


def _last_words(supervisor: subprocess.Popen[str]) -> str:
    """The supervisor's last line of complaint; one that is still running is ended first."""
    supervisor.kill()
    assert supervisor.stderr is not None
    said = supervisor.stderr.read().strip().splitlines()
    return said[-1].removeprefix("demo: ") if said else ""


def fresh_folder(folder: Path) -> None:
    """Empty a demo's own folder, or make it. Raises DemoError on one that holds something else."""
    try:
        if folder.exists():
            if not (folder / _MARK).exists() and any(folder.iterdir()):
                raise DemoError(f"{folder} is not a demo's folder; name an empty one with --state")
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        (folder / _MARK).touch()
    except OSError as error:
        raise DemoError(f"{folder}: {error.strerror}; name a folder that you may write with --state") from error


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold a demo's folder. Raises DemoError while another demo does."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DemoError(f"a demo is running in {folder} already; leave it, or use --state DIR") from error
        yield


async def supervise(plan: DemoPlan) -> None:
    """Hold broker, daemon and street until standard input closes or one of them ends. Raises DemoError."""
    folder = Path(plan.folder)
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(only_one(folder))
        fresh_folder(folder)
        broker = await stack.enter_async_context(run_broker(folder / "broker"))
        wall = time.time()
        name = "mosquitto" if broker.kind == "mosquitto" else broker.name
        config = create_site(folder / "site", Path(plan.feeder), OPERATORS, _config(plan, name, broker.port, wall))
        site, data = folder / "site", Path(config.site.data)
        daemon = await _start(folder, "daemon", ["-m", "pi_service.service", "--config",
                                                 str(site / "smartphased.toml")])
        street = await _start(folder, "street", [
            "-m", "pi_service.street", "--site", str(site), "--feeder", plan.feeder, "--port", str(broker.port),
            "--wall-start", repr(wall), "--plant-start", repr(plan.plant_start), "--speed", repr(plan.speed),
            "--seed", str(plan.seed), *(f"--fault={fault}" for fault in plan.faults)])
        print(json.dumps({"host": broker.host, "port": broker.port, "broker": broker.name, "site": str(site),
                          "data": str(data)}), flush=True)
        try:
            await _until_closed({"daemon": daemon, "street": street}, folder)
        finally:
            for child in (daemon, street):
                if child.returncode is None:
                    child.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await asyncio.gather(daemon.wait(), street.wait())
            for child in (daemon, street):
                if child.returncode is None:
                    child.kill()


def _config(plan: DemoPlan, broker: str, port: int, wall: float) -> str:
    return (f'[broker]\nhost = "127.0.0.1"\nport = {port}\nname = {json.dumps(broker)}\n\n'
            f'[control]\nmode = "{plan.mode}"\n\n'
            f"[clock]\nwall_start = {wall!r}\nplant_start = {plan.plant_start!r}\nspeed = {plan.speed!r}\n")


async def _start(folder: Path, name: str, arguments: Sequence[str]) -> asyncio.subprocess.Process:
    with (folder / f"{name}.log").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable, *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
            preexec_fn=_die_with_parent)


def _die_with_parent() -> None:
    """In a child, before it runs: Linux ends it when the supervisor is gone, however that went."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


async def _until_closed(children: dict[str, asyncio.subprocess.Process], folder: Path) -> None:
    """Return when standard input closes; raise DemoError when a child ends before that."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    closed = asyncio.create_task(reader.read())
    ends = {name: asyncio.create_task(child.wait()) for name, child in children.items()}
    await asyncio.wait([closed, *ends.values()], return_when=asyncio.FIRST_COMPLETED)
    ended = [name for name, task in ends.items() if task.done()]
    for task in (closed, *ends.values()):
        task.cancel()
    for name in ended:
        lines = (folder / f"{name}.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise DemoError(f"the {name} ended: {lines[-1] if lines else 'without a word'}; see {folder / name}.log")


def main() -> int:
    """The supervisor process."""
    try:
        asyncio.run(supervise(msgspec.json.decode(sys.argv[1], type=DemoPlan)))
    except SmartPhaseError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
