"""A panel: a widget that paints whole lines and, when told, redraws only the cells that changed.

The lean way to draw live figures: no layout, no markup, no child widgets on the hot path.
"""

from __future__ import annotations

from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from smartphase_tui.paint import Look, changed_span
from smartphase_tui.room import Room


class Panel(Widget):
    """Subclasses paint in `lines`; the screen calls `redraw` when what is drawn may have changed."""

    def __init__(self, room: Room, id: str | None = None) -> None:
        super().__init__(id=id)
        self.room = room
        self._drawn: list[Strip] = []

    @property
    def look(self) -> Look:
        return self.room.look

    def lines(self, width: int, height: int) -> list[Strip]:
        """At most `height` lines of `width` cells."""
        raise NotImplementedError

    def redraw(self) -> None:
        """Paint again; refresh the spans of cells that differ from what is on the screen."""
        width, height = self.size
        if not width or not height:
            return
        fresh = self._painted(width, height)
        if len(fresh) != len(self._drawn):
            self._drawn = fresh
            self.refresh()
            return
        before, self._drawn = self._drawn, fresh
        for y, (old, new) in enumerate(zip(before, fresh, strict=True)):
            span = changed_span(old, new)
            if span is not None:
                self.refresh(Region(span[0], y, span[1] - span[0], 1))

    def on_resize(self) -> None:
        width, height = self.size
        self._drawn = self._painted(width, height) if width and height else []
        self.refresh()

    def render_line(self, y: int) -> Strip:
        return self._drawn[y] if y < len(self._drawn) else Strip.blank(self.size.width)

    def _painted(self, width: int, height: int) -> list[Strip]:
        blank = self.look.line(width).strip()
        return [*self.lines(width, height)[:height], *[blank] * height][:height]


class Rule(Panel):
    """A horizontal rule; `joins` are (column from the right edge, "down" or "up") where an upright meets it."""

    def __init__(self, room: Room, joins: tuple[tuple[int, str], ...] = ()) -> None:
        super().__init__(room)
        self.joins = joins

    def lines(self, width: int, height: int) -> list[Strip]:
        glyphs = self.look.glyphs
        signs = [glyphs.horizontal] * width
        for from_right, kind in self.joins:
            if 0 <= width - from_right - 1 < width:
                signs[width - from_right - 1] = {
                    "down": glyphs.tee_down, "up": glyphs.tee_up, "cross": glyphs.cross}[kind]
        return [self.look.line(width).add("".join(signs), "rule").strip()]


class Upright(Panel):
    """A vertical rule."""

    def lines(self, width: int, height: int) -> list[Strip]:
        return [self.look.line(width).add(self.look.glyphs.vertical, "rule").strip()] * height
