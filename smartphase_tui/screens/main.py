"""The feeder's main screen: everything an operator watches, and the way into every operation."""

from __future__ import annotations

from typing import ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.events import Resize

from pi_service.contract import (
    Accept,
    AckAlarm,
    ClearTag,
    Mode,
    Operate,
    PlaceTag,
    Reply,
    SetMode,
    TagKind,
    Undo,
    Why,
    WhyResult,
)
from smartphase_tui.actions import MAIN
from smartphase_tui.keymap import bindings
from smartphase_tui.requests import body
from smartphase_tui.room import Room
from smartphase_tui.screens.base import RoomScreen
from smartphase_tui.screens.dialogs import Ask, Confirm, MoveDialog, Reason
from smartphase_tui.screens.text import TextScreen
from smartphase_tui.widgets.bottom import ActionBar, Keys
from smartphase_tui.widgets.houses import COLUMNS, Houses
from smartphase_tui.widgets.lists import ListPanel
from smartphase_tui.widgets.panel import Rule, Upright
from smartphase_tui.widgets.records import Alarms, Switches
from smartphase_tui.widgets.top import Bars, Figures, Header
from smartphase_tui.widgets.words import move

_TAGS = ("caution", "control-inhibit", "do-not-operate")


class MainScreen(RoomScreen):
    """One feeder."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings(MAIN),
        Binding("up,k", "walk(-1)", show=False), Binding("down,j", "walk(1)", show=False),
        Binding("pageup", "page(-1)", show=False), Binding("pagedown", "page(1)", show=False),
        Binding("home", "walk(-100000)", show=False), Binding("end", "walk(100000)", show=False),
        Binding("tab", "area(1)", show=False), Binding("shift+tab", "area(-1)", show=False),
    ]
    DEFAULT_CSS = """
    MainScreen Header, MainScreen ActionBar { height: 2; }
    MainScreen Rule, MainScreen Keys { height: 1; }
    MainScreen Upright { width: 1; height: 100%; }
    MainScreen { overflow: hidden; }
    MainScreen #top { height: 5; }
    MainScreen #middle { height: 1fr; }
    MainScreen Vertical { height: 100%; }
    MainScreen Bars, MainScreen Houses { width: 1fr; height: 100%; }
    MainScreen Alarms, MainScreen Switches { height: 1fr; }
    """

    def __init__(self, room: Room) -> None:
        super().__init__(room)
        self.houses = Houses(room)
        self.alarms = Alarms(room)
        self.switches = Switches(room)
        self.figures = Figures(room)
        self._right = Vertical()
        self._rules = [Rule(room) for _ in range(3)]

    def compose(self) -> ComposeResult:
        yield Header(self.room)
        yield self._rules[0]
        with Horizontal(id="top"):
            yield Bars(self.room)
            yield Upright(self.room)
            yield self.figures
        yield self._rules[1]
        with Horizontal(id="middle"):
            yield self.houses
            yield Upright(self.room)
            with self._right:
                yield self.alarms
                yield Rule(self.room)
                yield self.switches
        yield self._rules[2]
        yield ActionBar(self.room)
        yield Keys(self.room, MAIN)

    def on_mount(self) -> None:
        self._activate(self.houses)

    def on_resize(self, event: Resize) -> None:
        width = event.size.width
        right = 27 if width < 76 else 31 if width < 110 else 46 if width < 150 else 60
        for widget in (self.figures, self._right):
            widget.styles.width = right
        for rule, kind in zip(self._rules, ("down", "cross", "up"), strict=True):
            rule.joins = ((right, kind),)
            rule.redraw()

    # ------------------------------------------------------------ the cursor

    @property
    def _areas(self) -> tuple[ListPanel[object], ...]:
        return cast(tuple[ListPanel[object], ...], (self.houses, self.alarms, self.switches))

    @property
    def _area(self) -> ListPanel[object]:
        return next(area for area in self._areas if area.active)

    def _activate(self, panel: object) -> None:
        for area in self._areas:
            area.active = area is panel
            area.redraw()

    def action_walk(self, steps: int) -> None:
        self._area.walk(steps)

    def action_page(self, pages: int) -> None:
        self._area.walk(pages * self._area.page)

    def action_area(self, step: int) -> None:
        self._activate(self._areas[(self._areas.index(self._area) + step) % 3])

    def on_list_panel_picked(self, event: ListPanel.Picked) -> None:
        self._activate(event.panel)

    # ------------------------------------------------------------ operating

    async def do_operate(self) -> None:
        if self._area is not cast(object, self.houses):
            await (self.do_acknowledge() if self.alarms.active else self.do_undo())
            return
        house = self.houses.selected
        if house is None:
            self.room.say("no house is selected", "refused")
            return
        self.app.push_screen(MoveDialog(self.room, house.id, self._operate))

    async def _operate(self, request: Operate) -> Reply | None:
        return await self.ask(request)

    async def do_accept(self) -> None:
        snapshot = self.room.store.snapshot
        proposal = snapshot.proposal if snapshot else None
        if snapshot is None or proposal is None:
            self.room.say("there is no proposal now", "refused")
            return
        if snapshot.mode != "MANUAL":
            self.room.say(f"proposals are accepted in MANUAL; this feeder is in {snapshot.mode}", "refused")
            return
        effect, arrow = proposal.effect, self.room.look.glyphs.arrow
        facts = [f"{proposal.house} {proposal.from_phase}{arrow}{proposal.to_phase}",
                 f"neutral {effect.neutral_before_a:.1f}{arrow}{effect.neutral_after_a:.1f} A, "
                 f"solar lost {effect.pv_lost_kwh:.2f} kWh", proposal.reason]
        self._confirm(Confirm(self.room, f"Accept {proposal.id}", facts, ["ACCEPT"]), Accept(proposal.id))

    async def do_undo(self) -> None:
        if not self.switches.active:
            self._activate(self.switches)
            self.room.say("choose a switch with the arrows, then u or Enter; Esc leaves")
            return
        view = self.switches.selected
        if view is None or view.state != "VERIFIED" or view.undone_by:
            self.room.say("this one moved nothing that could be undone", "refused")
            return
        facts = [f"{view.id} moved {view.house} {move(view, self.room.look.glyphs.arrow)} by {view.origin}.",
                 f"Undo puts {view.house} back on {view.from_phase}, with the same checks."]
        self._confirm(Confirm(self.room, f"Undo {view.id}", facts, ["UNDO"]), Undo(view.id))

    async def do_acknowledge(self) -> None:
        if not self.alarms.active:
            self._activate(self.alarms)
            self.room.say("choose an alarm with the arrows, then a or Enter; Esc leaves")
            return
        alarm = self.alarms.selected
        if alarm is None or alarm.state == "ACK":
            self.room.say("nothing to acknowledge", "refused")
            return
        await self.ask(AckAlarm(alarm.id))

    async def do_mode(self) -> None:
        snapshot = self.room.store.snapshot
        if snapshot is None:
            return
        others = [mode for mode in ("AUTO", "MANUAL", "HOLD") if mode != snapshot.mode]
        facts = [f"This feeder is in {snapshot.mode}: {snapshot.mode_reason}.",
                 "AUTO: the Pi acts. MANUAL: people act, the Pi proposes. HOLD: nothing moves."]

        def chosen(answer: str | None) -> None:
            if answer:
                self._later(SetMode(cast(Mode, answer), f"by {self.room.operator.name} at the screen"))

        self.app.push_screen(Confirm(self.room, "Mode", facts, others), chosen)

    async def do_tag(self) -> None:
        house = self.houses.selected
        if house is not None:
            self._tag(house.id, house.id, house.tag, house.tag_id)

    async def do_tag_feeder(self) -> None:
        snapshot = self.room.store.snapshot
        if snapshot is not None:
            self._tag("", "the feeder", snapshot.feeder_tag, snapshot.feeder_tag_id)

    def _tag(self, house: str, name: str, tag: TagKind | None, tag_id: str) -> None:
        if tag is not None:
            self._confirm(Confirm(self.room, f"Untag {name}", [f"{name} carries {tag} ({tag_id})."], ["UNTAG"]),
                          ClearTag(tag_id))
            return

        def chosen(answer: str | None) -> None:
            if answer:
                kind, _, reason = answer.partition("|")
                self._later(PlaceTag(house, cast(TagKind, kind), reason))

        self.app.push_screen(Reason(self.room, f"Tag {name}", [
            "caution: AUTO leaves it, people may act.", "control-inhibit, do-not-operate: nobody moves it."], _TAGS),
            chosen)

    def _confirm(self, dialog: Confirm, request: Accept | Undo | ClearTag) -> None:
        def answered(answer: str | None) -> None:
            if answer:
                self._later(request)

        self.app.push_screen(dialog, answered)

    def _later(self, request: Accept | Undo | ClearTag | PlaceTag | SetMode) -> None:
        self.run_worker(self.ask(request), exclusive=False)

    # ------------------------------------------------------------ looking

    async def do_why(self) -> None:
        house = self.houses.selected
        if house is None:
            return
        reply = await self.ask(Why(house.id))
        if reply is not None:
            lines = body(reply, WhyResult).lines
            self.app.push_screen(TextScreen(self.room, f"Why {house.id}", lines))

    async def do_sort(self) -> None:
        self.houses.sort = (self.houses.sort + 1) % len(COLUMNS)
        self.houses.turned = False

    async def do_reverse(self) -> None:
        self.houses.turned = not self.houses.turned

    async def do_filter(self) -> None:
        def answered(answer: str | None) -> None:
            if answer:
                self.houses.filter = answer[1:]
                self.houses.redraw()

        self.app.push_screen(Ask(self.room, "Filter", "r y b, bad, tag, pv, note, or part of an id or pole; "
                                 "empty shows all", self.houses.filter), answered)

    async def do_back(self) -> None:
        if not self.houses.active:
            self._activate(self.houses)
        else:
            self.houses.filter = ""
