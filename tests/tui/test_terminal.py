"""The control room in a real terminal (tmux, 80x24), through a real broker, to a Pi that follows a script."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import aiomqtt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from pi_service.broker import run_broker
from pi_service.contract import (
    AckAlarm,
    Event,
    MessageRefused,
    Operate,
    Preview,
    PreviewResult,
    Reply,
    Request,
    SetMode,
    SwitchView,
    encode,
    feeder_topic,
    operator_topic,
)
from pi_service.seal import OperatorKeys, verify_request

ROOT = Path(__file__).resolve().parents[2]
WITHIN_S = 20.0

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux: apt-get install tmux")


class Terminal:
    """One tmux server with one window, driven by keys and read as text."""

    def __init__(self, folder: Path, command: str, size: tuple[int, int] = (80, 24)) -> None:
        self._tmux = ["tmux", "-S", str(folder / "tmux"), "-f", "/dev/null"]
        columns, rows = map(str, size)
        self._run("new-session", "-d", "-x", columns, "-y", rows, f"exec env {command}")

    def _run(self, *arguments: str) -> str:
        return subprocess.run([*self._tmux, *arguments], check=True, capture_output=True, text=True).stdout

    def keys(self, *keys: str) -> None:
        self._run("send-keys", *keys)

    def text(self, *options: str) -> str:
        return self._run("capture-pane", "-p", *options)

    async def shows(self, *words: str) -> str:
        """The screen as soon as all of `words` stand on it."""
        end = time.monotonic() + WITHIN_S
        text = ""
        while time.monotonic() < end:
            text = self.text()
            if all(word in text for word in words):
                return text
            await asyncio.sleep(0.05)
        pytest.fail(f"{words} not shown within {WITHIN_S:.0f} s:\n{text}")

    @property
    def process(self) -> int:
        return int(self._run("display-message", "-p", "#{pane_pid}"))

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], capture_output=True)


class ScriptedPi:
    """Publishes a snapshot a second and answers signed requests; `asked` keeps what was asked."""

    def __init__(self, snapshot, operators) -> None:
        self.snapshot, self._operators = snapshot, operators
        self.asked, self.refused = [], []
        self.silent = False

    async def run(self, broker) -> None:
        async with aiomqtt.Client(broker.host, broker.port) as client:
            await client.subscribe(operator_topic(self.snapshot.feeder, "request", "+"), 1)
            publishing = asyncio.create_task(self._publish(client))
            try:
                async for message in client.messages:
                    await self._answer(client, message.payload)
            finally:
                publishing.cancel()

    async def _publish(self, client) -> None:
        while True:
            if not self.silent:
                self.snapshot = msgspec.structs.replace(
                    self.snapshot, at=self.snapshot.at + 1, sent=self.snapshot.sent + 1)
                await client.publish(feeder_topic(self.snapshot.feeder, "state"), encode(self.snapshot), retain=True)
            await asyncio.sleep(1)

    async def _answer(self, client, payload) -> None:
        try:
            operator, content = verify_request(payload, self._operators)
        except MessageRefused as refused:
            self.refused.append(refused)
            return
        request = msgspec.json.decode(content, type=Request)
        self.asked.append(request.action)
        reply = Reply(request.id, True, "")
        match request.action:
            case Preview(house, target):
                proposal = self.snapshot.proposal
                made = PreviewResult("V1", house, "R", target, proposal.effect, proposal.interlocks, 30.0)
                reply = Reply(request.id, True, body=msgspec.Raw(encode(made)))
            case Operate():
                await self._reply(client, operator, Reply(request.id, True, switch_id="S000009"))
                for state in ("SENT", "ACKED", "VERIFIED"):
                    view = SwitchView("S000009", self.snapshot.at, operator, "H0001", "R", "B", state, "by hand",
                                      31.4, 55.2, 31.0)
                    in_flight = view if state != "VERIFIED" else None
                    self.snapshot = msgspec.structs.replace(
                        self.snapshot, in_flight=in_flight, switches=(view, *self.snapshot.switches[-2:]))
                    event = Event(self.snapshot.at, "switch", f"S000009 {state}", switch=view)
                    await client.publish(feeder_topic(self.snapshot.feeder, "event"), encode(event), 1)
                return
            case SetMode(mode):
                self.snapshot = msgspec.structs.replace(self.snapshot, mode=mode)
        await self._reply(client, operator, reply)

    async def _reply(self, client, operator, reply) -> None:
        await client.publish(operator_topic(self.snapshot.feeder, "reply", operator), encode(reply), 1)


@pytest.fixture
async def site(tmp_path, make_app):
    """A broker, a scripted Pi on it, and the key of anil: (broker, pi, key file)."""
    private = Ed25519PrivateKey.generate()
    key = tmp_path / "anil.pem"
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    pi = ScriptedPi(make_app().script.snapshot, {"anil": OperatorKeys("anil", public, {"*": "operator"})})
    async with run_broker(tmp_path) as broker:
        running = asyncio.create_task(pi.run(broker))
        yield broker, pi, key
        running.cancel()


@pytest.fixture
def open_room(tmp_path, site):
    """open_room(options, environment) -> the control room in a terminal, on the site's broker."""
    opened = []

    def open_it(options: str = "", environment: str = "COLORTERM=truecolor", size=(80, 24)) -> Terminal:
        broker = site[0]
        folder = tmp_path / f"t{len(opened)}"
        folder.mkdir()
        terminal = Terminal(folder, f"LANG=C.UTF-8 LC_ALL=C.UTF-8 PYTHONPATH={ROOT} {environment} {sys.executable} "
                            f"-m smartphase_tui.cli --broker {broker.host}:{broker.port} {options}", size)
        opened.append(terminal)
        return terminal

    yield open_it
    for terminal in opened:
        terminal.close()


