"""The daemon as a process: killed with SIGKILL in every state of a switch, stopped with SIGTERM, broker gone and back.

Real broker, real `smartphased`, real nodes. The process is killed at the instant a state is on disk and before its
side effect: the child kills itself there, which no signal from outside could time.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiomqtt
import pytest

from pi_service.broker import run_broker
from pi_service.clock import SystemClock
from pi_service.config import load_config
from pi_service.contract import (
    FINAL_STATES,
    NodeStatus,
    Operate,
    Preview,
    PreviewResult,
    Reply,
    Snapshot,
    decode,
    feeder_topic,
    house_topic,
    operator_topic,
)
from pi_service.service import Service, _end
from pi_service.site import create_site
from pi_service.store.audit import AuditReader, verify
from tests.pi_service.rig import PEOPLE, Rig

HOUSE = "H002"
CONTROL = """
[broker]
port = {port}
[control]
mode = "MANUAL"
hold_release_s = 0
ack_timeout_s = 1
query_retry_s = 1
verify_timeout_s = 4
command_life_s = 3
"""
MORTAL = """
import os, signal, sys
from pi_service import service, station
told = station.Station._switch_changed
def tell(self, view):
    told(self, view)
    if view.state == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)
station.Station._switch_changed = tell
sys.exit(service.main(["--config", sys.argv[1]]))
"""


class Street(Rig):
    """The rig's houses on a real broker; what they report goes out by MQTT, what is sent to them comes in by it."""

    holds_acks = False

    def start(self) -> None:
        self.station = self             # type: ignore[assignment]
        self.ready: list[tuple[str, bytes]] = []
        self.replies: asyncio.Queue[Reply] = asyncio.Queue()
        self.news = asyncio.Condition()
        self.snapshot: Snapshot | None = None
        self.pi_online: bool | None = None

    def handle(self, topic: str, payload: bytes, retained: bool) -> None:
        self.ready.append((topic, payload))

    @contextlib.asynccontextmanager
    async def live(self, port: int) -> AsyncIterator[None]:
        async with aiomqtt.Client("127.0.0.1", port, identifier="street") as self.client:
            feeder = self.feeder.feeder_id
            await self.client.subscribe([(house_topic(feeder, "+", "command"), 1), (feeder_topic(feeder, "state"), 0),
                                         (operator_topic(feeder, "reply", "anil"), 1),
                                         (feeder_topic(feeder, "status"), 1)])
            tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._report())]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _report(self) -> None:
        while True:
            self.report()
            await self._flush()
            await asyncio.sleep(0.25)

    async def _flush(self) -> None:
        ready, self.ready = self.ready, []
        for topic, payload in ready:
            await self.client.publish(topic, payload)

    async def _listen(self) -> None:
        async for message in self.client.messages:
            topic, payload = message.topic.value, bytes(message.payload)
            if topic.endswith("/command"):
                await self._obey(topic.split("/")[-2], payload)
            elif "/reply/" in topic:
                self.replies.put_nowait(decode(payload, Reply))
            else:
                async with self.news:
                    if topic.endswith("/status"):
                        self.pi_online = decode(payload, NodeStatus).online
                    elif not message.retain:
                        self.snapshot = decode(payload, Snapshot)
                    self.news.notify_all()

    async def _obey(self, name: str, payload: bytes) -> None:
        house = self.houses[name]
        self.commands_seen += 1
        house.node.receive(payload)
        house.run()
        answers, house.node.outgoing = list(house.node.outgoing), []
        if not self.holds_acks:
            for leaf, answer, _, _ in answers:
                await self.client.publish(house_topic(self.feeder.feeder_id, name, leaf), answer, qos=1)
        async with self.news:
            self.news.notify_all()

    async def until(self, what, seconds: float = 25.0) -> None:
        async with asyncio.timeout(seconds), self.news:
            await self.news.wait_for(what)

    async def request(self, action) -> Reply:
        await self.client.publish(operator_topic(self.feeder.feeder_id, "request", "anil"), self.signed(action), qos=1)
        async with asyncio.timeout(10):
            return await self.replies.get()

    async def operate(self) -> None:
        """Preview until every interlock holds, then send the move; its answer is not waited for."""
        await self.until(lambda: self.pi_online is True)
        async with asyncio.timeout(20):
            while True:
                reply = await self.request(Preview(HOUSE, "B"))
                if reply.ok:
                    preview = decode(reply.body, PreviewResult)
                    if all(lock.ok for lock in preview.interlocks):
                        break
                async with self.news:
                    await self.news.wait()      # the next snapshot
        topic = operator_topic(self.feeder.feeder_id, "request", "anil")
        await self.client.publish(topic, self.signed(Operate(preview.preview_id)), qos=1)

    def ended(self) -> bool:
        return bool(self.snapshot and self.snapshot.switches and self.snapshot.switches[0].state in FINAL_STATES)


@contextlib.asynccontextmanager
async def daemon(config: Path, doom: str = "", environment: dict[str, str] | None = None):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", MORTAL, str(config), doom, stderr=asyncio.subprocess.DEVNULL, env=environment)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def gone(process) -> int:
    async with asyncio.timeout(20):
        return await process.wait()


@pytest.fixture
async def street(tmp_path, small_feeder_dir):
    async with run_broker(tmp_path / "broker") as broker:
        street = Street(tmp_path, small_feeder_dir, clock=SystemClock())
        create_site(street.site_dir, small_feeder_dir, PEOPLE, CONTROL.format(port=broker.port))
        street.broker = broker
        street.toml = street.site_dir / "smartphased.toml"
        async with street.live(broker.port):
            yield street


