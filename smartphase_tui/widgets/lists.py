"""A list that a cursor walks through: what houses, alarms and the switch log have in common."""

from __future__ import annotations

from typing import Generic, TypeVar

from textual.events import Click
from textual.message import Message
from textual.strip import Strip

from smartphase_tui.paint import Line
from smartphase_tui.room import Room
from smartphase_tui.widgets.panel import Panel

T = TypeVar("T")


class ListPanel(Panel, Generic[T]):
    """Rows with a cursor that stays on its row (by key) whatever comes or goes: a new alarm never moves it.

    `active` is whether the cursor's keys act here; only then the cursor is drawn strong.
    """

    class Picked(Message):
        """A row was clicked."""

        def __init__(self, panel: Panel) -> None:
            super().__init__()
            self.panel = panel

    def __init__(self, room: Room, id: str | None = None) -> None:
        super().__init__(room, id)
        self.active = False
        self.cursor: str = ""
        self._first = 0

    # ------------------------------------------------------------ given by the kind of list

    def rows(self) -> list[T]:
        """All rows in the order drawn."""
        raise NotImplementedError

    def key(self, row: T) -> str:
        """What identifies a row."""
        raise NotImplementedError

    def title(self, line: Line) -> None:
        """Paint the heading."""
        raise NotImplementedError

    def row(self, line: Line, row: T, ground: str) -> None:
        """Paint a row; `ground` "" or the cursor's style, to be used for all of it."""
        raise NotImplementedError

    def empty(self) -> str:
        """What is said where there is no row."""
        return ""

    def foot(self, width: int) -> Strip:
        """The last line, of a list that `has_foot`."""
        raise NotImplementedError

    # ------------------------------------------------------------ the cursor

    @property
    def selected(self) -> T | None:
        """The row under the cursor; the first where the cursor's row is gone."""
        rows = self.rows()
        return next((row for row in rows if self.key(row) == self.cursor), rows[0] if rows else None)

    def walk(self, steps: int) -> None:
        """Move the cursor by rows, stopping at the ends."""
        rows = self.rows()
        if not rows:
            return
        keys = [self.key(row) for row in rows]
        at = keys.index(self.cursor) if self.cursor in keys else 0
        self.cursor = keys[max(0, min(len(keys) - 1, at + steps))]
        self.redraw()

    @property
    def page(self) -> int:
        """Rows that are seen at once."""
        return max(1, self.size.height - 1 - self.has_foot)

    def on_click(self, event: Click) -> None:
        rows = self.rows()
        index = self._first + event.y - 1
        if event.y >= 1 and index < len(rows):
            self.cursor = self.key(rows[index])
            self.post_message(self.Picked(self))

    def shown(self) -> str:
        """Which of the rows are seen, as 11-19/60."""
        many = len(self.rows())
        return f"{min(many, self._first + 1)}-{min(many, self._first + self.page)}/{many}"

    # ------------------------------------------------------------ drawing

    def lines(self, width: int, height: int) -> list[Strip]:
        heading = self.look.line(width)
        self.title(heading)
        seen = max(0, height - 1 - self.has_foot)
        rows = self.rows()
        selected = self.selected
        at = rows.index(selected) if selected is not None else 0
        self._first = max(0, min(self._first, at, max(0, len(rows) - seen)), at - seen + 1)
        lines = [heading.strip()]
        for row in rows[self._first:self._first + seen]:
            here = row is selected
            ground = ("cursor" if self.active else "shadow") if here and (self.active or self.keeps_shadow) else ""
            line = self.look.line(width, ground)
            line.add(self.look.glyphs.cursor if here and self.active else " ", ground)
            self.row(line, row, ground)
            lines.append(line.strip())
        if not rows and self.empty():
            lines.append(self.look.line(width).add(f" {self.empty()}", "dim").strip())
        if self.has_foot:
            blank = self.look.line(width).strip()
            lines += [blank] * height
            lines = [*lines[:height - 1], self.foot(width)]
        return lines

    has_foot = False
    keeps_shadow = False
    """Whether the row stays marked while the cursor acts elsewhere."""
