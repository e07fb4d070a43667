"""A control room on a scripted source: snapshots that are always the same, requests that are kept and answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from pi_service.clock import ManualClock
from pi_service.contract import (
    Action,
    AlarmView,
    EffectView,
    History,
    HistoryPage,
    HouseView,
    InterlockView,
    Measured,
    PhaseView,
    Preview,
    PreviewResult,
    ProposalView,
    Reply,
    Request,
    Snapshot,
    SwitchView,
    Why,
    WhyResult,
    encode,
)
from smartphase_tui.app import SmartPhaseApp
from smartphase_tui.glyphs import TIERS
from smartphase_tui.operator import VIEWER, Operator
from smartphase_tui.paint import Look
from smartphase_tui.room import Room
from smartphase_tui.settings import ConnectionSettings
from smartphase_tui.theme import Palette

NOON = 1_776_234_600.0      # 15 April 2026, 12:00 in India
EFFECT = EffectView(55.2, 31.4, 1.31, 0.72, (142.3, 81.0, 96.4), (127.4, 95.9, 96.4), 228.1, 243.7, 0.0, 812.0)
LOCKS = tuple(InterlockView(name, True, "holds") for name in ("switch", "critical", "phase", "data", "budget"))


def house(number: int) -> HouseView:
    """The number-th house; a few of them are special."""
    phase = "RRYBRY"[number % 6]
    view = HouseView(
        id=f"H{number:04d}", pole=f"P{number // 3:02d}", phase=phase, quality="G", age_s=1.0, online=True,
        voltage_v=226.0 + number % 13, current_a=1.0 + (number * 37 % 170) / 10, power_kw=(number * 37 % 170) / 40,
        solar_kw=1.5 if number % 2 else 0.0, pv_kwp=3.0 if number % 2 else 0.0)
    if number % 17 == 5:
        return msgspec.structs.replace(view, quality="B", age_s=240.0, voltage_v=None, current_a=None, power_kw=None,
                                       solar_kw=None, online=False, note="node offline")
    if number % 17 == 3:
        return msgspec.structs.replace(view, tag="do-not-operate", tag_id="T000001", note="tag do-not-operate by devi")
    return msgspec.structs.replace(view, quality="U", age_s=14.0) if number % 17 == 9 else view


def make_snapshot(houses: int = 60, mode: str = "MANUAL", sent: int = 1) -> Snapshot:
    def g(value: float) -> Measured:
        return Measured(value, "G", 0.4)

    phases = tuple(PhaseView(name, g(amps), g(235.0), g(amps * 0.23), houses // 3)
                   for name, amps in zip("RYB", (142.3, 81.0, 96.4), strict=True))
    return Snapshot(
        feeder="KL-KLM-0014", name="Kollam 2", at=NOON, sent=sent, mode=mode, mode_by="anil", mode_reason="by hand",
        phases=phases, neutral_a=g(55.2), vuf_percent=g(1.31), unbalance_percent=g(33.5), power_kw=g(70.5),
        neutral_limit_a=40.0, vuf_limit_percent=2.0, phase_limit_a=133.0, voltage_min_v=228.0, voltage_max_v=238.0,
        neutral_history_a=(None,) * 20 + tuple(12.0 + 43 * k / 40 for k in range(40)),
        houses=tuple(house(k) for k in range(1, houses + 1)),
        alarms=(AlarmView("A000003", "neutral-current-high", 1, "UNACK", NOON - 60, "Neutral 55 A, limit 40 A. Act."),
                AlarmView("A000002", "node-stale", 2, "UNACK", NOON - 900, "H0005 is silent for 4 min.", "H0005"),
                AlarmView("A000001", "voltage-band", 3, "RTN", NOON - 3600, "H0012: 255 V.", "H0012")),
        switches=(
            SwitchView("S000002", NOON - 600, "AUTO", "H0010", "R", "Y", "VERIFIED", "look-ahead", 44.0, 58.0, 49.0),
            SwitchView("S000001", NOON - 1200, "anil", "H0007", "B", "R", "ROLLED_BACK", "no contact", None, 50.0)),
        in_flight=None,
        proposal=ProposalView("P000007", "H0004", "R", "Y", "look-ahead", "worth more than its price", EFFECT, LOCKS),
        decision="look-ahead: worth more than its price", counters={"received": 100}, broker="mosquitto 127.0.0.1:1883")


class Script:
    """A source that gives one snapshot and answers requests as a Pi would; `asked` keeps them."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.asked: list[Action] = []
        self.locks = LOCKS
        self._reply: Callable[[Reply], None] = lambda reply: None

    async def run(self, store, on_reply) -> None:
        self._reply = on_reply
        store.take_link(True, "")
        store.take_snapshot(self.snapshot, False)
        await asyncio.Event().wait()

    async def send(self, request: bytes, feeder: str, operator: str) -> None:
        asked = msgspec.json.decode(request, type=Request)
        self.asked.append(asked.action)
        match asked.action:
            case Preview(house_id, target):
                made = PreviewResult("V000001", house_id, "R", target, EFFECT, self.locks, 30.0)
                reply = Reply(asked.id, True, body=msgspec.Raw(encode(made)))
            case Why(house_id):
                reply = Reply(asked.id, True, body=msgspec.Raw(encode(WhyResult(house_id, ("11:59 not worth it",)))))
            case History(kind):
                reply = Reply(asked.id, True, body=msgspec.Raw(encode(HistoryPage(kind, (), False))))
            case _:
                reply = Reply(asked.id, True, "done", switch_id="S000003")
        self._reply(reply)


@pytest.fixture
def make_app():
    """make_app(tier=..., colours=..., viewer=..., houses=...) -> an app on a script; `app.script` and `app.time`."""
    def make(tier: str = "unicode", colours: str = "truecolor", viewer: bool = False, role: str = "operator",
             **snapshot: object) -> SmartPhaseApp:
        script, clock = Script(make_snapshot(**snapshot)), ManualClock(NOON)
        who = VIEWER if viewer else Operator("anil", role, lambda payload: payload)
        room = Room(ConnectionSettings(operator="anil"), Look(TIERS[tier], Palette(colours)), clock, script, who)
        app = SmartPhaseApp(room)
        app.script, app.time = script, clock
        return app

    return make
