"""Alarms and the switch log, as lists."""

from __future__ import annotations

from pi_service.contract import AlarmView, SwitchView
from smartphase_tui.paint import Line
from smartphase_tui.widgets.lists import ListPanel
from smartphase_tui.widgets.words import clock_time, move, switch_state


class Alarms(ListPanel[AlarmView]):
    """Standing alarms: priority as number, shape and colour; U unacknowledged, A acknowledged, R returned."""

    def rows(self) -> list[AlarmView]:
        return self.room.store.standing()

    def key(self, row: AlarmView) -> str:
        return row.id

    def empty(self) -> str:
        return "no alarm" if self.room.store.snapshot else ""

    def title(self, line: Line) -> None:
        line.add(" ALARMS", "title").add("  a ack  F3 all", "dim")

    def row(self, line: Line, row: AlarmView, ground: str) -> None:
        shape = self.look.glyphs.shapes[row.priority - 1]
        state = {"UNACK": "U", "ACK": "A", "RTN": "R", "CLEARED": " "}[row.state]
        style = f"alarm{row.priority}{'u' if row.state == 'UNACK' else ''}"
        line.add(f"{row.priority}{shape}{state}", style).add(f" {clock_time(row.raised_at)} ", ground or "dim")
        line.add(row.text if row.house == "" or row.house in row.text else f"{row.house} {row.text}",
                 ground or ("text" if row.state != "RTN" else "dim"))


class Switches(ListPanel[SwitchView]):
    """The switch log, newest first: when, who, which house, from where to where, how it ended, what it changed."""

    def rows(self) -> list[SwitchView]:
        return self.room.store.log()

    def key(self, row: SwitchView) -> str:
        return row.id

    def empty(self) -> str:
        return "no switch yet" if self.room.store.snapshot else ""

    def title(self, line: Line) -> None:
        line.add(" SWITCHES", "title").add("  u undo  F4 all", "dim")

    def row(self, line: Line, row: SwitchView, ground: str) -> None:
        words, style = switch_state(row)
        line.add(f"{clock_time(row.at)} {row.origin[:4]:4} {row.house[:5]:5} ", ground or "text")
        line.add(f"{move(row, self.look.glyphs.arrow)} ", ground or "strong").add(f"{words:6}", ground or style)
        if row.neutral_before_a is not None and row.neutral_after_a is not None:
            change = f"{row.neutral_after_a - row.neutral_before_a:+.0f}"
            line.add(f"{change}A" if line.room > len(change) else change, ground or "dim")
        if line.room > 12:
            line.add(f"  {row.reason}", ground or "dim")
