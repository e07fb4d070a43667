"""A page of lines to read: help, why, errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.strip import Strip

from smartphase_tui.actions import ACTIONS, EVERYONE
from smartphase_tui.paint import wrap
from smartphase_tui.room import Room
from smartphase_tui.screens.base import RoomScreen
from smartphase_tui.widgets.panel import Panel
from smartphase_tui.widgets.top import Header


class _Page(Panel):
    """Wrapped lines with a scroll position."""

    def __init__(self, room: Room, title: str, text: Sequence[str]) -> None:
        super().__init__(room)
        self._title, self._text = title, text
        self.first = 0

    def lines(self, width: int, height: int) -> list[Strip]:
        wrapped = [(line, index == 0) for text in self._text for index, line in enumerate(wrap(text, width - 4))]
        self.first = max(0, min(self.first, len(wrapped) - height + 2))
        shown = wrapped[self.first:self.first + height - 2]
        more = f"{self.first + 1}-{self.first + len(shown)} of {len(wrapped)}  Esc back, arrows scroll"
        return [
            self.look.line(width).add(f" {self._title}", "title").strip(),
            *(self.look.line(width).add(" " if first else "   ").add(line, "text").strip() for line, first in shown),
            *[self.look.line(width).strip()] * max(0, height - 2 - len(shown)),
            self.look.line(width, "bar").add(f" {more}", "bardim").strip(),
        ]


class TextScreen(RoomScreen):
    """Lines to read, scrolled by keys."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,f1", "perform('back')", show=False),
        Binding("up,k", "scroll_by(-1)", show=False), Binding("down,j", "scroll_by(1)", show=False),
        Binding("pageup", "scroll_by(-15)", show=False), Binding("pagedown,space", "scroll_by(15)", show=False),
        Binding("home", "scroll_by(-100000)", show=False), Binding("end", "scroll_by(100000)", show=False),
    ]
    DEFAULT_CSS = "TextScreen Header { height: 2; } TextScreen _Page { height: 1fr; }"

    def __init__(self, room: Room, title: str, text: Sequence[str]) -> None:
        super().__init__(room)
        self._page = _Page(room, title, text)

    def compose(self) -> ComposeResult:
        yield Header(self.room)
        yield self._page

    def action_scroll_by(self, lines: int) -> None:
        self._page.first += lines
        self._page.redraw()


def help_screen(room: Room) -> TextScreen:
    """The help, from the table of actions."""
    text = ["Keys. Nothing moves a relay without a dialog in which Cancel has the focus.", ""]
    for action in ACTIONS:
        who = "" if action.roles is EVERYONE else f"  ({', '.join(sorted(action.roles))})"
        text.append(f"{action.key_label:7} {action.help}{who}")
    text += ["", "Tab     Next of houses, alarms, switches; arrows, PgUp, PgDn, Home, End move the cursor", "",
             "Values: G good, U uncertain (plain or late), B bad (shown as --), S stale (no fresh snapshot).",
             "Alarms: 1 act now, 2 within the hour, 3 today, 4 when convenient; U unacknowledged, A acknowledged, "
             "R returned to normal.",
             "Switches: OK verified by the meters, BACK rolled back, QUAR quarantined, REFUS refused: nothing moved."]
    return TextScreen(room, "Help", text)
