"""The lower edge: what is selected or proposed, the last word to the operator, and the keys."""

from __future__ import annotations

from textual.strip import Strip

from pi_service.contract import FINAL_STATES, ProposalView, SwitchView
from smartphase_tui.actions import of_screen
from smartphase_tui.room import Room
from smartphase_tui.widgets.panel import Panel
from smartphase_tui.widgets.words import move


class ActionBar(Panel):
    """Two lines: the switch under way, else the last word, else the proposal; and what the planner says."""

    def lines(self, width: int, height: int) -> list[Strip]:
        store = self.room.store
        snapshot = store.snapshot
        if snapshot is None:
            return [self.look.line(width).add(" waiting for the Pi's first snapshot", "dim").strip()]
        first, second = self.look.line(width), self.look.line(width)
        notice = self.room.notice
        watched = store.switches.get(self.room.watched)
        if watched is not None and watched.state in FINAL_STATES and notice is None:
            watched = None
        under_way = watched or snapshot.in_flight
        if notice is not None:
            style = {"info": "text", "done": "strong", "refused": "alarm2"}[notice.kind]
            first.add(f" {notice.text}", style)
        elif snapshot.in_flight is not None and under_way is not None:
            first.add(f" UNDER WAY {self._switch(under_way)}", "strong")
        elif snapshot.proposal is not None:
            first.add(f" {self._proposal(snapshot.proposal, snapshot.mode)}", "strong")
        else:
            first.add(f" {snapshot.decision}", "dim")
        if under_way is not None:
            second.add(f" {self._switch(under_way)}" if notice else f" {under_way.reason}", "dim")
        elif snapshot.proposal is not None and notice is None:
            second.add(f" {snapshot.proposal.reason}", "dim")
        elif first.used and snapshot.proposal is not None:
            second.add(f" {self._proposal(snapshot.proposal, snapshot.mode)}", "dim")
        elif notice is not None:
            second.add(f" {snapshot.decision}", "dim")
        return [first.strip(), second.strip()]

    def _switch(self, view: SwitchView) -> str:
        return f"{view.id} {view.house} {move(view, self.look.glyphs.arrow)} {view.state}"

    def _proposal(self, proposal: ProposalView, mode: str) -> str:
        effect, glyphs = proposal.effect, self.look.glyphs
        who = "AUTO moves" if mode == "AUTO" else "proposed (p accepts)" if mode == "MANUAL" else "would move"
        held = sum(lock.ok for lock in proposal.interlocks)
        lost = f", PV lost {effect.pv_lost_kwh:.2f} kWh" if effect.pv_lost_kwh >= 0.005 else ""
        return (f"{who} {proposal.house} {proposal.from_phase}{glyphs.arrow}{proposal.to_phase}: "
                f"In {effect.neutral_before_a:.0f}{glyphs.arrow}{effect.neutral_after_a:.0f} A{lost}, "
                f"interlocks {held}/{len(proposal.interlocks)}")


class Keys(Panel):
    """The keys of a screen; when it is narrow the least wanted go first. Barred ones are dim."""

    def __init__(self, room: Room, screen_name: str) -> None:
        super().__init__(room)
        self._screen_name = screen_name

    def lines(self, width: int, height: int) -> list[Strip]:
        offered = [action for action in of_screen(self._screen_name) if action.label]
        while sum(len(a.key_label) + len(a.label) + 2 for a in offered) >= width and offered:
            offered.remove(min(offered, key=lambda action: action.keep))
        line = self.look.line(width, "bar").add(" ")
        for action in offered:
            barred = bool(self.room.barred(action))
            line.add(action.key_label, "bardim" if barred else "barstrong").add(
                f" {action.label} ", "bardim" if barred else "bar")
        return [line.strip()]
