"""All alarms and the whole switch log, each on a screen of its own, with the details of the row under the cursor."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

import msgspec
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.strip import Strip

from pi_service.contract import AckAlarm, AlarmView, History, HistoryPage, SwitchView, Undo
from smartphase_tui.actions import ALARMS, LOG
from smartphase_tui.keymap import bindings
from smartphase_tui.paint import Line, wrap
from smartphase_tui.requests import Refused, body
from smartphase_tui.room import Room
from smartphase_tui.screens.base import RoomScreen
from smartphase_tui.screens.dialogs import Confirm
from smartphase_tui.widgets.bottom import Keys
from smartphase_tui.widgets.lists import ListPanel
from smartphase_tui.widgets.panel import Panel, Rule
from smartphase_tui.widgets.records import Alarms, Switches
from smartphase_tui.widgets.top import Header
from smartphase_tui.widgets.words import clock_time, move

_PAGE = 500
V = TypeVar("V", AlarmView, SwitchView)
_WALK: list[BindingType] = [
    Binding("up,k", "walk(-1)", show=False), Binding("down,j", "walk(1)", show=False),
    Binding("pageup", "walk(-10)", show=False), Binding("pagedown", "walk(10)", show=False),
    Binding("home", "walk(-100000)", show=False), Binding("end", "walk(100000)", show=False),
]


class _Detail(Panel):
    """The row under the cursor in words."""

    def __init__(self, room: Room, of: ListPanel[AlarmView] | ListPanel[SwitchView]) -> None:
        super().__init__(room)
        self._of = of

    def lines(self, width: int, height: int) -> list[Strip]:
        row = self._of.selected
        notice = self.room.notice
        text = notice.text if notice else _alarm(row) if isinstance(row, AlarmView) else (
            _switch(row, self.look.glyphs.arrow) if isinstance(row, SwitchView) else "")
        return [self.look.line(width).add(f" {line}", "strong" if notice else "text").strip()
                for line in wrap(text, width - 2)]


class _AllAlarms(Alarms):
    """Standing alarms first, then history."""

    def __init__(self, room: Room) -> None:
        super().__init__(room)
        self.old: list[AlarmView] = []

    def rows(self) -> list[AlarmView]:
        standing = super().rows()
        known = {alarm.id for alarm in standing}
        return standing + [alarm for alarm in self.old if alarm.id not in known]

    def title(self, line: Line) -> None:
        line.add(" ALARMS: standing first, then history", "title")


class _AllSwitches(Switches):
    """The log as far back as was asked for."""

    def __init__(self, room: Room) -> None:
        super().__init__(room)
        self.old: list[SwitchView] = []

    def rows(self) -> list[SwitchView]:
        new = super().rows()
        known = {view.id for view in new}
        return new + [view for view in self.old if view.id not in known]

    def title(self, line: Line) -> None:
        line.add(" SWITCH LOG: time, who, house, move, how it ended, neutral current, reason", "title")


class _RecordScreen(RoomScreen):
    """A list over the whole screen, its row under the cursor in words below; history comes when it is there."""

    DEFAULT_CSS = """
    _RecordScreen Header { height: 2; } _RecordScreen ListPanel { height: 1fr; }
    _RecordScreen _Detail { height: 3; } _RecordScreen Rule, _RecordScreen Keys { height: 1; }
    """

    def __init__(self, room: Room, records: _AllAlarms | _AllSwitches, name: str) -> None:
        super().__init__(room)
        self._records, self._keys = records, name
        records.active = True

    def compose(self) -> ComposeResult:
        yield Header(self.room)
        yield self._records
        yield Rule(self.room)
        yield _Detail(self.room, self._records)
        yield Keys(self.room, self._keys)

    def on_mount(self) -> None:
        self.run_worker(self._fetch())

    async def _fetch(self) -> None:
        if isinstance(self._records, _AllAlarms):
            self._records.old = await fetch(self, "alarms", AlarmView)
        else:
            self._records.old = await fetch(self, "switches", SwitchView)
        self.redraw()

    def action_walk(self, steps: int) -> None:
        self._records.walk(steps)
        self.redraw()


class AlarmScreen(_RecordScreen):
    """Every alarm."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(ALARMS), *_WALK]

    def __init__(self, room: Room) -> None:
        self._list = _AllAlarms(room)
        super().__init__(room, self._list, ALARMS)

    async def do_acknowledge(self) -> None:
        alarm = self._list.selected
        if alarm is None or alarm.state in ("ACK", "CLEARED"):
            self.room.say("nothing to acknowledge", "refused")
        else:
            await self.ask(AckAlarm(alarm.id))