async def test_a_house_is_moved_a_mode_changed_and_an_alarm_acknowledged_by_keys(site, open_room):
    _, pi, key = site
    terminal = open_room(f"--operator anil --key {key}")
    await terminal.shows("LIVE", "KL-KLM-0014", "anil/OPER", "142.3A G", "H0001")
    terminal.keys("Enter")
    await terminal.shows("Move H0001", "r, y or b")
    terminal.keys("b")
    await terminal.shows("neutral 55.2", "OPERATE", "switch: holds")
    terminal.keys("Tab", "Enter")
    await terminal.shows("anil H0001", "OK", "-24")
    await terminal.shows("S000009 H0001 R→B VERIFIED, neutral 55.2→31.0 A")
    terminal.keys("m")
    await terminal.shows("This feeder is in MANUAL")
    terminal.keys("Tab", "Enter")
    await terminal.shows(" AUTO  by")
    terminal.keys("a")
    await terminal.shows("choose an alarm")
    terminal.keys("a")
    terminal.keys("q")
    await _gone(terminal.process)
    assert pi.asked == [Preview("H0001", "B"), Operate("V1"), SetMode("AUTO", "by anil at the screen"),
                        AckAlarm("A000003")]
    assert pi.refused == []


async def test_when_the_pi_falls_silent_every_value_turns_stale_and_control_is_refused(site, open_room):
    _, pi, key = site
    terminal = open_room(f"--operator anil --key {key}")
    await terminal.shows("LIVE", "H0001")
    pi.silent = True
    text = await terminal.shows(" STALE ")
    assert "142.3A S" in text
    assert not [line for line in text.splitlines() if line[1:6] == "H0001" and " G " in line]
    terminal.keys("Enter")
    await terminal.shows("Move refused: no snapshot from the Pi")
    pi.silent = False
    await terminal.shows("LIVE", "142.3A G")
    assert pi.asked == []


async def test_no_color_writes_no_colour_and_ascii_writes_nothing_but_ascii(site, open_room):
    terminal = open_room("--glyphs ascii", "NO_COLOR=1")
    await terminal.shows("LIVE", "VIEW", "H0001")
    painted = terminal.text("-e")
    assert painted.isascii()
    attributes = {code for found in re.findall(r"\x1b\[([0-9;]*)m", painted) for code in found.split(";")}
    assert attributes <= {"", "0", "1", "2", "7", "39", "49"}       # plain, bold, dim, reverse


async def test_the_room_leaves_when_its_terminal_goes_even_with_hangups_ignored(site, open_room):
    terminal = open_room("--glyphs ascii", """sh -c 'trap "" HUP; exec "$@"' -""")
    await terminal.shows("LIVE")
    process = terminal.process
    terminal.close()
    await _gone(process)


async def _gone(process: int) -> None:
    """Wait until a process has ended."""
    end = time.monotonic() + WITHIN_S
    while time.monotonic() < end:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return
        await asyncio.sleep(0.05)
    os.kill(process, signal.SIGKILL)
    pytest.fail(f"process {process} is still there after {WITHIN_S:.0f} s")