@pytest.mark.parametrize("died_in", ["PROPOSED", "AUTHORISED", "SENT", "ACKED", "FAILED", "ROLLBACK_SENT"])
async def test_killed_in_a_state_it_comes_back_asks_and_switches_nothing_twice(street, died_in):
    board = street.houses[HOUSE]
    if died_in in ("FAILED", "ROLLBACK_SENT"):
        board.hal.stick_open(2)
    async with daemon(street.toml, died_in) as first:
        await street.operate()
        async with asyncio.timeout(20):
            died = asyncio.create_task(first.wait())
            answer = asyncio.create_task(street.replies.get())
            await asyncio.wait([died, answer], return_when=asyncio.FIRST_COMPLETED)
            assert died.done() or answer.result().ok, answer.result().reason
            answer.cancel()
            assert await died == -signal.SIGKILL
    moves = len(board.store.get("moves", []))
    await _comes_back(street)
    assert len(board.store.get("moves", [])) == moves
    expected = {"ACKED": "VERIFIED", "FAILED": "ROLLED_BACK", "ROLLBACK_SENT": "ROLLED_BACK"}
    assert street.snapshot.switches[0].state == expected.get(died_in, "REFUSED")
    assert street.phase_of(HOUSE) == ("B" if died_in == "ACKED" else "R")


async def test_killed_while_the_node_holds_its_ack_back_the_node_is_asked_and_the_switch_proven(street):
    street.holds_acks = True
    async with daemon(street.toml) as first:
        await street.operate()
        await street.until(lambda: street.phase_of(HOUSE) == "B")
        first.kill()
        assert await gone(first) == -signal.SIGKILL
    street.holds_acks = False
    await _comes_back(street)
    assert street.snapshot.switches[0].state == "VERIFIED"
    assert len(street.houses[HOUSE].store.get("moves", [])) == 1


async def _comes_back(street: Street) -> None:
    """A second daemon on what the first left: the switch ends; commands, counters and chain are sound."""
    street.snapshot = None
    async with daemon(street.toml) as second:
        await street.until(street.ended)
        second.terminate()
        assert await gone(second) == 0
    audit = AuditReader.open_readonly(street.site_dir / "data" / "audit.db")
    sent = [row.body for row in audit.rows(kinds=("command",), limit=None, newest_first=False)]
    audit.close()
    counters = [body["counter"] for body in sent]
    assert counters == sorted(set(counters))
    assert sum(body["cmd"] == "switch" and body["target"] == "B" for body in sent) <= 1
    assert street.overlap_ms == 0
    assert verify(street.site_dir / "data" / "audit.db").ok


async def test_it_tells_systemd_that_it_is_ready_alive_and_stopping_and_ends_clean(street, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "600000", "PATH": ""}
        loop = asyncio.get_running_loop()
        async with daemon(street.toml, environment=environment) as process, asyncio.timeout(20):
            assert await loop.sock_recv(systemd, 100) == b"READY=1"
            assert await loop.sock_recv(systemd, 100) == b"WATCHDOG=1"
            await street.until(lambda: street.pi_online is True)
            process.terminate()
            said = await loop.sock_recv(systemd, 100)
            while said == b"WATCHDOG=1":
                said = await loop.sock_recv(systemd, 100)
            assert said == b"STOPPING=1"
            assert await process.wait() == 0
        await street.until(lambda: street.pi_online is False)


async def test_the_will_tells_that_a_killed_daemon_is_gone(street):
    async with daemon(street.toml) as process:
        await street.until(lambda: street.pi_online is True)
        process.kill()
        await street.until(lambda: street.pi_online is False)


async def test_a_stop_that_meets_an_arrival_still_stops(street):
    config = load_config(street.toml)
    service = Service(config, SystemClock())
    for _ in range(5):
        work = asyncio.create_task(service._work())
        await asyncio.sleep(0.05)       # it waits for an arrival now
        service._arrived.set()
        await asyncio.sleep(0)
        work.cancel()
        done, _ = await asyncio.wait([work], timeout=2)
        assert done
    service.station.close()


async def test_a_loop_that_swallows_one_cancellation_is_ended_by_the_next(monkeypatch):
    monkeypatch.setattr("pi_service.service.FAREWELL_S", 0.01)
    swallowed = 0

    async def deaf() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed > 1:
                    raise

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await _end([task])
    assert (task.cancelled(), swallowed) == (True, 2)


async def test_a_retained_command_that_was_planted_leaves_the_broker(street):
    topic = house_topic(street.feeder.feeder_id, HOUSE, "command")
    await street.client.publish(topic, b"planted", qos=1, retain=True)
    async with daemon(street.toml):
        await street.until(lambda: street.snapshot and street.snapshot.counters.get("refused-planted-command") == 1)
        async with aiomqtt.Client("127.0.0.1", street.broker.port, identifier="late") as late:
            await late.subscribe(topic, 1)
            await late.subscribe(feeder_topic(street.feeder.feeder_id, "status"), 1)
            first = await anext(aiter(late.messages))       # the retained status; the command would come before it
            assert first.topic.value.endswith("/status")
    assert street.phase_of(HOUSE) == "R"


async def test_the_broker_vanishes_and_returns_and_nothing_is_restarted(street, tmp_path):
    async with daemon(street.toml) as process:
        await street.until(lambda: street.snapshot is not None)
        await street.broker.stop()
        await street.broker.start()
        street.snapshot = None
        async with street.live(street.broker.port):
            await street.until(lambda: street.snapshot is not None)
        assert process.returncode is None


@pytest.mark.parametrize(("arguments", "status", "words"), [
    (["--config", "/nowhere/smartphased.toml"], 1, "smartphase site init"),
    ([], 2, "--config"),
])
async def test_a_wrong_start_is_answered_in_words(arguments, status, words):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pi_service.service", *arguments, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    assert process.returncode == status
    assert words in said.decode()
    assert "Traceback" not in said.decode()