class LogScreen(_RecordScreen):
    """Every switch."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(LOG), *_WALK]

    def __init__(self, room: Room) -> None:
        self._list = _AllSwitches(room)
        super().__init__(room, self._list, LOG)

    async def do_undo(self) -> None:
        view = self._list.selected
        if view is None or view.state != "VERIFIED" or view.undone_by:
            self.room.say("this one moved nothing that could be undone", "refused")
            return

        def answered(answer: str | None) -> None:
            if answer:
                self.run_worker(self.ask(Undo(view.id)))

        self.app.push_screen(Confirm(self.room, f"Undo {view.id}", [
            f"{view.id} moved {view.house} {move(view, self.room.look.glyphs.arrow)} by {view.origin}.",
            f"Undo puts {view.house} back on {view.from_phase}, with the same checks."], ["UNDO"]), answered)


async def fetch(screen: RoomScreen, kind: Literal["alarms", "switches"], view: type[V]) -> list[V]:
    """History: from this machine's audit log where it has one, else asked of the Pi; [] where neither answers."""
    path = screen.room.settings.audit_db
    if path is not None:
        found = await asyncio.to_thread(_read, path, kind)
        return [row for row in found if isinstance(row, view)]
    if not screen.room.operator.has_key:
        screen.room.say("the history is asked of the Pi, which takes an operator's key")
        return []
    reply = await screen.ask(History(kind, 0.0, screen.room.store.plant_now() or 0.0, _PAGE))
    try:
        return [] if reply is None else [msgspec.convert(row, view) for row in body(reply, HistoryPage).rows]
    except (Refused, msgspec.ValidationError) as error:
        screen.room.say(f"no history: {error}", "refused")
        return []


def _read(path: Path, kind: str) -> Sequence[AlarmView | SwitchView]:
    from pi_service.store.audit_reader import AuditReader

    reader = AuditReader.open_readonly(path)
    try:
        return reader.alarms(_PAGE) if kind == "alarms" else reader.switches(_PAGE)
    finally:
        reader.close()


def _alarm(alarm: AlarmView) -> str:
    seen = f" acknowledged by {alarm.acked_by}" if alarm.acked_by else ""
    gone = f", gone {clock_time(alarm.cleared_at)}" if alarm.cleared_at else ""
    return f"{alarm.id} {alarm.name} priority {alarm.priority} {alarm.state} since {clock_time(alarm.raised_at)}" \
           f"{gone}{seen}. {alarm.text}"


def _switch(view: SwitchView, arrow: str) -> str:
    predicted = "" if view.predicted_neutral_a is None else f" predicted {view.predicted_neutral_a:.1f} A,"
    before = "" if view.neutral_before_a is None else f" before {view.neutral_before_a:.1f} A,"
    after = "" if view.neutral_after_a is None else f" after {view.neutral_after_a:.1f} A."
    undone = f" Undone by {view.undone_by}." if view.undone_by else ""
    return (f"{view.id} {view.house} {move(view, arrow)} by {view.origin} at {clock_time(view.at, True)}: "
            f"{view.state}. Neutral{before}{predicted}{after}{undone} {view.reason}")
